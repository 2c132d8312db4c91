"""Stop and go: the nearest distance in a region of the picture, with hysteresis.

python obstacle.py SOURCE [POINTS.csv]      # a metric model, or nano with points of known distance

An alarm begins below STOP_M and ends above GO_M, so that it does not chatter between the two; a map that is stale, or
has too few readings in the region, is an alarm too.
"""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import depthcast

STOP_M, GO_M = 0.8, 1.2
REGION = (0.3, 0.9, 0.25, 0.75)
"""top, bottom, left, right, as shares of the picture: where the robot will be."""
_LEAST_SEEN = 0.2
_NEAREST_SHARE = 0.02
"""Of the region's readings: one odd pixel is no obstacle."""


@dataclass
class Obstacle:
    """Whether to stop; remembers what it said last."""

    stops: bool = True

    def look(self, metres: NDArray[np.float32], stale: bool = False) -> float:
        """Take the next map, float32 [H, W] in metres; returns the nearest distance, NaN where too little is seen."""
        height, width = metres.shape
        top, bottom, left, right = REGION
        region = metres[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]
        seen = region[np.isfinite(region)]
        if stale or seen.size < _LEAST_SEEN * region.size:
            self.stops = True
            return float("nan")
        nearest = float(np.quantile(seen, _NEAREST_SHARE))
        self.stops = nearest < (GO_M if self.stops else STOP_M)
        return nearest


def main(source: str, points: str | None) -> None:
    """Until the source ends."""
    obstacle = Obstacle()
    model = {"scale_to": points} if points else {"model": "VDA-Small", "metric": True}
    with depthcast.open(source, far_m=20, **model) as stream:
        for depth in stream:
            nearest = obstacle.look(depth.depth, depth.stale)
            print(
                f"{float(depth.frame.pts * depth.frame.time_base):8.2f} s  {nearest:5.2f} m  "
                f"{'STOP' if obstacle.stops else 'go'}"
            )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)

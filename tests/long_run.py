"""A long run in a process of its own, whose memory nothing else shares: prints MB resident after each minute of stream.

python -m tests.long_run FOLDER
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.pipeline import run
from stream.sinks import Sink
from stream.sinks.file import NpzSink, VideoSink
from stream.sources.synthetic import SyntheticSource
from tests.fakes import FakeSession

MINUTE, MINUTES = 1800, 4


def main(folder: Path) -> None:
    """Synthetic frames through a fake network into a video and maps."""
    source = SyntheticSource(48, 64, frames=MINUTES * MINUTE)
    sinks: list[Sink] = [VideoSink(folder / "a.mp4", source.info), NpzSink(folder / "a.npz", source.info, "fake")]
    estimator = DepthEstimator(FakeSession())

    def stepped(frame: Frame) -> DepthFrame:
        if frame.index % MINUTE == MINUTE - 1:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(pages * resource.getpagesize() / 2**20)
        return estimator.step(frame)

    run(source, stepped, sinks)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The range a picture of depth should span: follows the scene over seconds, so that the colours do not flicker."""

from __future__ import annotations

from math import exp

import numpy as np
from numpy.typing import NDArray

from stream.frame import DisplayRange

_SAMPLES_PER_AXIS = 128
_PERCENTILES = (1.0, 99.0)
_WIDEN_S = 0.15
"""Time constant towards a wider range: content must not stay clipped."""
_NARROW_S = 3.0
"""Time constant towards a narrower range: slow enough not to be seen."""
_LEAST_SPAN = 1e-3
"""Of the larger end's magnitude; a flat scene is shown flat instead of as amplified noise."""


def update_range(previous: DisplayRange | None, depth: NDArray[np.float32], dt_s: float) -> DisplayRange:
    """The display range after one more map.

    previous: None starts anew at the map's own range.
    depth: float32 [H, W]; values that are not finite are left out, a map without any leaves the range as it was.
    dt_s: seconds of stream time since the previous map, 0 or more.
    """
    seen = _span_of(depth)
    if seen is None:
        return previous or DisplayRange(0.0, 1.0)
    if previous is None:
        return _opened(*seen)
    low, high = seen
    return _opened(
        previous.low + (low - previous.low) * _share(dt_s, low < previous.low),
        previous.high + (high - previous.high) * _share(dt_s, high > previous.high),
    )


def _span_of(depth: NDArray[np.float32]) -> tuple[float, float] | None:
    rows, columns = (-(-side // _SAMPLES_PER_AXIS) for side in depth.shape)
    sample = depth[::rows, ::columns]
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return None
    low, high = np.percentile(finite, _PERCENTILES)
    return float(low), float(high)


def _share(dt_s: float, widens: bool) -> float:
    """How much of the way to go in `dt_s` seconds."""
    return 1 - exp(-max(dt_s, 0.0) / (_WIDEN_S if widens else _NARROW_S))


def _opened(low: float, high: float) -> DisplayRange:
    least = max(_LEAST_SPAN * max(abs(low), abs(high)), 1e-6)
    if high - low >= least:
        return DisplayRange(low, high)
    middle = (low + high) / 2
    return DisplayRange(middle - least / 2, middle + least / 2)

"""How steady a stream of maps is: flicker where nothing moves, drift over thousands of frames, recovery after a cut.

Pure measures on arrays; `validation` runs the network. T frames of H × W.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.nano.evaluate import fit_frame

Maps = NDArray[np.float32]

FARTHEST = 80.0
"""Metres: what lies beyond is not measured, and a fitted map may say no more. Rendered clips reach the horizon."""

STILL = 1e-3
"""Largest relative change of true inverse depth of a pixel that counts as static."""
MARGIN, SLACK = 1.05, 0.005
"""A stream has recovered where its AbsRel is within 5 % and 0.005 of a fresh stream's."""


def aligned_depth(maps: Maps, inverse: Maps) -> Maps:
    """maps: [T, H, W]; inverse: [T, H, W] in 1/m, not positive = no reading. Depth in metres with one scale and shift
    for the whole clip, fitted by least squares in inverse depth.
    """
    known = inverse > 0
    fitted = fit_frame(maps[known].astype(np.float64), inverse[known].astype(np.float64), maps.ravel())
    depth: Maps = (1.0 / np.maximum(fitted, 1.0 / FARTHEST)).reshape(maps.shape).astype(np.float32)
    return depth


def static_pixels(inverse: Maps) -> NDArray[np.bool_]:
    """bool [H, W]: where inverse [T, H, W] is known and stays what it is; for clips of a camera that stands still."""
    low, high = inverse.min(0), inverse.max(0)
    still: NDArray[np.bool_] = (low > 0) & (high - low <= STILL * high)
    return still


def static_flicker(depth: Maps, static: NDArray[np.bool_]) -> float:
    """Median of |d[t] - d[t-1]| / d[t-1] over frames and static pixels."""
    return float(np.median(np.abs(depth[1:] / depth[:-1] - 1.0)[:, static]))


def back_and_forth(length: int, frames: int) -> list[int]:
    """Indices 0 … length-1 … 0 … for so many frames: a short clip played without a jump for as long as one likes."""
    round_trip = [*range(length), *range(length - 2, 0, -1)]
    return [round_trip[t % len(round_trip)] for t in range(frames)]


def drift(levels: Sequence[float], period: int) -> float:
    """levels: some level of each map (its median, say) of a scene that repeats every `period` frames.

    Relative change from the mean over the second period to the mean over the last one.
    """
    assert len(levels) >= 3 * period
    early, late = np.mean(levels[period : 2 * period]), np.mean(levels[-period:])
    return float(late / early - 1.0)


def frames_to_recover(after_cut: Sequence[float], fresh: Sequence[float]) -> int:
    """AbsRel of each frame after a cut, by a stream that saw the cut and by one that began there.

    The first frame from which on the former stays as good as the latter: 0 = at once, len = never.
    """
    bad = [a > f * MARGIN + SLACK for a, f in zip(after_cut, fresh, strict=True)]
    return len(bad) - bad[::-1].index(True) if True in bad else 0

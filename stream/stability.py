"""How steady a stream's depth is, as one figure.

Flicker: how much depth changes, relatively, from a frame to the next where the picture does not; the median over a
frame's still places. Alignment error: what is left of the difference between two frames' metres once one is moved to
the other's known pose; the TAE of Video Depth Anything (Chen et al. 2025).
"""

from __future__ import annotations

from collections import deque

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from stream.camera import Intrinsics
from stream.frame import DepthFrame
from stream.pointcloud import deprojected, projected

_GRID = (60, 80)
"""Rows and columns that are looked at."""
_STILL = 4
"""Grey levels, of a cell's mean, that noise explains."""
_LEAST_STILL = 48
"""Cells; fewer say nothing."""
_KEPT = 300

Floats = NDArray[np.float64]


class Flicker:
    """The flicker of one stream over its last frames."""

    __slots__ = ("_converter", "_kept", "_last")

    def __init__(self) -> None:
        self._converter = VideoReformatter()
        self._kept: deque[float] = deque(maxlen=_KEPT)
        self._last: tuple[NDArray[np.int16], NDArray[np.float32]] | None = None

    @property
    def median(self) -> float | None:
        """Of the last frames, 0.01 for one per cent; None before anything stood still."""
        return float(np.median(self._kept)) if self._kept else None

    def add(self, depth_frame: DepthFrame) -> None:
        """Compare a frame with the one before it; stale ones and those that begin anew are no comparison."""
        if depth_frame.stale:
            return
        now = self._grey(depth_frame.frame.picture), _cells(depth_frame.depth)
        before, self._last = self._last, now
        if before is None or depth_frame.reset:
            return
        change = relative_change(before[1], now[1])[np.abs(now[0] - before[0]) <= _STILL]
        change = change[np.isfinite(change)]
        if change.size >= _LEAST_STILL:
            self._kept.append(float(np.median(change)))

    def _grey(self, picture: av.VideoFrame) -> NDArray[np.int16]:
        """int16 [60, 80]: the mean brightness of each cell."""
        rows, columns = _GRID
        grey = self._converter.reformat(picture, columns, rows, "gray", interpolation=Interpolation.AREA, threads=1)
        return grey.to_ndarray().astype(np.int16)


def _cells(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [60, 80]: the value in the middle of each cell."""
    middles = [(np.arange(count) + 0.5) / count for count in _GRID]
    rows, columns = ((middle * side).astype(np.intp) for middle, side in zip(middles, depth.shape, strict=True))
    return depth[np.ix_(rows, columns)]


def relative_change(before: NDArray[np.float32], now: NDArray[np.float32]) -> NDArray[np.float32]:
    """|now - before| over the mean of their magnitudes; 0 where both are zero, NaN where either has no value."""
    size = (np.abs(now) + np.abs(before)) / 2
    with np.errstate(invalid="ignore"):
        change = np.abs(now - before)
        return np.asarray(np.divide(change, size, out=np.where(np.isnan(size), size, 0.0 * size), where=size > 0))


def alignment_error(
    first: NDArray[np.float32], second: NDArray[np.float32], camera: Intrinsics, second_from_first: Floats
) -> float:
    """Mean relative difference between two frames' metres, both ways; NaN where they share nothing.

    first, second: metres, float32 [H, W]; second_from_first: [4, 4], takes points of the first camera to the second's.
    """
    there = _one_way(first, second, camera, second_from_first)
    back = _one_way(second, first, camera, np.linalg.inv(second_from_first).astype(np.float64))
    return (there + back) / 2


def _one_way(source: NDArray[np.float32], target: NDArray[np.float32], camera: Intrinsics, pose: Floats) -> float:
    points = deprojected(source, camera).reshape(-1, 3).astype(np.float64)
    moved = points @ pose[:3, :3].T + pose[:3, 3]
    moved = moved[np.isfinite(moved).all(axis=1) & (moved[:, 2] > 0)]
    x, y = (np.rint(axis).astype(np.intp) for axis in projected(moved, camera))
    inside = (x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)
    seen = target[y[inside], x[inside]].astype(np.float64)
    expected = moved[inside, 2]
    known = np.isfinite(seen) & (seen > 0)
    if not known.any():
        return float("nan")
    return float(np.mean(np.abs(expected[known] - seen[known]) / seen[known]))

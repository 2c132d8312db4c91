"""Accuracy and consistency of depth maps as Video Depth Anything measures them (Chen et al., CVPR 2025).

Arrays: maps [T, H, W] as a network gives them, truth [T, H, W] in metres, 0 where the sensor has no reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.offline import fit

Floats = NDArray[np.float32]

LEAST = 1e-3
"""Metres below which a reading is none, and bound of maps, inverse depth and depth, as in the official evaluation."""
DELTA = 1.25

Alignment = Literal["sequence", "first frame", "each frame"]
"""What scale and shift are fitted on: all frames, which no live system can do; the first one with readings, which is
what a live system could do; or each frame anew, which forgives every drift of the scale.
"""
ALIGNMENTS: tuple[Alignment, ...] = ("sequence", "first frame", "each frame")


@dataclass(frozen=True, slots=True)
class Camera:
    """Pinhole, pixels; centres of pixels have whole coordinates."""

    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True, slots=True)
class Errors:
    """Of each frame with readings, float64 [N]: mean of |d - d*| / d*, share with max(d/d*, d*/d) < 1.25."""

    frames: tuple[int, ...]
    abs_rel: NDArray[np.float64]
    delta1: NDArray[np.float64]


def known_pixels(truth: Floats, cap_m: float) -> NDArray[np.bool_]:
    """Where there is a reading that counts: bool, the shape of `truth`."""
    known: NDArray[np.bool_] = (truth > LEAST) & (truth < cap_m)
    return known


def aligned_depth(maps: Floats, truth: Floats, cap_m: float, unit: Unit, alignment: Alignment = "sequence") -> Floats:
    """Depth [T, H, W] in metres, `LEAST` to `cap_m`.

    Relative maps get the scale and shift that bring them closest to 1/truth in the least-squares sense; metric maps
    are taken as they are. Raises ValueError where no pixel has a reading.
    """
    if unit is Unit.METRE:
        return np.clip(maps, LEAST, cap_m)
    known = known_pixels(truth, cap_m)
    if not known.any():
        raise ValueError("no pixel of the sequence has a reading below the cap: are depth files and factor right?")
    maps = np.maximum(maps, LEAST)
    if alignment == "each frame":
        return np.stack([_one_fit(m, t, k, m, cap_m) for m, t, k in zip(maps, truth, known, strict=True)])
    first = slice(None) if alignment == "sequence" else _first_with_readings(known)
    return _one_fit(maps[first], truth[first], known[first], maps, cap_m)


def _first_with_readings(known: NDArray[np.bool_]) -> slice:
    first = int(np.flatnonzero(known.any(axis=(1, 2)))[0])
    return slice(first, first + 1)


def _one_fit(maps: Floats, truth: Floats, known: NDArray[np.bool_], to_align: Floats, cap_m: float) -> Floats:
    if not known.any():
        return np.full(to_align.shape, cap_m, np.float32)
    wanted: Floats = (1 / truth[known]).astype(np.float32)
    scale, shift = fit(maps[known], wanted)
    inverse = np.maximum(to_align * np.float32(scale) + np.float32(shift), LEAST)
    depth: Floats = np.clip(1 / inverse, LEAST, cap_m).astype(np.float32, copy=False)
    return depth


def errors(depth: Floats, truth: Floats, cap_m: float) -> Errors:
    """Errors of aligned depth, for each frame that has readings; their means are the figures of the protocol."""
    known = known_pixels(truth, cap_m)
    frames = tuple(int(frame) for frame in np.flatnonzero(known.any(axis=(1, 2))))
    abs_rel, delta1 = [], []
    for frame in frames:
        found, wanted = depth[frame][known[frame]], truth[frame][known[frame]]
        abs_rel.append(np.mean(np.abs(found - wanted) / wanted, dtype=np.float64))
        delta1.append(np.mean(np.maximum(found / wanted, wanted / found) < DELTA))
    return Errors(frames, np.array(abs_rel, np.float64), np.array(delta1, np.float64))


def alignment_errors(depth: Floats, poses: list[NDArray[np.float64]], camera: Camera) -> NDArray[np.float64]:
    """Temporal alignment error of each pair of neighbouring frames, ×100: float64 [T-1], NaN where they share nothing.

    depth [T, H, W] metres, aligned; poses: camera to world, 4×4, one for each frame. Both directions are averaged.
    The figure of the protocol is the mean over pairs. Pairs without a common pixel are left out of it; the official
    script counts them as perfect.
    """
    found = np.full(max(0, len(depth) - 1), np.nan)
    for index in range(len(found)):
        step: NDArray[np.float64] = np.linalg.inv(poses[index + 1]) @ poses[index]
        inverse: NDArray[np.float64] = np.linalg.inv(poses[index]) @ poses[index + 1]
        there = reprojection_error(depth[index], depth[index + 1], step, camera)
        back = reprojection_error(depth[index + 1], depth[index], inverse, camera)
        found[index] = 100 * (there + back) / 2
    return found


def reprojection_error(one: Floats, other: Floats, step: NDArray[np.float64], camera: Camera) -> float:
    """Mean of |moved - other| / other where map `one`, moved by `step` (its camera to the other's, 4×4), meets it.

    Points land on the nearest pixel; where several do, the last in reading order stays, as in the official script.
    NaN where no point meets a reading.
    """
    height, width = one.shape
    x, y, z = moved_points(one, step, camera)
    before = z > 0
    column = np.rint(x[before] / z[before] * camera.fx + camera.cx).astype(np.int64)
    row = np.rint(y[before] / z[before] * camera.fy + camera.cy).astype(np.int64)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    moved = np.zeros(height * width)
    moved[row[inside] * width + column[inside]] = z[before][inside]
    wanted = other.ravel().astype(np.float64)
    met = (moved > 0) & (wanted > 0)
    return float(np.mean(np.abs(moved[met] - wanted[met]) / wanted[met])) if met.any() else float("nan")


def moved_points(depth: Floats, step: NDArray[np.float64], camera: Camera) -> NDArray[np.float64]:
    """Points of a depth map in another camera's frame: float64 [3, H·W]. Source of all projections here."""
    rows, columns = np.mgrid[0 : depth.shape[0], 0 : depth.shape[1]]
    z = depth.ravel().astype(np.float64)
    points = np.stack([(columns.ravel() - camera.cx) / camera.fx * z, (rows.ravel() - camera.cy) / camera.fy * z, z])
    moved: NDArray[np.float64] = step[:3, :3] @ points + step[:3, 3:]
    return moved


def flicker(maps: Floats) -> float:
    """Maps of a scene and camera that stand still: median over pixels of the mean change from frame to frame, in
    percent of the clip's range (2nd to 98th percentile).
    """
    low, high = np.quantile(maps, (0.02, 0.98))
    change = np.abs(np.diff(maps, axis=0)).mean(axis=0)
    return 100 * float(np.median(change)) / max(float(high - low), 1e-9)

"""Camera motion between neighbouring RGB-D frames, for sequences that come without poses.

Direct alignment: brightness and depth of one frame must agree with the other's after the motion (Kerl, Sturm, Cremers:
*Robust odometry estimation for RGB-D cameras*, ICRA 2013, in short). Coarse to fine, Gauss-Newton, Huber weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics import Camera

Doubles = NDArray[np.float64]
LEVELS = (4, 2, 1)
ITERATIONS = 12
SHADE_SCALE = 6.0
"""Grey levels of 255 that count as much as `DEPTH_SCALE` of relative depth; larger residuals count linearly."""
DEPTH_SCALE = 0.01
FARTHEST_MISS = 0.1
"""Relative difference of depth beyond which two pixels do not show the same surface."""
STEEPEST = 0.04
"""Slope of relative depth from pixel to pixel beyond which a surface ends."""
SMALLEST_STEP = 1e-6
FEWEST_PIXELS = 60


@dataclass(frozen=True, slots=True)
class View:
    """grey: float [H, W], 0..255; depth: float [H, W], metres, 0 where unknown."""

    grey: Doubles
    depth: Doubles

    def coarser(self, factor: int) -> View:
        """Every factor-th pixel, brightness averaged over its block."""
        height, width = (side // factor * factor for side in self.grey.shape)
        blocks = self.grey[:height, :width].reshape(height // factor, factor, width // factor, factor)
        return View(blocks.mean(axis=(1, 3)), self.depth[:height:factor, :width:factor])


def trajectory(views: list[View], camera: Camera) -> list[Doubles]:
    """Camera to world of every view, 4×4, the first one's the identity. Motion starts from the one before."""
    poses, step = [np.eye(4)], np.eye(4)
    for before, now in pairwise(views):
        step = motion(before, now, camera, step)
        poses.append(poses[-1] @ np.linalg.inv(step))
    return poses


def motion(one: View, other: View, camera: Camera, guess: Doubles | None = None) -> Doubles:
    """4×4 from the frame of `one` to that of `other`; the guess where too little can be compared."""
    step = np.eye(4) if guess is None else guess
    for factor in LEVELS:
        # A block's brightness belongs to its middle, its depth to its first pixel: half a block apart, which robust
        # weights and the finest level make good.
        scaled = Camera(camera.fx / factor, camera.fy / factor, camera.cx / factor, camera.cy / factor)
        step = _refined(one.coarser(factor), other.coarser(factor), scaled, step)
    return step


@dataclass(frozen=True, slots=True)
class _Field:
    """A map with its slopes down and across, per pixel."""

    values: Doubles
    down: Doubles
    across: Doubles

    @classmethod
    def of(cls, values: Doubles) -> _Field:
        return cls(values, np.asarray(np.gradient(values, axis=0)), np.asarray(np.gradient(values, axis=1)))

    def near(self, v: Doubles, u: Doubles, at: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Doubles:
        """Value at (v, u), from the pixel `at` next to it."""
        found: Doubles = self.values[at] + self.down[at] * (v - at[0]) + self.across[at] * (u - at[1])
        return found


def _refined(one: View, other: View, camera: Camera, step: Doubles) -> Doubles:
    rows, columns = np.nonzero(one.depth > 0)
    z = one.depth[rows, columns]
    points = np.stack([(columns - camera.cx) / camera.fx * z, (rows - camera.cy) / camera.fy * z, z])
    grey, depth = _Field.of(other.grey), _Field.of(np.where(other.depth > 0, other.depth, np.nan))
    for _ in range(ITERATIONS):
        moved = step[:3, :3] @ points + step[:3, 3:]
        found = _normal_equations(moved, one.grey[rows, columns], grey, depth, camera)
        if found is None:
            return step
        twist: Doubles = np.asarray(np.linalg.solve(found[0] + 1e-9 * np.eye(6), found[1]), np.float64)
        step = exponential(twist) @ step
        if np.abs(twist).max() < SMALLEST_STEP:
            break
    return step


def _normal_equations(
    moved: Doubles, shade: Doubles, grey: _Field, depth: _Field, camera: Camera
) -> tuple[Doubles, Doubles] | None:
    """(A, b) of A·twist = b for points [3, N] with brightness [N]; None where too few meet the other view."""
    height, width = grey.values.shape
    z = np.where(moved[2] > 1e-6, moved[2], np.inf)
    u, v = moved[0] / z * camera.fx + camera.cx, moved[1] / z * camera.fy + camera.cy
    row, column = np.rint(v), np.rint(u)
    inside = np.flatnonzero((column >= 1) & (column < width - 1) & (row >= 1) & (row < height - 1) & np.isfinite(z))
    at = row[inside].astype(np.int64), column[inside].astype(np.int64)
    miss = depth.near(v[inside], u[inside], at) - z[inside]
    is_smooth = np.maximum(np.abs(depth.down[at]), np.abs(depth.across[at])) < STEEPEST * z[inside]
    agrees = is_smooth & (np.abs(miss) < FARTHEST_MISS * z[inside])  # NaN, beside a hole, agrees with nothing
    if agrees.sum() < FEWEST_PIXELS:
        return None
    kept, at = inside[agrees], (at[0][agrees], at[1][agrees])
    x, y, z = moved[:, kept]
    zeros = np.zeros_like(z)
    # How pixel and depth of a point change with the twist (translation, rotation).
    over_u = camera.fx * np.stack([1 / z, zeros, -x / z**2, -x * y / z**2, 1 + x**2 / z**2, -y / z])
    over_v = camera.fy * np.stack([zeros, 1 / z, -y / z**2, -1 - y**2 / z**2, x * y / z**2, x / z])
    over_z = np.stack([zeros, zeros, np.ones_like(z), y, -x, zeros])
    shades = (grey.near(v[kept], u[kept], at) - shade[kept]) / SHADE_SCALE
    by_shade = (grey.across[at] * over_u + grey.down[at] * over_v) / SHADE_SCALE
    by_depth = (depth.across[at] * over_u + depth.down[at] * over_v - over_z) / (DEPTH_SCALE * z)
    gaps = np.concatenate([shades, miss[agrees] / (DEPTH_SCALE * z)])
    rows = np.concatenate([by_shade, by_depth], axis=1)
    weights = 1 / np.maximum(np.abs(gaps), 1.0)
    return (rows * weights) @ rows.T, -(rows * weights) @ gaps


def exponential(twist: Doubles) -> Doubles:
    """4×4 motion of a twist [6] (translation, rotation vector)."""
    angle = float(np.linalg.norm(twist[3:]))
    x, y, z = twist[3:]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if angle < 1e-12:
        first, second, third = 1.0, 0.5, 1 / 6
    else:
        first, second = np.sin(angle) / angle, (1 - np.cos(angle)) / angle**2
        third = (angle - np.sin(angle)) / angle**3
    out = np.eye(4)
    out[:3, :3] += first * cross + second * cross @ cross
    out[:3, 3] = (np.eye(3) + second * cross + third * cross @ cross) @ twist[:3]
    return out

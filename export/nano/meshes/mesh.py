"""Triangle soups with textures, and the few operations that scene builders need."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

Reals = NDArray[np.floating[Any]]
"""Any precision: what shapes are made of before they are triangles."""
Vector = Sequence[float] | Reals
"""Three numbers: a place, half sizes, linear RGB."""
PLAIN = -1
"""Picture of a triangle that has its tint alone."""


class _Looks(TypedDict):
    picture: Ints
    tint: Floats
    shine: Floats


@dataclass(frozen=True, slots=True)
class Mesh:
    """n triangles.

    corners: float32 [n, 3, 3]; uv: float32 [n, 3, 2], v upwards; picture: int32 [n], index into the atlas or PLAIN;
    tint: float32 [n, 3], linear RGB that multiplies the picture; shine: float32 [n], share that a mirror would reflect.
    """

    corners: Floats
    uv: Floats
    picture: Ints
    tint: Floats
    shine: Floats

    def __len__(self) -> int:
        return len(self.corners)

    def bounds(self) -> tuple[Floats, Floats]:
        """Lowest and highest corner, each [3]."""
        points = self.corners.reshape(-1, 3)
        low: Floats = points.min(0)
        high: Floats = points.max(0)
        return low, high

    def chosen(self, where: NDArray[np.bool_]) -> Mesh:
        """The triangles where `where` [n] is True."""
        return Mesh(self.corners[where], self.uv[where], self.picture[where], self.tint[where], self.shine[where])


def make_mesh(corners: Floats, uv: Floats, picture: int, tint: Vector = (1, 1, 1), shine: float = 0.0) -> Mesh:
    """Triangles that all look alike."""
    points, places = np.ascontiguousarray(corners, np.float32), np.ascontiguousarray(uv, np.float32)
    return Mesh(points, places, **_looks(len(points), picture, tint, shine))


def _looks(count: int, picture: int, tint: Vector, shine: float) -> _Looks:
    return {
        "picture": np.full(count, picture, np.int32),
        "tint": np.tile(np.asarray(tint, np.float32), (count, 1)),
        "shine": np.full(count, shine, np.float32),
    }


def joined(parts: Sequence[Mesh]) -> Mesh:
    """All triangles of `parts`, at least one, in order."""
    return Mesh(
        np.concatenate([p.corners for p in parts]),
        np.concatenate([p.uv for p in parts]),
        np.concatenate([p.picture for p in parts]),
        np.concatenate([p.tint for p in parts]),
        np.concatenate([p.shine for p in parts]),
    )


def moved(mesh: Mesh, turn: Floats, shift: Vector) -> Mesh:
    """Every corner times `turn` [3, 3] (columns are the turned axes), plus `shift` [3]."""
    corners = mesh.corners.reshape(-1, 3) @ turn.T + np.asarray(shift, np.float32)
    return replace(mesh, corners=corners.reshape(-1, 3, 3).astype(np.float32))


def shifted(mesh: Mesh, x: float, y: float, z: float) -> Mesh:
    """Every corner moved by so many metres."""
    return replace(mesh, corners=mesh.corners + np.array((x, y, z), np.float32))


def scaled(mesh: Mesh, share: float) -> Mesh:
    """Every corner times `share`."""
    return replace(mesh, corners=mesh.corners * np.float32(share))


def worn(mesh: Mesh, picture: int, tint: Vector, shine: float = 0.0) -> Mesh:
    """All triangles with one picture (or PLAIN), tint [3] and gloss; the texture coordinates stay."""
    return replace(mesh, **_looks(len(mesh), picture, tint, shine))


def placed(mesh: Mesh, x: float, y: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Mesh:
    """Scaled, turned about the vertical, then moved."""
    return moved(mesh, about_z(yaw) * np.float32(scale), (x, y, z))


def grounded(mesh: Mesh) -> Mesh:
    """Its bounding box centred over the origin, its lowest point at z = 0."""
    low, high = mesh.bounds()
    middle = (low + high) / 2
    return shifted(mesh, -middle[0], -middle[1], -low[2])


def about_z(yaw: float) -> Floats:
    """Rotation [3, 3] about the vertical."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], np.float32)


def tumbled(rng: Generator) -> Floats:
    """A uniformly random rotation [3, 3]."""
    q = rng.normal(size=4)
    w, x, y, z = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ],
        np.float32,
    )


def normals(corners: Floats) -> Floats:
    """Unit normals [n, 3] of triangles [n, 3, 3]; zero where a triangle has no area."""
    n = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit: Floats = (n / (np.linalg.norm(n, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
    return unit


def boxed_uv(corners: Floats, tile: float) -> Floats:
    """Texture coordinates [n, 3, 2] of a pattern `tile` metres wide, laid on from the side each triangle faces."""
    axis = np.abs(normals(corners)).argmax(1)[:, None]
    u = np.where(axis == 0, corners[..., 1], corners[..., 0])
    v = np.where(axis == 2, corners[..., 1], corners[..., 2])
    return (np.stack((u, v), -1) / np.float32(tile)).astype(np.float32)

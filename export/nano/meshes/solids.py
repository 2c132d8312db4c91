"""Meshes of simple solids: boxes, balls, tubes, grids; each wears one picture, wrapped around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from export.nano.meshes.mesh import PLAIN, Floats, Mesh, Vector, joined, make_mesh


def quad(corners: Sequence[Sequence[float]], picture: int = PLAIN, repeat: tuple[float, float] = (1.0, 1.0)) -> Mesh:
    """Four corners in a circle, the first at the picture's lower left; repeat: copies of the picture."""
    points = np.asarray(corners, np.float32)
    u, v = repeat
    uv = np.array([[0, 0], [u, 0], [u, v], [0, v]], np.float32)
    order = [[0, 1, 2], [0, 2, 3]]
    return make_mesh(points[order], uv[order], picture)


def grid(points: Floats, picture: int = PLAIN) -> Mesh:
    """Points [h, w, 3] joined to a surface; the picture covers it once."""
    h, w = points.shape[:2]
    v, u = np.meshgrid(np.linspace(0, 1, h), np.linspace(0, 1, w), indexing="ij")
    uv = np.stack((u, v), -1).astype(np.float32)

    def triangles(x: Floats) -> Floats:
        a, b, c, d = x[:-1, :-1], x[:-1, 1:], x[1:, 1:], x[1:, :-1]
        halves = np.concatenate(
            (np.stack((a, b, c), 2).reshape(-1, 3, x.shape[2]), np.stack((a, c, d), 2).reshape(-1, 3, x.shape[2]))
        )
        return halves.astype(np.float32)

    return make_mesh(triangles(points), triangles(uv), picture)


def box(half: Vector) -> Mesh:
    """Half extents [3] about the origin; the picture on each face."""
    x, y, z = half
    faces = (
        [(-x, -y, -z), (x, -y, -z), (x, -y, z), (-x, -y, z)], [(x, y, -z), (-x, y, -z), (-x, y, z), (x, y, z)],
        [(x, -y, -z), (x, y, -z), (x, y, z), (x, -y, z)], [(-x, y, -z), (-x, -y, -z), (-x, -y, z), (-x, y, z)],
        [(-x, -y, z), (x, -y, z), (x, y, z), (-x, y, z)], [(-x, y, -z), (x, y, -z), (x, -y, -z), (-x, -y, -z)],
    )  # fmt: skip
    return joined([quad(face) for face in faces])


def ball(half: Vector, segments: int = 16) -> Mesh:
    """An ellipsoid with half axes [3]."""
    lat = np.linspace(-math.pi / 2, math.pi / 2, segments // 2 + 1)[:, None]
    lon = np.linspace(0, 2 * math.pi, segments + 1)[None]
    unit = np.stack((np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat) + 0 * lon), -1)
    return grid((unit * np.asarray(half)).astype(np.float32))


def tube(path: Floats, radii: Floats, sides: int = 10) -> Mesh:
    """Rings of radii [n] about the points of a path [n, 3], n >= 2; open where a radius at an end is not 0."""
    way = np.gradient(path.astype(np.float64), axis=0)
    way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
    helper = np.where(np.abs(way[:, 2:3]) < 0.9, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(way, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True) + 1e-9
    second = np.cross(way, first)
    angle = np.linspace(0, 2 * math.pi, sides + 1)[None, :, None]
    ring = np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None]
    return grid((path[:, None] + radii[:, None, None] * ring).astype(np.float32))


def capsule(start: Vector, end: Vector, radii: tuple[float, float], sides: int = 10) -> Mesh:
    """A limb with round ends, as thick as `radii` at its start and its end."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    way = (b - a) / (np.linalg.norm(b - a) + 1e-9)
    bow = np.sin(np.linspace(0, math.pi / 2, 4))
    hollow = np.cos(np.linspace(0, math.pi / 2, 4))
    path = np.concatenate((a - way * radii[0] * bow[::-1, None], b + way * radii[1] * bow[:, None]))
    wide = np.concatenate((radii[0] * hollow[::-1], radii[1] * hollow))
    return tube(path.astype(np.float32), wide.astype(np.float32), sides)


def torus(ring: float, thick: float, segments: int = 20) -> Mesh:
    """A ring of radius `ring` about the vertical, `thick` in radius."""
    lon, lat = np.linspace(0, 2 * math.pi, segments + 1)[:, None], np.linspace(0, 2 * math.pi, 11)[None]
    wide = ring + thick * np.cos(lat)
    return grid(
        np.stack((wide * np.cos(lon), wide * np.sin(lon), thick * np.sin(lat) + 0 * lon), -1).astype(np.float32)
    )


def cylinder(radius: float, height: float, top: float | None = None, sides: int = 16) -> Mesh:
    """Standing on the origin, closed; `top` is the radius above (0 makes a cone)."""
    above = radius if top is None else top
    path = np.array([[0, 0, 0], [0, 0, 1e-4], [0, 0, height - 1e-4], [0, 0, height]], np.float32)
    return tube(path, np.array([0, radius, above, 0], np.float32), sides)

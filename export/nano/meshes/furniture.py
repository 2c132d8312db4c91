"""Single things out of furnished buildings: triangles that hang together, put back together where they overlap."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from export.nano.meshes.mesh import Floats, Mesh, grounded

SOURCES = ("aws_small_house", "aws_hospital", "aws_small_warehouse", "aws_bookstore", "cafe", "country_kitchen")
WELD = 1e-3
"""Corners nearer than this, in metres, are one."""
LARGEST, LOWEST, THINNEST, FEWEST = 3.0, 0.08, 0.03, 24
"""Metres across and tall, and triangles, of what counts as a thing."""
ALIKE = 0.03
"""Metres: things of as many triangles and, this nearly, of one size are copies of one."""
MOST_PARTS = 2500
INSIDE = 0.3
"""Share of a part's ground plan within another's from which the two are one thing, where they touch in height."""
MOST_TRIANGLES = 30_000


def furniture_of(models: Mapping[str, Mesh]) -> tuple[Mesh, ...]:
    """All things of the buildings among `models`, each once and standing on the origin."""
    found = [thing for name in SOURCES if name in models for thing in things(models[name])]
    kinds = {(len(thing), *np.round(thing.bounds()[1] / ALIKE).astype(int).tolist()): thing for thing in found}
    return tuple(kinds.values())


def things(mesh: Mesh) -> list[Mesh]:
    """The movable things of one building: no walls, no floors, no crumbs."""
    part = parts_of(mesh.corners)
    count = int(part.max()) + 1
    low, high = np.full((count, 3), np.inf, np.float32), np.full((count, 3), -np.inf, np.float32)
    for corner in range(3):
        np.minimum.at(low, part, mesh.corners[:, corner])
        np.maximum.at(high, part, mesh.corners[:, corner])
    small = np.flatnonzero((high - low)[:, :2].max(1) < LARGEST)
    small = small[np.argsort(-np.prod(high[small] - low[small] + 0.02, axis=1))][:MOST_PARTS]
    owner = np.full(count, -1)
    owner[small] = _grouped(low[small], high[small])
    label = owner[part]
    found = []
    for group in np.unique(label[label >= 0]):
        thing = mesh.chosen(label == group)
        size = np.subtract(*thing.bounds()[::-1])
        if FEWEST <= len(thing) <= MOST_TRIANGLES and LOWEST < size[2] < LARGEST and size[:2].min() > THINNEST:
            found.append(grounded(thing))
    return found


def parts_of(corners: Floats) -> NDArray[np.int64]:
    """Number [n] of the connected part that each triangle [n, 3, 3] belongs to."""
    keys = np.round(corners.reshape(-1, 3) / WELD).astype(np.int64)
    keys -= keys.min(0)
    span = keys.max(0) + 1
    packed = (keys[:, 0] * span[1] + keys[:, 1]) * span[2] + keys[:, 2]
    _, corner = np.unique(packed, return_inverse=True)
    triangle = corner.reshape(-1, 3)
    label = np.arange(int(triangle.max()) + 1)
    while True:
        least = label[triangle].min(1)
        new = label.copy()
        for each in range(3):
            np.minimum.at(new, triangle[:, each], least)
        new = new[new]
        if np.array_equal(new, label):
            break
        label = new
    _, part = np.unique(label[triangle[:, 0]], return_inverse=True)
    return part.astype(np.int64)


def _grouped(low: Floats, high: Floats) -> NDArray[np.int64]:
    """Group [k] of each box, largest first: a box joins the first group under or over or in which it stands."""
    group = np.full(len(low), -1)
    lows, highs = np.zeros_like(low), np.zeros_like(high)
    groups = 0
    for index in range(len(low)):
        a, b = low[index] - 0.01, high[index] + 0.01
        common = np.minimum(highs[:groups], b) - np.maximum(lows[:groups], a)
        share = np.prod(np.maximum(common[:, :2], 0), axis=1) / np.prod((b - a)[:2])
        joins = np.flatnonzero((share > INSIDE) & (common[:, 2] > 0))
        if len(joins):
            group[index] = joins[0]
        else:
            group[index], lows[groups], highs[groups] = groups, a, b
            groups += 1
    return group

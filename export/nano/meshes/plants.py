"""Trees, bushes and grass: tubes for wood, cut-out cards for leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from export.nano.meshes.library import Library
from export.nano.meshes.mesh import Mesh, Reals, joined, moved, tumbled
from export.nano.meshes.solids import quad, tube
from export.nano.meshes.surfaces import covered


def leaves(library: Library, rng: Generator, middle: Reals, spread: Reals, count: int, size: float) -> Mesh:
    """`count` cards about `middle` [3], within `spread` [3] half axes."""
    card = quad([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], int(rng.choice(library.leaves)))
    tint = (rng.uniform(0.7, 1.3, 3) * rng.uniform(0.7, 1.2)).astype(np.float32)
    card = replace(card, tint=np.tile(tint, (len(card), 1)))
    cards = []
    for _ in range(count):
        way = rng.normal(size=3)
        place = middle + spread * way / np.linalg.norm(way) * rng.random() ** 0.4
        cards.append(moved(card, tumbled(rng) * np.float32(size * rng.uniform(0.6, 1.3)), place))
    return joined(cards)


def tree(library: Library, rng: Generator) -> Mesh:
    """3 to 12 m tall: broad, or pointed as a fir; at times bare."""
    tall, thick = rng.uniform(3, 12), rng.uniform(0.015, 0.04)
    t = np.linspace(0, 1, 6)
    sway = rng.normal(0, 0.05, (1, 2)) * t[:, None] ** 2 * tall
    trunk = np.concatenate((sway, t[:, None] * tall * 0.85), 1)
    parts = [tube(trunk.astype(np.float32), (tall * thick * (1.1 - t)).astype(np.float32), 8)]
    for _ in range(int(rng.integers(3, 9))):
        start = trunk[rng.integers(2, 6)]
        way = np.array([*rng.normal(0, 1, 2), rng.uniform(0.2, 1.2)])
        end = start + way / np.linalg.norm(way) * tall * rng.uniform(0.1, 0.35)
        limb = np.stack((start, (start + end) / 2 + rng.normal(0, 0.02, 3) * tall, end)).astype(np.float32)
        parts.append(tube(limb, np.array([0.5, 0.3, 0.1], np.float32) * np.float32(thick * tall), 6))
    wood = [covered(joined(parts), library, rng, rng.uniform(0.5, 2.0))]
    if rng.random() < 0.12:
        return wood[0]
    if rng.random() < 0.3:
        for level in np.linspace(0.2, 0.98, 7):
            ring = np.array([1, 1, 0.5]) * tall * 0.22 * (1.05 - level)
            wood.append(leaves(library, rng, np.array([0, 0, level * tall]), ring, 14, tall * 0.1 * (1.2 - level)))
        return joined(wood)
    crown = np.array([1, 1, rng.uniform(0.7, 1.3)]) * tall * rng.uniform(0.18, 0.33)
    wood.append(
        leaves(library, rng, trunk[-1] * 0.95, crown, int(rng.integers(50, 160)), tall * rng.uniform(0.05, 0.1))
    )
    return joined(wood)


def bush(library: Library, rng: Generator) -> Mesh:
    """0.2 to 1.5 m, on the ground."""
    size = rng.uniform(0.2, 1.5)
    spread = size * np.array([rng.uniform(0.4, 1), rng.uniform(0.4, 1), 0.5])
    return leaves(
        library, rng, np.array([0, 0, size * 0.5]), spread, int(rng.integers(15, 60)), size * rng.uniform(0.15, 0.35)
    )

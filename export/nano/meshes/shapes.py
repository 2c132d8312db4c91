"""Random shapes with random pictures on them: no habit of a place helps, only occlusion, shade and texture."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from export.nano.meshes.library import Library
from export.nano.meshes.mesh import PLAIN, Mesh, joined, moved, scaled, shifted, tumbled, worn
from export.nano.meshes.shade import Camera
from export.nano.meshes.solids import ball, box, cylinder, grid, quad, torus, tube
from export.nano.meshes.surfaces import any_picture, covered, random_tint
from export.nano.meshes.views import lens

SMALLEST, LARGEST = 0.04, 0.6
"""Half sizes, as a share of the distance."""


def _bowed_tube(rng: Generator) -> Mesh:
    path = np.cumsum(rng.normal(0, 0.35, (7, 3)), 0)
    fine = np.stack([np.interp(np.linspace(0, 6, 25), np.arange(7), path[:, i]) for i in range(3)], 1)
    radii = rng.uniform(0.03, 0.25) * rng.uniform(0.5, 1.2, 25)
    return tube((fine - fine.mean(0)).astype(np.float32), radii.astype(np.float32))


def lump(rng: Generator) -> Mesh:
    """A ball of radius about 1 with bumps."""
    mesh = ball((1, 1, 1), 24)
    points = mesh.corners.reshape(-1, 3)
    wide = np.ones(len(points))
    for _ in range(5):
        wave = rng.normal(0, 2.0, 3)
        wide += rng.uniform(0, 0.16) * np.sin(points @ wave + rng.uniform(0, 6))
    return replace(mesh, corners=(points * wide[:, None]).reshape(-1, 3, 3).astype(np.float32))


def _sheet(rng: Generator) -> Mesh:
    """A waving cloth."""
    y, x = np.meshgrid(np.linspace(-1, 1, 14), np.linspace(-1, 1, 14), indexing="ij")
    z = np.zeros_like(x)
    for _ in range(3):
        z += rng.uniform(0, 0.2) * np.sin(rng.normal(0, 3) * x + rng.normal(0, 3) * y + rng.uniform(0, 6))
    return grid(np.stack((x, y * rng.uniform(0.4, 1.2), z), -1).astype(np.float32))


def _frame(rng: Generator) -> Mesh:
    """A ladder or lattice of thin bars."""
    bars, gap, thick = int(rng.integers(2, 7)), rng.uniform(0.2, 0.5), rng.uniform(0.01, 0.06)
    long = gap * 3
    across = [shifted(box((thick, thick, long)), gap * (i - bars / 2), 0, 0) for i in range(bars)]
    heights = rng.uniform(-long, long, rng.integers(1, 5))
    return joined(across + [shifted(box((gap * bars / 2, thick, thick)), 0, 0, z) for z in heights])


SHAPES: tuple[Callable[[Generator], Mesh], ...] = (
    lambda rng: box(rng.uniform(0.15, 1, 3)),
    lambda rng: box(rng.uniform(0.15, 1, 3)),
    lambda rng: box((rng.uniform(0.3, 1), rng.uniform(0.3, 1), 0.01)),
    lambda rng: ball(rng.uniform(0.3, 1, 3)),
    lambda rng: shifted(cylinder(rng.uniform(0.1, 0.7), 2.0, rng.uniform(0, 0.7)), 0, 0, -1),
    lambda rng: torus(rng.uniform(0.4, 1), rng.uniform(0.05, 0.3)),
    _bowed_tube, lump, lump, _sheet, _frame,
)  # fmt: skip


def dressed(mesh: Mesh, library: Library, rng: Generator) -> Mesh:
    """One picture stretched over the shape as its own coordinates say, or laid on in tiles, or plain."""
    if rng.random() < 0.5:
        return covered(mesh, library, rng, float(np.exp(rng.uniform(-1.5, 1.0))))
    if rng.random() < 0.15:
        return worn(mesh, PLAIN, random_tint(rng))
    return worn(mesh, any_picture(rng, library), rng.uniform(0.6, 1.3) * rng.uniform(0.8, 1.2, 3))


def shape_scene(library: Library, rng: Generator) -> tuple[Mesh, Camera]:
    """Five to forty shapes before a camera that looks along +y; behind them a wall, a slope or nothing."""
    focal, scale = lens(rng), float(np.exp(rng.uniform(math.log(0.4), math.log(8.0))))
    parts = []
    spread = rng.uniform(2.5, 9.0)
    for _ in range(int(rng.integers(5, 40))):
        away = float(np.exp(rng.uniform(0, math.log(spread))))
        x, z = rng.uniform(-0.6, 0.6, 2) / focal * away
        size = away * float(np.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST if away > 1.6 else 0.25))))
        shape = dressed(SHAPES[rng.integers(len(SHAPES))](rng), library, rng)
        parts.append(moved(shape, tumbled(rng) * np.float32(size), (x, away + size, z)))
    if rng.random() < 0.75:
        parts.append(_backdrop(rng, library, spread * rng.uniform(0.9, 1.6)))
    camera = Camera(np.zeros(3, np.float32), np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32), focal)
    mesh = joined(parts)
    return scaled(mesh, scale), camera


def _backdrop(rng: Generator, library: Library, away: float) -> Mesh:
    """A plane across the view, leaning any way."""
    wide = 40.0 * away
    plane = quad([(-wide, 0, -wide), (wide, 0, -wide), (wide, 0, wide), (-wide, 0, wide)])
    yaw, lean = rng.normal(0, 0.5), rng.normal(0, 0.7)
    c, s, p, q = math.cos(yaw), math.sin(yaw), math.cos(lean), math.sin(lean)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, p, -q], [0, q, p]])
    wearing = covered(plane, library, rng, away * float(np.exp(rng.uniform(-1, 1))))
    return moved(wearing, turn.astype(np.float32), (0, away, 0))

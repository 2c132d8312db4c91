"""Streets: a ground, rows of buildings, cars, trees, poles and people between them."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from export.nano.meshes.figures import animal, person
from export.nano.meshes.library import Library
from export.nano.meshes.mesh import Mesh, grounded, joined, placed, shifted
from export.nano.meshes.plants import bush, tree
from export.nano.meshes.shade import Camera
from export.nano.meshes.shapes import dressed
from export.nano.meshes.solids import box, cylinder, quad, tube
from export.nano.meshes.surfaces import covered, repainted
from export.nano.meshes.views import (
    MUCH_RELIEF,
    OUTDOOR_HEIGHTS,
    TRIES,
    axes_of,
    facing,
    lens,
    look_around,
    pick_height,
    relief,
    roll_of,
)
from export.nano.meshes.world import World

BUILDINGS = (
    "house", "school", "office", "station", "store", "garage", "apartment", "salon", "shop", "food", "plant",
    "collapsed", "reactor", "tower", "playground", "truss_bridge", "pier",
)  # fmt: skip
VEHICLES = ("hatchback", "suv", "pickup", "bus", "truck", "ambulance")
FURNITURE = (
    "tree", "lamp_post", "pole", "hydrant", "mailbox", "postbox", "cone", "barrel", "barrier", "dumpster", "stop",
    "fountain", "table_marble", "brick_box", "cardboard", "cinder", "wheel", "robot", "console", "ramp", "stairs",
)  # fmt: skip
LENGTH = 90.0
LARGEST_BUILDING = 30.0
STOREY, EAVES = 2.9, 0.4
"""Metres."""
GROUND = 400.0


def named(library: Library, words: tuple[str, ...]) -> list[str]:
    """Models whose name has one of the words in it; never an interior."""
    return [n for n in library.models if any(w in n for w in words) and not n.startswith("aws_") and "osrf" not in n]


def radius(mesh: Mesh) -> float:
    """Of the circle around its ground plan."""
    low, high = mesh.bounds()
    return float(np.linalg.norm((high - low)[:2])) / 2


def street(library: Library, rng: Generator) -> Mesh:
    """Along x from -20 to 70 m, between -`road` and `road` free of buildings."""
    road = rng.uniform(3.0, 10.0)
    parts = [ground(library, rng)]
    houses, cars, things = (named(library, words) for words in (BUILDINGS, VEHICLES, FURNITURE))
    for side in (-1, 1):
        if rng.random() < 0.9:
            parts += _row(library, rng, houses, side, road)
    for _ in range(int(rng.integers(0, 7))):
        lane = rng.choice((-1, 1)) * road * rng.uniform(0.2, 0.7)
        turn = rng.choice((0, math.pi)) + rng.normal(0, 0.08) + math.pi / 2
        parts.append(_one(library, rng, cars, rng.uniform(-6, 45), lane, turn, rng.uniform(0.9, 1.1)))
    for _ in range(int(rng.integers(2, 16))):
        spot = _spot(rng, road)
        parts.append(_one(library, rng, things, *spot, rng.uniform(0, 6.3), rng.uniform(0.7, 1.3)))
    for make, most in ((person, 7), (tree, 9), (bush, 6), (animal, 3), (pole, 6)):
        for _ in range(int(rng.integers(0, most))):
            parts.append(placed(make(library, rng), *_spot(rng, road), 0, rng.uniform(0, 6.3)))
    return joined(parts)


def _spot(rng: Generator, road: float) -> tuple[float, float]:
    """Somewhere before the houses, more of it near where cameras are."""
    return float(rng.uniform(-6, 12 if rng.random() < 0.5 else 45)), float(road * rng.uniform(-1.1, 1.1))


def pole(library: Library, rng: Generator) -> Mesh:
    """A post, a fence, a lattice mast or a sign."""
    dice = rng.random()
    if dice < 0.35:
        return covered(cylinder(rng.uniform(0.03, 0.2), rng.uniform(1.0, 9.0), rng.uniform(0.02, 0.1)), library, rng)
    if dice < 0.6:
        bars = [shifted(cylinder(0.025, 1.1, sides=6), 0.18 * i, 0, 0) for i in range(int(rng.integers(8, 30)))]
        half = 0.09 * len(bars)
        rails = [shifted(box((half, 0.02, 0.03)), half, 0, z) for z in (0.2, 1.0)]
        return covered(joined(bars + rails), library, rng)
    if dice < 0.8:
        return covered(lattice(rng), library, rng)
    board = shifted(box((rng.uniform(0.2, 1.2), 0.02, rng.uniform(0.2, 0.8))), 0, 0.06, rng.uniform(1.6, 3.0))
    return joined([covered(cylinder(0.05, 2.5), library, rng), dressed(board, library, rng)])


def lattice(rng: Generator) -> Mesh:
    """A truss that rises, lies or arches: two to four chords with braces between them."""
    count, step, wide = int(rng.integers(6, 20)), rng.uniform(0.6, 2.0), rng.uniform(0.4, 1.6)
    t = np.arange(count + 1)
    arch, rise = rng.choice((0.0, 0.0, rng.uniform(0, 4))), rng.uniform(0, 1) * rng.choice((0, 1, 1))
    x, z = step * t * math.sqrt(1 - 0.9 * rise**2), step * t * rise + arch * np.sin(math.pi * t / count)
    sides = [np.stack((x, np.full_like(x, y), z + dz), 1) for y in (-wide / 2, wide / 2) for dz in (0, wide)]
    thick = rng.uniform(0.02, 0.09)
    bars = [tube(side.astype(np.float32), np.full(len(t), thick, np.float32), 5) for side in sides]
    for a, b in ((0, 1), (2, 3), (0, 2), (1, 3)):
        for i in range(count):
            first, second = (sides[a][i], sides[b][i + 1]) if i % 2 else (sides[b][i], sides[a][i + 1])
            bars.append(tube(np.stack((first, second)).astype(np.float32), np.full(2, thick * 0.6, np.float32), 4))
    return joined(bars)


def ground(library: Library, rng: Generator) -> Mesh:
    """A wide plane in one surface."""
    s = GROUND
    plane = quad([(-s, -s, 0), (s, -s, 0), (s, s, 0), (-s, s, 0)])
    return covered(plane, library, rng, rng.uniform(1.0, 7.0))


def _row(library: Library, rng: Generator, houses: list[str], side: int, road: float) -> list[Mesh]:
    parts, x = [], -20.0
    while x < LENGTH - 20:
        if rng.random() < 0.4:
            mesh = house(library, rng)
        else:
            mesh = repainted(grounded(library.models[houses[rng.integers(len(houses))]]), library, rng)
        scale = rng.uniform(0.7, 1.3)
        wide = radius(mesh) * scale
        if wide > LARGEST_BUILDING:
            scale, wide = scale * LARGEST_BUILDING / wide, LARGEST_BUILDING
        yaw = rng.integers(4) * math.pi / 2 + rng.normal(0, 0.06)
        parts.append(placed(mesh, x + wide, side * (road + wide * rng.uniform(0.75, 1.1)), 0, yaw, scale))
        x += 2 * wide * rng.uniform(0.7, 1.3)
    return parts


def house(library: Library, rng: Generator) -> Mesh:
    """A block with rows of windows, under a flat roof or a gable."""
    w, d, floors = rng.uniform(3, 9), rng.uniform(3, 8), int(rng.integers(1, 6))
    h = STOREY * floors
    parts = [covered(shifted(box((w, d, h / 2)), 0, 0, h / 2), library, rng, rng.uniform(1, 5))]
    panes: list[Mesh] = []
    for side, half, away in ((0, w, d), (1, d, w), (2, w, d), (3, d, w)):
        count = max(1, int(half * rng.uniform(0.4, 0.9)))
        pane = box((half / count * rng.uniform(0.3, 0.7), 0.06, 0.7))
        spots = [((2 * i + 1 - count) * half / count, STOREY * k + 1.5) for i in range(count) for k in range(floors)]
        front = joined([shifted(pane, x, -away, z) for x, z in spots])
        panes.append(placed(front, 0, 0, 0, side * math.pi / 2))
    parts.append(covered(joined(panes), library, rng))
    return joined(parts + _gable(library, rng, (w, d, h))) if rng.random() < 0.6 else joined(parts)


def _gable(library: Library, rng: Generator, size: tuple[float, float, float]) -> list[Mesh]:
    w, d, h = size
    top, x, y = h + rng.uniform(0.3, 0.6) * d, w + EAVES, d + EAVES
    slopes = [quad([(-x, s * y, h), (x, s * y, h), (x, 0, top), (-x, 0, top)]) for s in (-1, 1)]
    ends = [quad([(s * w, -d, h), (s * w, d, h), (s * w, 0, top), (s * w, 0, top)]) for s in (-1, 1)]
    roof = covered(joined(slopes), library, rng, rng.uniform(0.5, 3))
    return [roof, covered(joined(ends), library, rng, 2.0)]


def _one(
    library: Library, rng: Generator, names: list[str], x: float, y: float, yaw: float, scale: float
) -> Mesh:  # fmt: skip
    mesh = grounded(library.models[names[rng.integers(len(names))]])
    return placed(repainted(mesh, library, rng, 0.2), x, y, 0, yaw, scale)


def street_camera(world: World, rng: Generator) -> Camera | None:
    """On the road or above it, along it or across; None where every try ended in something."""
    for _ in range(TRIES):
        height = pick_height(rng, OUTDOOR_HEIGHTS)
        place = np.array([rng.uniform(-8, 25), rng.uniform(-5, 5), height], np.float32)
        way, depth = look_around(world, place, rng)
        if depth.min() < 0.35:
            continue
        steep = -math.degrees(math.atan2(height, 18.0)) if height > 2.5 else -3.0
        if height > 2.5 and rng.random() < 0.3:
            steep = rng.uniform(-75, -20)
        near = np.flatnonzero((depth < 12) & (way[:, 2] > -0.5) & (way[:, 2] < 0.5))
        if len(near) and rng.random() < 0.35:
            axes = facing(way[rng.choice(near)] + rng.normal(0, 0.1, 3), roll_of(rng))
        else:
            yaw = rng.normal(0, 0.5) + rng.choice((0, math.pi, math.pi / 2, -math.pi / 2), p=(0.6, 0.2, 0.1, 0.1))
            axes = axes_of(yaw, math.radians(rng.normal(steep, 9)), roll_of(rng))
        camera = Camera(place, axes, lens(rng))
        if relief(world, camera) > rng.uniform(0, MUCH_RELIEF):
            return camera
    return None

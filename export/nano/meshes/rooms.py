"""Rooms furnished from several sources: walls with windows, pictures and doors, things along them and on tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from export.nano.meshes.figures import animal, person
from export.nano.meshes.library import Library
from export.nano.meshes.mesh import Mesh, about_z, grounded, joined, moved, placed
from export.nano.meshes.plants import bush
from export.nano.meshes.shapes import SHAPES, dressed
from export.nano.meshes.solids import box, cylinder, quad
from export.nano.meshes.surfaces import covered, repainted

SMALL = 0.55
"""Metres: what is no larger may stand on tables."""


def thing(library: Library, rng: Generator, largest: float) -> Mesh:
    """Something that is at most `largest` metres in any direction, on the ground: furniture or a shape."""
    for _ in range(12):
        if library.furniture and rng.random() < 0.75:
            mesh = library.furniture[rng.integers(len(library.furniture))]
            mesh = repainted(mesh, library, rng)
        else:
            mesh = dressed(SHAPES[rng.integers(len(SHAPES))](rng), library, rng)
            mesh = moved(mesh, np.eye(3, dtype=np.float32) * np.float32(rng.uniform(0.3, 0.5) * largest), (0, 0, 0))
        low, high = mesh.bounds()
        if (high - low).max() <= largest:
            return grounded(mesh)
    return grounded(dressed(box(rng.uniform(0.1, 0.45, 3) * largest), library, rng))


def table(library: Library, rng: Generator, height: float) -> Mesh:
    """A board on four legs or one, or a chest; standing on the origin."""
    wide, deep = rng.uniform(0.3, 1.1), rng.uniform(0.25, 0.6)
    eye, board = np.eye(3, dtype=np.float32), rng.uniform(0.01, 0.04)
    top = moved(box((wide, deep, board)), eye, (0, 0, height - board))
    if rng.random() < 0.2:
        legs = [moved(box((wide * 0.97, deep * 0.95, height / 2 - board)), eye, (0, 0, height / 2 - board))]
    elif rng.random() < 0.2:
        legs = [cylinder(rng.uniform(0.03, 0.15), height), cylinder(min(wide, deep) * 0.7, 0.03)]
    else:
        thick = rng.uniform(0.015, 0.05)
        leg = box((thick, thick, height / 2))
        legs = [moved(leg, eye, (x * (wide - thick), y * (deep - thick), height / 2)) for x in (-1, 1) for y in (-1, 1)]
    tile = rng.uniform(0.4, 1.5)
    return joined([covered(top, library, rng, tile), covered(joined(legs), library, rng, tile)])


def laid_table(library: Library, rng: Generator, height: float | None = None, things: int | None = None) -> Mesh:
    """A table with things on it, some on top of others."""
    tall = height or rng.uniform(0.4, 1.05)
    own = table(library, rng, tall)
    parts, (low, high) = [own], own.bounds()
    for _ in range(things if things is not None else int(rng.integers(1, 9))):
        mesh = thing(library, rng, float(np.exp(rng.uniform(math.log(0.06), math.log(SMALL)))))
        x, y = rng.uniform(low[:2] * 0.85, high[:2] * 0.85)
        parts.append(placed(mesh, x, y, tall, rng.uniform(0, 6.3)))
        if rng.random() < 0.2:
            top = mesh.bounds()[1][2]
            parts.append(placed(thing(library, rng, 0.2), x, y, tall + top, rng.uniform(0, 6.3)))
    return joined(parts)


def shell(library: Library, rng: Generator, size: tuple[float, float, float]) -> list[Mesh]:
    """Floor, ceiling and four walls about the origin, windows and doors open in them. size: half width, half depth,
    height.
    """
    w, d, h = size
    floor = quad([(-w, -d, 0), (w, -d, 0), (w, d, 0), (-w, d, 0)])
    ceiling = quad([(-w, -d, h), (-w, d, h), (w, d, h), (w, -d, h)])
    parts = [covered(floor, library, rng, rng.uniform(0.4, 3)), covered(ceiling, library, rng, rng.uniform(0.4, 3))]
    paint = None if rng.random() < 0.3 else covered(box((1, 1, 1)), library, rng, rng.uniform(0.5, 3))
    for side in range(4):
        half = w if side % 2 == 0 else d
        away = d if side % 2 == 0 else w
        wall = joined(_wall(rng, half, h))
        tile = rng.uniform(0.5, 3)
        own = covered(wall, library, rng, tile)
        if paint is not None:  # all walls alike
            own = replace(
                own,
                picture=np.full(len(own), paint.picture[0], np.int32),
                tint=np.tile(paint.tint[0], (len(own), 1)),
                shine=np.full(len(own), paint.shine[0], np.float32),
            )
        parts.append(moved(joined([own, *_hung(library, rng, half, h)]), about_z(side * math.pi / 2), _turned(side, away)))
    return parts


def _turned(side: int, away: float) -> tuple[float, float, float]:
    """Where the middle of a wall's foot is: walls are made along x, facing -y, at y = 0."""
    angle = side * math.pi / 2
    return -math.sin(angle) * away, math.cos(angle) * away, 0.0


def _wall(rng: Generator, half: float, height: float) -> list[Mesh]:
    """A wall along x from -half to half, with at most one opening and its frame."""
    if rng.random() < 0.45:
        return [quad([(-half, 0, 0), (half, 0, 0), (half, 0, height), (-half, 0, height)])]
    wide = min(rng.uniform(0.35, 1.2), half * 0.8)
    low, high = (0.0, min(2.1, height * 0.9)) if rng.random() < 0.3 else (rng.uniform(0.4, 1.1), height * rng.uniform(0.7, 0.9))
    middle = rng.uniform(-(half - wide), half - wide)
    a, b = middle - wide, middle + wide
    spans = [(-half, a, 0, height), (b, half, 0, height), (a, b, high, height), (a, b, 0, low)]
    parts = [quad([(x, 0, z), (y, 0, z), (y, 0, t), (x, 0, t)]) for x, y, z, t in spans if y > x and t > z]
    deep, eye = rng.uniform(0.03, 0.2), np.eye(3, dtype=np.float32)
    for x in (a, b):
        parts.append(moved(box((0.03, deep, (high - low) / 2)), eye, (x, 0, (low + high) / 2)))
    for z in (low, high):
        parts.append(moved(box((wide, deep, 0.03)), eye, (middle, 0, z)))
    if low > 0 and rng.random() < 0.6:
        parts.append(moved(box((0.02, 0.02, (high - low) / 2)), eye, (middle, 0, (low + high) / 2)))
        parts.append(moved(box((wide, 0.02, 0.02)), eye, (middle, 0, (low + high) / 2)))
    return parts


def _hung(library: Library, rng: Generator, half: float, height: float) -> list[Mesh]:
    """Pictures, shelves and radiators on a wall."""
    parts, eye = [], np.eye(3, dtype=np.float32)
    for _ in range(int(rng.integers(0, 4))):
        wide, tall = rng.uniform(0.12, 0.7), rng.uniform(0.12, 0.5)
        x, z = rng.uniform(-half, half) * 0.85, height * rng.uniform(0.45, 0.75)
        pool = library.photographs if rng.random() < 0.5 else library.outdoors + library.indoors
        face = quad([(-wide, -0.03, -tall), (wide, -0.03, -tall), (wide, -0.03, tall), (-wide, -0.03, tall)], int(rng.choice(pool)))
        frame = covered(box((wide + 0.03, 0.02, tall + 0.03)), library, rng)
        parts += [moved(face, eye, (x, 0, z)), moved(frame, eye, (x, 0, z))]
    for _ in range(int(rng.integers(0, 3))):
        wide, deep = rng.uniform(0.2, 0.7), rng.uniform(0.08, 0.2)
        x, z = rng.uniform(-half, half) * 0.8, rng.uniform(0.3, height * 0.8)
        parts.append(moved(covered(box((wide, deep, 0.015)), library, rng), eye, (x, -deep, z)))
        for _ in range(int(rng.integers(0, 5))):
            item = thing(library, rng, 0.35)
            parts.append(placed(item, x + rng.uniform(-wide, wide), -deep, z + 0.015, rng.uniform(0, 6.3)))
    return parts


def room(library: Library, rng: Generator) -> Mesh:
    """A room of 2.5 to 12 m, furnished."""
    size = rng.uniform(1.3, 6.0) * rng.uniform(0.7, 1.0), rng.uniform(1.3, 5.0), rng.uniform(2.2, 3.6)
    w, d, h = size
    parts = shell(library, rng, size)
    for _ in range(int(rng.integers(3, 8) + w * d * rng.uniform(0.1, 0.6))):
        mesh = laid_table(library, rng) if rng.random() < 0.2 else thing(library, rng, 2.6)
        low, high = mesh.bounds()
        side, reach = rng.integers(4), float((high - low)[1]) / 2
        turn = side * math.pi / 2 + rng.normal(0, 0.05)
        along = rng.uniform(-1, 1) * (w if side % 2 == 0 else d)
        away = (d if side % 2 == 0 else w) - reach if rng.random() < 0.65 else rng.uniform(-1, 1) * (d if side % 2 == 0 else w) * 0.7
        angle = side * math.pi / 2
        x, y = math.cos(angle) * along - math.sin(angle) * away, math.sin(angle) * along + math.cos(angle) * away
        parts.append(placed(mesh, float(np.clip(x, -w, w)), float(np.clip(y, -d, d)), 0, turn))
    for _ in range(int(rng.choice((0, 1, 2, 4), p=(0.45, 0.3, 0.15, 0.1)))):
        parts.append(placed(_being(library, rng), rng.uniform(-w, w) * 0.8, rng.uniform(-d, d) * 0.8, 0, rng.uniform(0, 6.3)))
    if rng.random() < 0.25:  # a pillar or a partition
        wall = covered(box((rng.uniform(0.05, 0.4), rng.uniform(0.1, d * 0.6), h / 2)), library, rng)
        parts.append(placed(wall, rng.uniform(-w, w) * 0.7, rng.uniform(-d, d), h / 2))
    return joined(parts)


def _being(library: Library, rng: Generator) -> Mesh:
    dice = rng.random()
    return animal(library, rng) if dice < 0.12 else bush(library, rng) if dice < 0.25 else person(library, rng)


def still_life(library: Library, rng: Generator) -> Mesh:
    """One laid table at the origin, at times a person behind it, in a room or before a panorama."""
    tall = rng.uniform(0.4, 1.0)
    parts = [laid_table(library, rng, tall, int(rng.integers(2, 14)))]
    if rng.random() < 0.4:
        pose = str(rng.choice(("sit", "stand", "reach", "bend")))
        parts.append(placed(person(library, rng, pose), rng.uniform(-0.6, 0.6), rng.uniform(0.6, 1.0), 0, math.pi + rng.normal(0, 0.5)))
    if rng.random() < 0.85:
        size = rng.uniform(1.5, 4), rng.uniform(1.5, 4), rng.uniform(2.2, 3.2)
        parts += shell(library, rng, size)
        for _ in range(int(rng.integers(0, 6))):
            spot = rng.uniform(-1, 1, 2) * size[:2]
            if abs(spot[0]) > 1.2 or abs(spot[1]) > 0.9:
                parts.append(placed(thing(library, rng, 2.0), spot[0], spot[1], 0, rng.uniform(0, 6.3)))
    return joined(parts)

"""Rooms furnished from several sources: walls with windows, pictures and doors, things along them and on tables."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from export.nano.meshes.figures import animal, person
from export.nano.meshes.library import Library
from export.nano.meshes.mesh import Mesh, grounded, joined, placed, scaled, shifted, worn
from export.nano.meshes.plants import bush
from export.nano.meshes.shapes import SHAPES, dressed
from export.nano.meshes.solids import box, cylinder, quad
from export.nano.meshes.surfaces import covered, plastered, repainted

SMALL = 0.55
"""Metres: what is no larger may stand on tables."""


def thing(library: Library, rng: Generator, largest: float) -> Mesh:
    """Something that is at most `largest` metres in any direction, on the ground: furniture or a shape."""
    for _ in range(12):
        if library.furniture and rng.random() < 0.75:
            mesh = repainted(library.furniture[rng.integers(len(library.furniture))], library, rng)
        else:
            shape = dressed(SHAPES[rng.integers(len(SHAPES))](rng), library, rng)
            mesh = scaled(shape, rng.uniform(0.3, 0.5) * largest)
        low, high = mesh.bounds()
        if (high - low).max() <= largest:
            return grounded(mesh)
    return grounded(dressed(box(rng.uniform(0.1, 0.45, 3) * largest), library, rng))


def table(library: Library, rng: Generator, height: float) -> Mesh:
    """A board on four legs or one, or a chest; standing on the origin."""
    wide, deep, board = rng.uniform(0.3, 1.1), rng.uniform(0.25, 0.6), rng.uniform(0.01, 0.04)
    top = shifted(box((wide, deep, board)), 0, 0, height - board)
    dice = rng.random()
    if dice < 0.2:
        legs = [shifted(box((wide * 0.97, deep * 0.95, height / 2 - board)), 0, 0, height / 2 - board)]
    elif dice < 0.35:
        legs = [cylinder(rng.uniform(0.03, 0.15), height - board), cylinder(min(wide, deep) * 0.7, 0.03)]
    else:
        thick = rng.uniform(0.015, 0.05)
        leg = shifted(box((thick, thick, height / 2 - board)), 0, 0, height / 2 - board)
        legs = [shifted(leg, x * (wide - thick), y * (deep - thick), 0) for x in (-1, 1) for y in (-1, 1)]
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
    """Floor, ceiling and four walls about the origin, windows and doors open in them.

    size: half width, half depth, height.
    """
    w, d, h = size
    floor = quad([(-w, -d, 0), (w, -d, 0), (w, d, 0), (-w, d, 0)])
    ceiling = quad([(-w, -d, h), (-w, d, h), (w, d, h), (w, -d, h)])
    parts = [plastered(each, library, rng, rng.uniform(0.4, 3)) for each in (floor, ceiling)]
    all_alike, paint = rng.random() < 0.7, plastered(floor, library, rng, 1.0)
    for side in range(4):
        half, away = (w, d) if side % 2 == 0 else (d, w)
        wall = plastered(joined(_wall(rng, half, h)), library, rng, rng.uniform(0.5, 3))
        if all_alike:
            wall = worn(wall, int(paint.picture[0]), paint.tint[0], float(paint.shine[0]))
        upright = joined([wall, *_hung(library, rng, half, h)])
        parts.append(_at_wall(upright, side, 0.0, away, 0.0))
    return parts


def _at_wall(mesh: Mesh, side: int, along: float, away: float, twist: float) -> Mesh:
    """A mesh made with its back to +y, brought to a wall of the room: `along` it, its origin `away` from the middle."""
    angle = side * math.pi / 2
    c, s = math.cos(angle), math.sin(angle)
    return placed(mesh, c * along - s * away, s * along + c * away, 0, angle + twist)


def _wall(rng: Generator, half: float, height: float) -> list[Mesh]:
    """A wall along x from -half to half, with at most one opening and its frame."""
    if rng.random() < 0.45:
        return [quad([(-half, 0, 0), (half, 0, 0), (half, 0, height), (-half, 0, height)])]
    wide, low, high = min(rng.uniform(0.35, 1.2), half * 0.8), 0.0, min(2.1, height * 0.9)
    if rng.random() < 0.7:  # a window
        low, high = rng.uniform(0.4, 1.1), height * rng.uniform(0.7, 0.9)
    middle = rng.uniform(-(half - wide), half - wide)
    a, b = middle - wide, middle + wide
    spans = [(-half, a, 0, height), (b, half, 0, height), (a, b, high, height), (a, b, 0, low)]
    parts = [quad([(x, 0, z), (y, 0, z), (y, 0, t), (x, 0, t)]) for x, y, z, t in spans if y > x and t > z]
    deep, upright, level = rng.uniform(0.03, 0.2), (high - low) / 2, (low + high) / 2
    parts += [shifted(box((0.03, deep, upright)), x, 0, level) for x in (a, b)]
    parts += [shifted(box((wide, deep, 0.03)), middle, 0, z) for z in (low, high)]
    if low > 0 and rng.random() < 0.6:
        parts += [shifted(bar, middle, 0, level) for bar in (box((0.02, 0.02, upright)), box((wide, 0.02, 0.02)))]
    return parts


def _hung(library: Library, rng: Generator, half: float, height: float) -> list[Mesh]:
    """Pictures and laden shelves on a wall along x that is seen from -y."""
    parts: list[Mesh] = []
    for _ in range(int(rng.integers(0, 4))):
        w, t = rng.uniform(0.12, 0.7), rng.uniform(0.12, 0.5)
        pool = library.photographs if rng.random() < 0.5 else library.outdoors + library.indoors
        face = quad([(-w, -0.03, -t), (w, -0.03, -t), (w, -0.03, t), (-w, -0.03, t)], int(rng.choice(pool)))
        framed = joined([face, covered(box((w + 0.03, 0.02, t + 0.03)), library, rng)])
        parts.append(shifted(framed, rng.uniform(-half, half) * 0.85, 0, height * rng.uniform(0.45, 0.75)))
    for _ in range(int(rng.integers(0, 3))):
        wide, deep = rng.uniform(0.2, 0.7), rng.uniform(0.08, 0.2)
        laden = [
            placed(thing(library, rng, 0.35), rng.uniform(-wide, wide), 0, 0.015, rng.uniform(0, 6.3))
            for _ in range(int(rng.integers(0, 5)))
        ]
        board = [covered(box((wide, deep, 0.015)), library, rng), *laden]
        spot = rng.uniform(-half, half) * 0.8, rng.uniform(0.3, height * 0.8)
        parts.append(shifted(joined(board), spot[0], -deep, spot[1]))
    return parts


def room(library: Library, rng: Generator) -> Mesh:
    """A room of 2.5 to 12 m, furnished."""
    size = rng.uniform(1.3, 6.0) * rng.uniform(0.7, 1.0), rng.uniform(1.3, 5.0), rng.uniform(2.2, 3.6)
    w, d, h = size
    parts = shell(library, rng, size)
    for _ in range(int(rng.integers(4, 10) + w * d * rng.uniform(0.2, 0.8))):
        parts.append(_furniture(library, rng, w, d))
    for _ in range(int(rng.choice((0, 1, 2, 4), p=(0.45, 0.3, 0.15, 0.1)))):
        spot = rng.uniform(-0.8, 0.8, 2) * (w, d)
        parts.append(placed(_being(library, rng), spot[0], spot[1], 0, rng.uniform(0, 6.3)))
    if rng.random() < 0.25:  # a pillar or a partition
        wall = covered(box((rng.uniform(0.05, 0.4), rng.uniform(0.1, d * 0.6), h / 2)), library, rng)
        parts.append(placed(wall, rng.uniform(-w, w) * 0.7, rng.uniform(-d, d), h / 2))
    return joined(parts)


def _furniture(library: Library, rng: Generator, w: float, d: float) -> Mesh:
    """One thing in a room of these half sides: two in three with their back to a wall."""
    mesh = laid_table(library, rng) if rng.random() < 0.2 else thing(library, rng, 2.6)
    low, high = mesh.bounds()
    side = int(rng.integers(4))
    half, away = (w, d) if side % 2 == 0 else (d, w)
    reach = float((high - low)[1]) / 2
    at = max(away - reach, 0.0) if rng.random() < 0.65 else away * rng.uniform(-0.7, 0.7)
    return _at_wall(mesh, side, half * rng.uniform(-0.95, 0.95), at, rng.normal(0, 0.05))


def _being(library: Library, rng: Generator) -> Mesh:
    dice = rng.random()
    return animal(library, rng) if dice < 0.12 else bush(library, rng) if dice < 0.25 else person(library, rng)


def still_life(library: Library, rng: Generator) -> Mesh:
    """One laid table at the origin, at times a person behind it, in a room or before a panorama."""
    tall = rng.uniform(0.4, 1.0)
    parts = [laid_table(library, rng, tall, int(rng.integers(2, 14)))]
    if rng.random() < 0.4:
        guest = person(library, rng, str(rng.choice(("sit", "stand", "reach", "bend"))))
        parts.append(placed(guest, rng.uniform(-0.6, 0.6), rng.uniform(0.6, 1.0), 0, math.pi + rng.normal(0, 0.5)))
    if rng.random() < 0.85:
        size = rng.uniform(1.5, 4), rng.uniform(1.5, 4), rng.uniform(2.2, 3.2)
        parts += shell(library, rng, size)
        for _ in range(int(rng.integers(0, 6))):
            spot = rng.uniform(-1, 1, 2) * size[:2]
            if abs(spot[0]) > 1.2 or abs(spot[1]) > 0.9:
                parts.append(placed(thing(library, rng, 2.0), spot[0], spot[1], 0, rng.uniform(0, 6.3)))
    return joined(parts)

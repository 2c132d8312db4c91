"""Kinds of places with more to them: houses with openings, a webcam's view, stairs, hills with foliage."""

from __future__ import annotations

import math
from random import Random

import torch

from export.nano import objects, people
from export.nano.builder import Builder, Finish, Vector
from export.nano.cards import make_masks
from export.nano.scenes import OUTDOORS, Setting, crowd, furnish, panel
from export.nano.terrain import make_terrain

WALL = 0.08
"""Half the thickness of a wall."""


def house(b: Builder) -> Setting:
    """A room of walls with doors and windows: another room, a garden and the sky show through them."""
    rng = b.rng
    half: Vector = (rng.uniform(1.6, 3.5), rng.uniform(2.3, 3.0), rng.uniform(1.8, 4.0))
    wall, floor, ceiling = b.finish(2.0), b.finish(rng.uniform(0.4, 1.5)), b.plain((rng.uniform(0.5, 1.1),) * 3)
    b.box((0, 0.005, 0), (half[0], 0.005, half[2]), floor)
    b.box((0, half[1] + 0.1, 0), (half[0] + 0.2, 0.1, half[2] + 0.2), ceiling)
    _wall(b, (0, 0, half[2]), 0.0, half[0], half[1], wall, rng.choice(("window", "door", "windows")))
    _wall(b, (0, 0, -half[2]), 0.0, half[0], half[1], wall, "none")
    for side in (-1, 1):
        opening = rng.choice(("none", "none", "window", "door"))
        _wall(b, (side * half[0], 0, 0), math.pi / 2, half[2], half[1], wall, opening)
    for _ in range(rng.randint(3, 9)):
        furnish(b, (half[0] * 0.95, half[1], half[2] * 0.95))
    _outside(b, half)
    position = (rng.uniform(-0.6, 0.6) * half[0], rng.uniform(0.8, 1.8), rng.uniform(-0.85, -0.2) * half[2])
    if rng.random() < 0.5:
        crowd(b, rng.randint(1, 2), 0.9, half[2] * 1.2, position, 0.0)
    lamp = (rng.uniform(-0.5, 0.5) * half[0], half[1] * 0.9, rng.uniform(-0.5, 0.5) * half[2])
    pitch = math.radians(rng.triangular(-35, 20, -5))
    return Setting(position, rng.gauss(0, 0.5), pitch, 2.5, OUTDOORS, True, lamp=lamp)


def _wall(b: Builder, at: Vector, yaw: float, half: float, tall: float, finish: Finish, opening: str) -> None:
    """A wall along x (turned by yaw), with openings cut out of it."""
    rng = b.rng
    with b.placed(at, yaw):
        if opening == "none":
            b.box((0, tall / 2, 0), (half, tall / 2, WALL), finish)
            return
        count = 2 if opening == "windows" else 1
        sill = 0.0 if opening == "door" else rng.uniform(0.6, 1.1)
        lintel = min(tall - 0.15, 2.05 if opening == "door" else sill + rng.uniform(0.6, 1.3))
        wide = 0.45 if opening == "door" else min(rng.uniform(0.4, 0.9), half / count * 0.7)
        middles = [half * (2 * i + 1 - count) / count + rng.uniform(-0.1, 0.1) for i in range(count)]
        edges = [-half, *(m + side * wide for m in middles for side in (-1, 1)), half]
        for left, right in zip(edges[::2], edges[1::2], strict=True):
            b.box(((left + right) / 2, tall / 2, 0), (abs(right - left) / 2, tall / 2, WALL), finish)
        frame = b.plain((rng.uniform(0.2, 1.0),) * 3)
        for middle in middles:
            b.box((middle, (tall + lintel) / 2, 0), (wide, (tall - lintel) / 2, WALL), finish)
            if sill:
                b.box((middle, sill / 2, 0), (wide, sill / 2, WALL), finish)
                b.box((middle, sill, 0), (wide + 0.05, 0.02, 2 * WALL), frame)
                b.box((middle, (sill + lintel) / 2, 0), (0.02, (lintel - sill) / 2, 0.02), frame)
            elif rng.random() < 0.6:
                with b.placed((middle - wide, 0, 0), -rng.uniform(0.3, 1.8)):
                    b.box((wide, lintel / 2, 0), (wide, lintel / 2, 0.02), frame)


def _outside(b: Builder, half: Vector) -> None:
    """What the windows show."""
    rng = b.rng
    for _ in range(rng.randint(2, 7)):
        away, turn = rng.uniform(half[2] + 2, 30), rng.uniform(-1.2, 1.2)
        with b.placed((away * math.sin(turn), 0, half[2] + away * math.cos(turn)), rng.uniform(0, 6.3)):
            pick = rng.random()
            if pick < 0.5:
                objects.tree(b)
            elif pick < 0.75:
                b.box((0, 2.5, 0), (rng.uniform(2, 6), 2.5, rng.uniform(2, 6)), b.finish(3))
            else:
                b.box((0, 0.6, 0), (rng.uniform(1, 6), 0.6, 0.3), b.finish(1))


def webcam(b: Builder) -> Setting:
    """Somebody sitting 0.4 to 1.2 m before the camera, a room behind them."""
    rng = b.rng
    room = (rng.uniform(1.2, 3.5), rng.uniform(2.3, 3.0), rng.uniform(1.6, 4.0))
    for _ in range(rng.randint(2, 7)):
        furnish(b, room)
    for _ in range(rng.randint(1, 5)):
        panel(b, room)
    distance, high = rng.uniform(0.4, 1.2), rng.uniform(0.85, 1.35)
    z = rng.uniform(-0.9, -0.3) * room[2]
    for index in range(1 if rng.random() < 0.8 else 2):
        at = (rng.gauss(0, 0.12) + 0.6 * index, rng.uniform(-0.1, 0.15), z + distance + 0.2 * index)
        with b.placed(at, math.pi + rng.gauss(0, 0.35)):
            people.bust(b)
            if rng.random() < 0.7:
                objects.chair(b)
    if rng.random() < 0.6:
        top = min(high - 0.12, 0.78)
        b.box((0, top, z + 0.25), (rng.uniform(0.4, 0.9), 0.02, 0.3), b.finish())
        for _ in range(rng.randint(0, 5)):
            with b.placed((rng.uniform(-0.5, 0.5), top + 0.02, z + rng.uniform(0.15, 0.5)), rng.uniform(0, 6.3)):
                objects.clutter(b, rng.uniform(0.03, 0.15))
    pitch = math.radians(rng.uniform(-15, 15))
    return Setting((rng.gauss(0, 0.1), high, z), rng.gauss(0, 0.2), pitch, 0.9, room, False)


def stairwell(b: Builder) -> Setting:
    """Stairs up or down between walls or in the open, seen from the foot or from the top."""
    rng = b.rng
    step, tread, count = rng.uniform(0.14, 0.2), rng.uniform(0.25, 0.34), rng.randint(8, 18)
    half, finish = rng.uniform(0.6, 2.0), b.finish(rng.uniform(0.4, 2))
    other = b.finish(0.5) if rng.random() < 0.3 else finish
    for index in range(count):
        top = step * (index + 1)
        b.box((0, top / 2, tread * (index + 0.5)), (half, top / 2, tread / 2), other if index % 2 else finish)
    end, top = tread * count, step * count
    b.box((0, top / 2, end + 2.0), (max(half, 2.0), top / 2, 2.0), b.finish(1.0))
    indoor = rng.random() < 0.6
    for side in (-1, 1):
        if indoor or rng.random() < 0.4:
            b.box((side * (half + 0.1), 2.6, end / 2), (0.1, 2.6, end / 2 + 3), b.finish(2.0))
        rail = b.plain((0.2 * rng.random(),) * 3)
        if rng.random() < 0.6:
            b.limb((side * half * 0.95, 0.9, 0.0), (side * half * 0.95, top + 0.9, end), 0.025, rail)
            for index in range(0, count, 2):
                foot = (side * half * 0.95, step * index, tread * index)
                b.limb(foot, (foot[0], foot[1] + 0.9 + step / 2, foot[2]), 0.012, rail)
    if indoor:
        b.box((0, 2.6, end + 4.1), (4.0, 2.6, 0.1), b.finish(2.0))
    if rng.random() < 0.5:
        crowd(b, 1, 2.0, 4.0, (0.0, 0.0, -4.0), 0.0)
    upwards = rng.random() < 0.6
    position = (rng.uniform(-0.4, 0.4) * half, 1.5, -rng.uniform(0.5, 2.5))
    if not upwards:
        position = (position[0], top + 1.6, end + rng.uniform(0.3, 1.5))
    yaw = rng.gauss(0, 0.25) + (0.0 if upwards else math.pi)
    pitch = math.radians(rng.gauss(5, 10) if upwards else rng.gauss(-25, 8))
    lamp = (0.0, 4.5, end / 2) if indoor else None
    return Setting(position, yaw, pitch, 3.0, OUTDOORS, True, lamp=lamp)


def hills(b: Builder) -> Setting:
    """Open country over a height field, with trees, bushes and grass of cards, rocks and walkers."""
    rng = b.rng
    generator = torch.Generator().manual_seed(rng.getrandbits(60))
    side = rng.uniform(60, 250)
    b.terrain = make_terrain(generator, side, side * rng.uniform(0.03, 0.25))
    b.masks = make_masks(generator, 12)
    for _ in range(rng.randint(6, 24)):
        away, turn = math.exp(rng.uniform(math.log(2.5), math.log(90))), rng.uniform(-0.9, 0.9)
        x, z = away * math.sin(turn), away * math.cos(turn)
        with b.placed((x, b.height(x, z) - 0.05, z), rng.uniform(0, 6.3)):
            pick = rng.random()
            if pick < 0.6:
                leafy(b, rng)
            elif pick < 0.8:
                size = rng.uniform(0.2, 1.5)
                b.ball(
                    (0, 0.1 * size, 0), (size, size * rng.uniform(0.3, 0.8), size * rng.uniform(0.5, 1)), b.finish(1)
                )
            else:
                b.box((0, 0.8, 0), (rng.uniform(0.5, 3), 0.8, rng.uniform(0.1, 2)), b.finish(1.5))
    for _ in range(rng.randint(0, 3)):
        away, turn = rng.uniform(2, 14), rng.uniform(-0.5, 0.5)
        x, z = away * math.sin(turn), away * math.cos(turn)
        speed = rng.choice((0.0, 0.03, 0.05))
        heading = rng.uniform(0, 6.3)
        way = (speed * math.sin(heading), 0.0, speed * math.cos(heading))
        with b.placed((x, b.height(x, z), z), heading, way):
            people.walker(b, speed)
    position = (0.0, b.height(0.0, 0.0) + rng.uniform(0.8, 3.5), 0.0)
    pitch = math.radians(rng.triangular(-35, 15, -5))
    return Setting(position, rng.gauss(0, 0.2), pitch, 6, OUTDOORS, True, terrain=b.terrain)


def leafy(b: Builder, rng: Random) -> None:
    """A tree or a bush of crossed cards."""
    bush = rng.random() < 0.4
    green = Finish((0, rng.randrange(b.textures)), (1.0, 0.3), _leaf(rng), 0.0)
    if bush:
        size = rng.uniform(0.3, 1.2)
        for index in range(4):
            b.card((0, size * 0.9, 0), (size, size), index * math.pi / 4, green)
        return
    height = rng.uniform(2.5, 9)
    b.cylinder((0, height * 0.35, 0), (0.025 * height, height * 0.35, 0.025 * height), b.finish(0.5))
    for _ in range(rng.randint(5, 10)):
        r = height * rng.uniform(0.15, 0.3)
        at = (rng.gauss(0, 0.1) * height, height * rng.uniform(0.55, 0.95), rng.gauss(0, 0.1) * height)
        b.card(at, (r, r), rng.uniform(0, math.pi), green, rng.gauss(0, 0.5))


def _leaf(rng: Random) -> Vector:
    bright = rng.uniform(0.3, 1.2)
    return bright * rng.uniform(0.15, 0.6), bright * rng.uniform(0.35, 0.7), bright * rng.uniform(0.05, 0.25)

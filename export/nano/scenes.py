"""Random scenes with a camera: rooms, desk tops, streets, open country, loose solids. All from one seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from torch import Tensor

from export.nano import objects, people
from export.nano.builder import Builder, Finish, Vector, tumbled
from export.nano.lights import daylight, lamplight
from export.nano.render import Lighting, Scene
from export.nano.terrain import Terrain

OUTDOORS: Vector = (1e6, 1e6, 1e6)
"""The surrounding box of a plain under the sky."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A place for the camera: where it stands and looks, how far things are (sets its speed), and the surroundings."""

    position: Vector
    yaw: float
    pitch: float
    reach: float
    room: Vector
    open_sky: bool
    lamp: Vector | None = None
    """In a house under the open sky."""
    terrain: Terrain | None = None


def finish_scene(builder: Builder, setting: Setting, clear: Tensor) -> Scene:
    """Pack the scene, leaving the balls `clear` [n, 4] around the camera's path empty."""
    faces = _walls(builder, setting)
    return builder.scene(setting.room, faces, _light(builder.rng, setting), setting.open_sky, clear)


def _light(rng: Random, setting: Setting) -> Lighting:
    return daylight(rng, setting.lamp) if setting.open_sky else lamplight(rng, setting.room)


def _walls(b: Builder, setting: Setting) -> list[Finish]:
    if setting.open_sky:
        ground = b.finish(b.rng.uniform(1, 6))
        return [ground] * 5 + [b.finish(3)]
    wall = b.finish(b.rng.uniform(0.5, 4))
    if b.rng.random() < 0.6:
        tone = b.rng.uniform(0.3, 0.95)
        wall = b.plain((tone, tone * b.rng.uniform(0.85, 1.05), tone * b.rng.uniform(0.7, 1.05)))
    other = b.finish(2) if b.rng.random() < 0.3 else wall
    bright = b.rng.uniform(0.5, 1.2)
    return [wall, other, b.finish(b.rng.uniform(0.4, 2)), b.plain((bright,) * 3), other, wall]


def velocity(rng: Random, speed: float) -> Vector:
    """Metres a frame along the ground, up to `speed`; often none."""
    turn = rng.uniform(0, 2 * math.pi)
    pace = speed * rng.uniform(0.3, 1.0) if rng.random() < 0.6 else 0.0
    return pace * math.cos(turn), 0.0, pace * math.sin(turn)


def crowd(b: Builder, count: int, near: float, far: float, position: Vector, yaw: float) -> None:
    """People in front of the camera."""
    for _ in range(count):
        distance, angle = b.rng.uniform(near, far), yaw + b.rng.uniform(-0.6, 0.6)
        at = (position[0] + distance * math.sin(angle), 0.0, position[2] + distance * math.cos(angle))
        way, turn = velocity(b.rng, 0.05), b.rng.uniform(0, 2 * math.pi)
        if b.rng.random() < 0.4:
            with b.placed(at, turn, way):
                objects.person(b, b.rng.random() < 0.15)
            continue
        speed = math.hypot(way[0], way[2])
        with b.placed(at, math.atan2(way[0], way[2]) if speed else turn, way):
            people.walker(b, speed)


def room(b: Builder) -> Setting:
    """Four walls, furniture, perhaps people."""
    rng = b.rng
    room = (rng.uniform(1.4, 4.5), rng.uniform(2.2, 3.6), rng.uniform(1.6, 5.5))
    for _ in range(rng.randint(4, 12)):
        furnish(b, room)
    for _ in range(rng.randint(2, 7)):
        panel(b, room)
    for _ in range(rng.randint(0, 8)):
        with b.placed((rng.uniform(-0.9, 0.9) * room[0], 0, rng.uniform(-0.9, 0.9) * room[2]), rng.uniform(0, 6.3)):
            objects.clutter(b, rng.uniform(0.1, 0.8))
    for _ in range(rng.randint(0, 2)):
        x, z, drop = rng.uniform(-0.7, 0.7) * room[0], rng.uniform(-0.7, 0.7) * room[2], rng.uniform(0.05, 0.9)
        b.cylinder((x, room[1] - drop / 2, z), (0.01, drop / 2, 0.01), b.plain((0.1, 0.1, 0.1)))
        b.ball((x, room[1] - drop, z), (0.2, 0.1, 0.2), b.plain((1.5, 1.4, 1.2)))
    position = (
        rng.uniform(-0.8, 0.8) * room[0],
        rng.uniform(0.5, min(2.1, room[1] - 0.3)),
        rng.uniform(-0.9, 0.2) * room[2],
    )
    centre = math.atan2(-position[0], -position[2] + 0.2 * room[2])
    yaw = centre + rng.uniform(-0.8, 0.8)
    if rng.random() < 0.45:
        crowd(b, rng.randint(1, 3), 0.6, min(4.0, room[2] * 1.5), position, yaw)
    return Setting(position, yaw, math.radians(rng.triangular(-50, 25, -8)), 2.5, room, False)


def furnish(b: Builder, room: Vector) -> None:
    """One piece: along a wall more often than not."""
    rng = b.rng
    side = rng.randrange(4)
    along = rng.uniform(-0.85, 0.85)
    x, z = (
        (along * room[0], 0.9 * room[2] * (1 if side == 0 else -1)),
        (0.9 * room[0] * (1 if side == 2 else -1), along * room[2]),
    )[side // 2]
    yaw = (math.pi, 0.0, -math.pi / 2, math.pi / 2)[side]
    if rng.random() < 0.35:
        x, z, yaw = rng.uniform(-0.7, 0.7) * room[0], rng.uniform(-0.7, 0.7) * room[2], rng.uniform(0, 6.3)
    with b.placed((x, 0.0, z), yaw + rng.gauss(0, 0.06)):
        kind = rng.randrange(9)
        if kind <= 1:
            height, half = rng.uniform(0.4, 0.95), rng.uniform(0.3, 0.9)
            objects.table(b, half, height, rng.uniform(0.25, 0.5))
            for _ in range(rng.randint(0, 6)):
                with b.placed((rng.uniform(-0.8, 0.8) * half, height, rng.uniform(-0.2, 0.2)), rng.uniform(0, 6.3)):
                    objects.clutter(b, rng.uniform(0.08, 0.35))
        else:
            (
                objects.chair,
                objects.sofa,
                objects.bed,
                objects.cabinet,
                objects.cabinet,
                objects.floor_lamp,
                objects.plant,
            )[kind - 2](b)


def panel(b: Builder, room: Vector) -> None:
    """A door, window, picture or curtain: a thin box on a wall."""
    rng = b.rng
    side, along = rng.randrange(4), rng.uniform(-0.8, 0.8)
    door = rng.random() < 0.3
    half, tall = (0.45, 1.0) if door else (rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.8))
    y = tall if door else rng.uniform(1.1, 1.7)
    finish = b.finish(rng.uniform(0.5, 2.5))
    if not door and rng.random() < 0.4:
        finish = Finish(finish.textures, finish.tiles, (2.5, 2.6, 2.8), 0.0)
    thick = rng.uniform(0.01, 0.05)
    if side < 2:
        b.box((along * room[0], y, room[2] * (1 if side == 0 else -1)), (half, tall, thick), finish)
    else:
        b.box((room[0] * (1 if side == 2 else -1), y, along * room[2]), (thick, tall, half), finish)


def desk(b: Builder) -> Setting:
    """A table top seen from 0.3 to 1.3 m, a room behind it."""
    rng = b.rng
    room = (rng.uniform(1.2, 4), rng.uniform(2.2, 3.2), rng.uniform(1.2, 4))
    high, half, deep = rng.uniform(0.6, 0.9), rng.uniform(0.4, 1.0), rng.uniform(0.3, 0.6)
    objects.table(b, half, high, deep)
    for _ in range(rng.randint(4, 18)):
        with b.placed(
            (rng.uniform(-0.9, 0.9) * half, high, rng.uniform(-0.9, 0.9) * deep),
            rng.uniform(0, 6.3),
            velocity(rng, 0.008),
        ):
            objects.clutter(b, math.exp(rng.uniform(math.log(0.04), math.log(0.35))))
    if rng.random() < 0.5:
        with b.placed((rng.uniform(-0.5, 0.5) * half, high, 0.5 * deep), math.pi + rng.gauss(0, 0.3)):
            objects.screen(b)
    for _ in range(rng.randint(2, 7)):
        furnish(b, room)
    for _ in range(rng.randint(1, 5)):
        panel(b, room)
    distance, rise = rng.uniform(0.2, 0.9), rng.uniform(0.15, 0.9)
    position = (rng.uniform(-0.5, 0.5) * half, high + rise, -deep - distance * 0.7 + 0.2)
    yaw = rng.gauss(0, 0.35)
    if rng.random() < 0.3:
        crowd(b, 1, 0.6 + deep, 1.8, position, yaw)
    pitch = -math.atan2(rise, distance + deep) * rng.uniform(0.2, 1.4)
    return Setting(position, yaw, pitch, 1.0, room, False)


def street(b: Builder) -> Setting:
    """Between houses, with cars and people."""
    rng = b.rng
    road = rng.uniform(3, 9)
    for side in (-1, 1):
        z = rng.uniform(-15, 0)
        while z < 110 and len(b) < 90:
            long, high, gap = rng.uniform(4, 14), rng.uniform(3, 22), rng.uniform(0, 3) * (rng.random() < 0.4)
            b.box(
                (side * (road + 6), high / 2, z + long),
                (rng.uniform(4, 6), high / 2, long),
                b.finish(rng.uniform(2, 9)),
            )
            z += 2 * long + gap
        if rng.random() < 0.7:
            b.box((side * (road - 0.2), 0.06, 50), (1.6, 0.06, 80), b.finish(1.5))
        for _ in range(rng.randint(0, 5)):
            with b.placed((side * (road - 1.6), 0, rng.uniform(2, 45))):
                objects.tree(b) if rng.random() < 0.3 else b.cylinder((0, 2.2, 0), (0.07, 2.2, 0.07), b.finish(1))
    for _ in range(rng.randint(0, 4)):
        lane = rng.choice((-1, 1)) * road * rng.uniform(0.3, 0.65)
        with b.placed((lane, 0, rng.uniform(4, 40)), 0.0, (0.0, 0.0, rng.uniform(-0.3, 0.3))):
            objects.car(b)
    position, yaw = (rng.uniform(-0.7, 0.7) * road, rng.uniform(1.0, 3.0), 0.0), rng.gauss(0, 0.4)
    crowd(b, rng.randint(0, 4), 2, 15, position, yaw)
    position, pitch = _outlook(rng, position, rng.gauss(-2, 8))
    return Setting(position, yaw, pitch, 8, OUTDOORS, True)


def country(b: Builder) -> Setting:
    """Ground to the horizon: hills, trees, rocks, perhaps people."""
    rng = b.rng
    for _ in range(rng.randint(0, 6)):
        distance, turn, size = rng.uniform(40, 400), rng.uniform(-1.2, 1.2), rng.uniform(0.2, 0.7)
        r = distance * size
        tall = r * rng.uniform(0.15, 0.8)
        b.ball(
            (distance * math.sin(turn) * 1.2, -0.1 * tall, distance * math.cos(turn) * 1.2),
            (r, tall, r),
            b.finish(rng.uniform(5, 40)),
        )
    for _ in range(rng.randint(2, 14)):
        distance, turn = math.exp(rng.uniform(math.log(2), math.log(80))), rng.uniform(-0.9, 0.9)
        with b.placed((distance * math.sin(turn), 0, distance * math.cos(turn)), rng.uniform(0, 6.3)):
            pick = rng.random()
            if pick < 0.45:
                objects.tree(b)
            elif pick < 0.75:
                size = rng.uniform(0.2, 2.0)
                b.ball(
                    (0, 0.1 * size, 0),
                    (size, size * rng.uniform(0.3, 0.8), size * rng.uniform(0.5, 1)),
                    b.finish(1),
                    None,
                )
            elif pick < 0.85:
                objects.stairs(b)
            else:
                half = rng.uniform(0.5, 4)
                b.box((0, half * 0.5, 0), (half, half * 0.5, rng.uniform(0.1, 3)), b.finish(2))
    position, yaw = (0.0, rng.uniform(0.4, 4.0), 0.0), rng.gauss(0, 0.2)
    if rng.random() < 0.5:
        crowd(b, rng.randint(1, 4), 1.2, 12, position, yaw)
    position, pitch = _outlook(rng, position, rng.triangular(-40, 15, -6))
    return Setting(position, yaw, pitch, 6, OUTDOORS, True)


def tower(b: Builder) -> Setting:
    """Beams, masts and wires against the sky, seen from below: the bottom of the picture is not always ground."""
    rng = b.rng
    for _ in range(rng.randint(1, 3)):
        far, side = rng.uniform(6, 50), rng.uniform(-12, 12)
        finish, thick = b.finish(1.0), rng.uniform(0.08, 0.4)
        wide, tall = rng.uniform(1.5, 8), rng.uniform(8, 40)
        with b.placed((side, 0.0, far), rng.uniform(0, 6.3)):
            for _ in range(rng.randint(6, 22)):
                start = (rng.choice((-1, 1)) * wide, rng.uniform(0, tall), rng.choice((-1, 1)) * wide)
                end = (rng.choice((-1, 1)) * wide, rng.uniform(0, tall), rng.choice((-1, 1)) * wide)
                if start != end:
                    b.limb(start, end, thick * rng.uniform(0.4, 1), finish)
    for _ in range(rng.randint(0, 3)):
        with b.placed((rng.uniform(-10, 10), 0, rng.uniform(3, 40))):
            objects.tree(b)
    position = (0.0, rng.uniform(0.5, 6.0), 0.0)
    return Setting(position, rng.gauss(0, 0.2), math.radians(rng.uniform(5, 45)), 8, OUTDOORS, True)


def _outlook(rng: Random, position: Vector, pitch: float) -> tuple[Vector, float]:
    """Out of doors, now and then: high up and looking down, or looking up."""
    pick = rng.random()
    if pick < 0.12:
        return (position[0], rng.uniform(4, 15), position[2]), math.radians(rng.uniform(-90, -25))
    if pick < 0.22:
        return position, math.radians(rng.uniform(10, 35))
    return position, math.radians(pitch)


def loose(b: Builder) -> Setting:
    """Solids of any pose and size in a room or under the sky: no habit of a place to lean on."""
    rng = b.rng
    room = (rng.uniform(2, 8), rng.uniform(2.5, 8), rng.uniform(3, 10))
    open_sky = rng.random() < 0.3
    position = (0.0, rng.uniform(0.8, room[1] - 0.8), -0.7 * room[2])
    for _ in range(rng.randint(5, 18)):
        distance = math.exp(rng.uniform(math.log(0.6), math.log(1.6 * room[2])))
        x, y = rng.uniform(-0.7, 0.7) * distance, rng.uniform(-0.5, 0.5) * distance
        half = tuple(distance * math.exp(rng.uniform(math.log(0.03), math.log(0.3))) for _ in range(3))
        add = rng.choice((b.box, b.ball, b.cylinder))
        with b.placed((position[0] + x, position[1] + y, position[2] + distance), 0.0, velocity(rng, 0.01 * distance)):
            add(
                (0, 0, 0),
                (half[0], half[1], half[0] if add == b.cylinder else half[2]),
                b.finish(distance * rng.uniform(0.1, 0.6)),
                tumbled(rng),
            )
    big = OUTDOORS if open_sky else room
    return Setting(position, rng.gauss(0, 0.2), math.radians(rng.gauss(-4, 12)), 2.5, big, open_sky)

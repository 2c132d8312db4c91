"""Things made of a few solids: furniture, people, cars, trees. Each stands at the origin of the builder's frame."""

from __future__ import annotations

import math

from export.nano.builder import Builder, Vector, tumbled

LEG = 0.03


def table(b: Builder, half_width: float, height: float, half_depth: float) -> None:
    """A top on four legs."""
    top, legs = b.finish(), b.finish()
    b.box((0, height - 0.02, 0), (half_width, 0.02, half_depth), top)
    for sx in (-1, 1):
        for sz in (-1, 1):
            place = (sx * (half_width - LEG * 2), height / 2 - 0.02, sz * (half_depth - LEG * 2))
            b.box(place, (LEG, height / 2 - 0.02, LEG), legs)


def chair(b: Builder) -> None:
    """Seat, back, foot."""
    finish, seat = b.finish(), b.rng.uniform(0.4, 0.5)
    b.box((0, seat, 0), (0.22, 0.04, 0.22), finish)
    b.box((0, seat + 0.3, -0.21), (0.21, 0.24, 0.03), finish)
    b.cylinder((0, seat / 2, 0), (0.04, seat / 2, 0.04), b.finish())
    b.cylinder((0, 0.03, 0), (0.26, 0.03, 0.26), b.finish())


def sofa(b: Builder) -> None:
    """Seat, back, arms."""
    finish, half = b.finish(), b.rng.uniform(0.5, 1.1)
    b.box((0, 0.22, 0), (half, 0.22, 0.42), finish)
    b.box((0, 0.5, -0.34), (half, 0.32, 0.1), finish)
    for side in (-1, 1):
        b.box((side * half, 0.32, 0), (0.1, 0.32, 0.42), finish)


def bed(b: Builder) -> None:
    """Mattress, head board, pillows."""
    half = b.rng.uniform(0.45, 0.9)
    b.box((0, 0.25, 0), (half, 0.25, 1.0), b.finish())
    b.box((0, 0.5, -1.02), (half, 0.5, 0.04), b.finish())
    for side in (-0.5, 0.5):
        b.ball((side * half, 0.56, -0.75), (half * 0.42, 0.1, 0.25), b.finish())


def cabinet(b: Builder) -> None:
    """A closed box, or shelves with things."""
    rng = b.rng
    half, height, depth = rng.uniform(0.25, 0.8), rng.uniform(0.6, 2.2), rng.uniform(0.15, 0.35)
    finish = b.finish()
    if rng.random() < 0.5:
        b.box((0, height / 2, 0), (half, height / 2, depth), finish)
        b.box((0, height / 2, depth), (0.01, height / 2 - 0.03, 0.01), b.finish())
        return
    b.box((0, height / 2, -depth), (half, height / 2, 0.02), finish)
    for side in (-1, 1):
        b.box((side * half, height / 2, 0), (0.02, height / 2, depth), finish)
    for level in range(1, 4):
        y = height * level / 3 - 0.02
        b.box((0, y, 0), (half, 0.015, depth), finish)
        thing = rng.uniform(0.06, 0.14)
        b.box(
            (rng.uniform(-0.5, 0.5) * half, y + thing, 0),
            (rng.uniform(0.1, 0.5) * half, thing, depth * 0.7),
            b.finish(),
        )


def clutter(b: Builder, size: float) -> None:
    """One small thing of about `size` metres standing on the ground of the frame."""
    rng = b.rng
    h, w = size * rng.uniform(0.3, 1.2), size * rng.uniform(0.2, 0.7)
    finish = b.finish(size * rng.uniform(0.5, 3))
    pick = rng.random()
    if pick < 0.35:
        b.box((0, h / 2, 0), (w, h / 2, size * rng.uniform(0.1, 0.6)), finish)
    elif pick < 0.6:
        b.cylinder((0, h / 2, 0), (w * 0.6, h / 2, w * 0.6), finish)
    elif pick < 0.75:
        b.ball((0, w, 0), (w, w, w), finish)
    elif pick < 0.85:
        b.box((0, 0.01 * size + 0.008, 0), (size * 0.8, 0.01 * size + 0.008, size * 0.5), finish)
    else:
        b.box((0, size * 0.5, 0), (w, size * 0.4, w), finish, tumbled(rng))


def screen(b: Builder) -> None:
    """A monitor on a foot, keyboard before it."""
    half = b.rng.uniform(0.18, 0.35)
    b.box((0, 0.1 + half * 0.7, 0), (half, half * 0.6, 0.02), b.finish(half * 2))
    b.box((0, 0.06, -0.04), (0.03, 0.06, 0.02), b.plain((0.1, 0.1, 0.1)))
    b.box((0, 0.008, -0.04), (0.12, 0.008, 0.09), b.plain((0.1, 0.1, 0.1)))
    b.box((0, 0.012, 0.3), (0.2, 0.012, 0.07), b.finish(0.1))


def person(b: Builder, seated: bool = False) -> None:
    """About 1.7 m of balls and cylinders, facing +z, in a random step or gesture."""
    rng = b.rng
    size = rng.uniform(0.85, 1.1)
    tone = rng.uniform(0.15, 0.8)
    skin = b.plain((tone, tone * 0.72, tone * 0.58))
    shirt, trousers, hair = b.finish(0.5), b.finish(0.5), b.plain((0.3 * rng.random(),) * 3)
    hip = size * (0.5 if seated else 0.9)
    b.ball((0, hip + 0.28 * size, 0), (0.19 * size, 0.33 * size, 0.13 * size), shirt)
    b.ball((0, hip + 0.46 * size, 0), (0.23 * size, 0.12 * size, 0.11 * size), shirt)
    b.cylinder((0, hip + 0.59 * size, 0), (0.055 * size, 0.08 * size, 0.055 * size), skin)
    b.ball((0, hip + 0.74 * size, 0.01), (0.085 * size, 0.12 * size, 0.1 * size), skin)
    b.ball((0, hip + 0.785 * size, -0.02), (0.093 * size, 0.1 * size, 0.1 * size), hair)
    for side in (-1, 1):
        _arm(b, side, hip, size, shirt_radius=0.05 * size)
        swing = rng.uniform(-0.25, 0.25)
        knee: Vector = (side * 0.1, hip - 0.05, 0.42) if seated else (side * 0.1, hip * 0.52, swing)
        foot: Vector = (side * 0.1, 0.06, 0.42) if seated else (side * 0.1, 0.06, swing * 1.3)
        b.limb((side * 0.09, hip + 0.02, 0), knee, 0.08 * size, trousers)
        b.limb(knee, foot, 0.06 * size, trousers)
        b.box((foot[0], 0.04, foot[2] + 0.06), (0.045, 0.04, 0.13), hair)


def _arm(b: Builder, side: int, hip: float, size: float, shirt_radius: float) -> None:
    rng = b.rng
    shoulder: Vector = (side * 0.23 * size, hip + 0.47 * size, 0)
    elbow: Vector = (side * rng.uniform(0.24, 0.4) * size, hip + rng.uniform(0.1, 0.35) * size, rng.uniform(-0.1, 0.25))
    hand: Vector = (
        elbow[0] + side * rng.uniform(-0.2, 0.12),
        elbow[1] + rng.uniform(-0.25, 0.2),
        elbow[2] + rng.uniform(0.02, 0.25),
    )
    cloth, skin = b.finish(0.4), b.plain((0.5, 0.36, 0.3))
    b.limb(shoulder, elbow, shirt_radius, cloth)
    b.limb(elbow, hand, shirt_radius * 0.8, skin)


def car(b: Builder) -> None:
    """Body, cabin, wheels; length along z."""
    paint, long = b.finish(3.0), b.rng.uniform(1.8, 2.4)
    tall = b.rng.uniform(0.0, 0.5)
    b.box((0, 0.6 + tall / 2, 0), (0.85, 0.33 + tall / 2, long), paint)
    b.box((0, 1.15 + tall, -0.2), (0.72, 0.28, long * 0.55), b.finish(1.5))
    for side in (-1, 1):
        for end in (-0.62, 0.62):
            b.limb((side * 0.7, 0.32, end * long), (side * 0.9, 0.32, end * long), 0.32, b.plain((0.05, 0.05, 0.05)))


def tree(b: Builder) -> None:
    """Trunk and crown."""
    rng = b.rng
    height, leaf = rng.uniform(2.5, 8), b.finish(1.0)
    b.cylinder((0, height * 0.35, 0), (0.03 * height, height * 0.35, 0.03 * height), b.finish(0.5))
    for _ in range(rng.randint(2, 5)):
        r = height * rng.uniform(0.12, 0.3)
        at = (rng.uniform(-0.15, 0.15) * height, height * rng.uniform(0.6, 0.95), rng.uniform(-0.15, 0.15) * height)
        b.ball(at, (r, r * rng.uniform(0.6, 1.2), r), leaf)


def stairs(b: Builder) -> None:
    """Steps that rise along +z."""
    finish, half, steps = b.finish(), b.rng.uniform(0.5, 1.5), b.rng.randint(4, 8)
    for step in range(steps):
        b.box((0, 0.085 * (step + 1), 0.28 * step), (half, 0.085 * (step + 1), 0.14), finish)


def floor_lamp(b: Builder) -> None:
    """A pole with a shade."""
    height = b.rng.uniform(1.2, 1.8)
    b.cylinder((0, height / 2, 0), (0.015, height / 2, 0.015), b.plain((0.1, 0.1, 0.1)))
    b.cylinder((0, height, 0), (0.18, 0.14, 0.18), b.plain((0.9, 0.85, 0.7)))


def plant(b: Builder) -> None:
    """A pot with leaves."""
    rng = b.rng
    b.cylinder((0, 0.15, 0), (0.13, 0.15, 0.13), b.finish())
    leaf = b.plain((0.1, rng.uniform(0.2, 0.5), 0.08))
    for _ in range(5):
        angle, lean = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, 0.35)
        tip = (lean * math.cos(angle), rng.uniform(0.5, 1.0), lean * math.sin(angle))
        b.ball(tip, (0.14, 0.12, 0.14), leaf)

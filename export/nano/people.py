"""People of capsules that walk, gesture or sit. Each stands at the origin of the builder's frame, facing +z."""

from __future__ import annotations

import math

from export.nano.builder import Builder, Finish, Vector

STILL: tuple[Vector, Vector] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def walker(b: Builder, speed: float) -> None:
    """A person of about 1.7 m who walks with `speed` metres a frame (0 = stands and shifts a little).

    Only the limbs are given their swing here; the way itself is the `velocity` of the builder's frame.
    """
    rng = b.rng
    size = rng.uniform(0.8, 1.1)
    rate = 0.1 + 4.0 * abs(speed)
    phase, stride = rng.uniform(0, 2 * math.pi), 0.28 * size if speed else 0.02
    skin, shirt, trousers, hair = _clothes(b)
    hip = 0.92 * size
    _trunk(b, hip, size, skin, shirt, hair)
    for side in (-1, 1):
        wave = (rate, phase if side > 0 else phase + math.pi)
        x = side * 0.1 * size
        knee: Vector = (0.0, 0.02, 0.55 * stride)
        foot: Vector = (0.0, 0.05, stride)
        b.capsule((x, hip, 0), (x, 0.5 * size, 0.02), 0.085 * size, trousers, ((0, 0, 0), knee), wave)
        b.capsule((x, 0.5 * size, 0.02), (x, 0.09, -0.02), 0.06 * size, trousers, (knee, foot), wave)
        b.capsule((x, 0.05, -0.05), (x, 0.05, 0.14), 0.045 * size, hair, (foot, foot), wave)
        _arm(b, side, hip, size, (shirt, skin), ((0, 0, -0.5 * stride), (0, 0.03, -1.1 * stride)), wave)


def bust(b: Builder) -> None:
    """Somebody sitting at the origin as a webcam sees them: chair height, the hands before them."""
    rng = b.rng
    size = rng.uniform(0.85, 1.1)
    skin, shirt, trousers, hair = _clothes(b)
    hip = 0.5 * size
    sway: Vector = (rng.uniform(-0.03, 0.03), 0.0, rng.uniform(-0.03, 0.03))
    wave = (rng.uniform(0.03, 0.25), rng.uniform(0, 6.3))
    _trunk(b, hip, size, skin, shirt, hair, (((0, 0, 0), sway), wave))
    for side in (-1, 1):
        b.capsule((side * 0.1, hip, 0), (side * 0.13, hip, 0.42), 0.08 * size, trousers)
        b.capsule((side * 0.13, hip, 0.42), (side * 0.13, 0.08, 0.42), 0.06 * size, trousers)
        move: Vector = (rng.gauss(0, 0.05), rng.gauss(0, 0.06), rng.gauss(0, 0.04))
        _arm(b, side, hip, size, (shirt, skin), ((0, 0, 0), move), (rng.uniform(0.05, 0.5), rng.uniform(0, 6.3)))


def _clothes(b: Builder) -> tuple[Finish, Finish, Finish, Finish]:
    tone, dark = b.rng.uniform(0.12, 0.85), 0.4 * b.rng.random()
    skin = b.plain((tone, tone * b.rng.uniform(0.65, 0.8), tone * b.rng.uniform(0.5, 0.7)))
    return skin, b.finish(0.4), b.finish(0.5), b.plain((dark, dark * 0.8, dark * 0.7))


def _trunk(
    b: Builder,
    hip: float,
    size: float,
    skin: Finish,
    shirt: Finish,
    hair: Finish,
    sway: tuple[tuple[Vector, Vector], tuple[float, float]] = (STILL, (0.0, 0.0)),
) -> None:
    """Hips to head; sway: swing of waist and head, and its wave."""
    (low, high), wave = sway
    whole = (high, high)
    chest, neck = hip + 0.42 * size, hip + 0.56 * size
    for side in (-1, 1):
        b.capsule(
            (side * 0.06 * size, hip + 0.04, 0), (side * 0.09 * size, chest, 0), 0.115 * size, shirt, (low, high), wave
        )
    b.capsule((-0.14 * size, chest + 0.05, 0), (0.14 * size, chest + 0.05, 0), 0.085 * size, shirt, whole, wave)
    b.capsule((0, chest + 0.05, 0), (0, neck + 0.08 * size, 0.01), 0.055 * size, skin, whole, wave)
    b.capsule((0, neck + 0.1 * size, 0.02), (0, neck + 0.2 * size, 0.015), 0.082 * size, skin, whole, wave)
    b.capsule((0, neck + 0.18 * size, -0.015), (0, neck + 0.22 * size, -0.02), 0.088 * size, hair, whole, wave)
    b.capsule((0, neck + 0.13 * size, 0.1), (0, neck + 0.15 * size, 0.1), 0.015 * size, skin, whole, wave)
    if b.rng.random() < 0.4:
        b.capsule((0, neck + 0.16 * size, -0.05), (0, chest, -0.09), 0.07 * size, hair, whole, wave)


def _arm(
    b: Builder,
    side: int,
    hip: float,
    size: float,
    cloth: tuple[Finish, Finish],
    swing: tuple[Vector, Vector],
    wave: tuple[float, float],
) -> None:
    """swing: of the elbow and of the hand."""
    rng = b.rng
    shoulder: Vector = (side * 0.21 * size, hip + 0.46 * size, 0.0)
    elbow: Vector = (
        side * rng.uniform(0.22, 0.36) * size,
        hip + rng.uniform(0.12, 0.3) * size,
        rng.uniform(-0.1, 0.15),
    )
    reach = rng.uniform(0.18, 0.27) * size
    turn, rise = rng.uniform(-0.9, 0.4) * side, rng.uniform(-1.4, 1.2)
    hand: Vector = (
        elbow[0] + reach * math.sin(turn) * math.cos(rise),
        elbow[1] + reach * math.sin(rise),
        elbow[2] + reach * math.cos(turn) * math.cos(rise),
    )
    sleeve = cloth[0] if rng.random() < 0.6 else cloth[1]
    b.capsule(shoulder, elbow, 0.05 * size, cloth[0], ((0, 0, 0), swing[0]), wave)
    b.capsule(elbow, hand, 0.04 * size, sleeve, swing, wave)
    finger: Vector = tuple(h + 0.4 * (h - e) for h, e in zip(hand, elbow, strict=True))  # type: ignore[assignment]
    b.capsule(hand, finger, 0.035 * size, cloth[1], (swing[1], swing[1]), wave)

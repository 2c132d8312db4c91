"""People and animals of swept capsules, in skin and cloth, standing, walking, sitting, bending or swimming."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from export.nano.meshes.library import Library
from export.nano.meshes.mesh import PLAIN, Floats, Mesh, Reals, boxed_uv, grounded, joined, scaled, shifted, worn
from export.nano.meshes.solids import ball, capsule, tube
from export.nano.meshes.surfaces import random_tint

SKIN = ((0.75, 0.5, 0.38), (0.6, 0.36, 0.25), (0.4, 0.22, 0.14), (0.2, 0.1, 0.06), (0.8, 0.58, 0.48))
"""Linear RGB."""
POSES = ("stand", "walk", "sit", "bend", "reach")


def person(library: Library, rng: Generator, pose: str | None = None) -> Mesh:
    """1.45 to 1.95 m tall, facing +y, feet (or a seat's foot) on the ground."""
    bent = _pose(pose or POSES[rng.integers(len(POSES))], rng)
    tall, wide = rng.uniform(1.45, 1.95), rng.uniform(0.85, 1.3)
    skin = np.asarray(SKIN[rng.integers(len(SKIN))], np.float32) * np.float32(rng.uniform(0.8, 1.15))
    body = Cloth(PLAIN, skin, 1.0)
    top, trousers = _cloth(library, rng), _cloth(library, rng)
    shoes = Cloth(PLAIN, random_tint(rng) * np.float32(0.5), 1.0)
    sleeves, calves = body if rng.random() < 0.4 else top, body if rng.random() < 0.2 else trousers
    pelvis = np.array([0, 0, bent.hips * tall])
    spine = np.array([rng.normal(0, 0.03), math.sin(bent.lean), math.cos(bent.lean)])
    chest, neck = pelvis + spine * 0.2 * tall, pelvis + spine * 0.31 * tall
    parts = [dressed(_trunk(pelvis, chest, neck, tall, wide), top), *_head(neck, spine, tall, body, rng)]
    for side, arm, leg in zip((-1, 1), bent.arms, bent.legs, strict=True):
        shoulder = neck - spine * 0.03 * tall + np.array([side * 0.105 * tall * wide, 0, 0])
        parts += _arm(shoulder, arm, tall, side, (top, sleeves, body))
        parts += _leg(pelvis + np.array([side * 0.055 * tall, 0, 0]), leg, tall, (trousers, calves, shoes))
    return grounded(joined(parts))


@dataclass(frozen=True, slots=True)
class Cloth:
    """Picture (or PLAIN), linear tint [3] and metres to one copy of the picture."""

    picture: int
    tint: Floats
    tile: float


def _cloth(library: Library, rng: Generator) -> Cloth:
    if rng.random() < 0.45:
        return Cloth(PLAIN, random_tint(rng), 1.0)
    pool = library.materials if rng.random() < 0.7 else library.photographs
    tint = np.float32(rng.uniform(0.6, 1.2)) * random_tint(rng) ** np.float32(0.3)
    return Cloth(int(rng.choice(pool)), tint, rng.uniform(0.1, 0.8))


def dressed(mesh: Mesh, cloth: Cloth) -> Mesh:
    """All of it in one cloth."""
    return replace(worn(mesh, cloth.picture, cloth.tint), uv=boxed_uv(mesh.corners, cloth.tile))


Arm = tuple[float, float, float]
"""Radians that it swings forward from the shoulder, spreads to the side and bends at the elbow."""
Leg = tuple[float, float]
"""Radians that the thigh swings forward and the knee bends."""


@dataclass(frozen=True, slots=True)
class Pose:
    """hips: height, as a share of the whole; lean: radians that the back leans forward; left before right."""

    hips: float
    lean: float
    legs: tuple[Leg, Leg]
    arms: tuple[Arm, Arm]


def _pose(name: str, rng: Generator) -> Pose:
    def arm() -> Arm:
        return rng.normal(0.1, 0.3), abs(rng.normal(0.12, 0.12)), abs(rng.normal(0.3, 0.4))

    def lap() -> Arm:
        return rng.uniform(0.1, 1.0), 0.15, rng.uniform(0.3, 1.6)

    def stretched() -> Arm:
        return rng.uniform(0.3, 2.6), rng.uniform(0, 0.7), rng.uniform(0, 0.8)

    def seat() -> Leg:
        return rng.normal(1.45, 0.1), rng.normal(1.4, 0.25)

    if name == "sit":
        return Pose(0.27, rng.normal(-0.05, 0.12), (seat(), seat()), (lap(), lap()))
    if name == "walk":
        swing = rng.uniform(0.2, 0.6)
        legs = (swing, 0.1), (-swing, rng.uniform(0.2, 0.7))
        return Pose(0.5, rng.normal(0.05, 0.04), legs, ((-swing, 0.08, 0.3), (swing, 0.08, 0.5)))
    if name == "bend":
        return Pose(0.49, rng.uniform(0.4, 1.3), ((0.1, 0.1), (-0.05, 0.1)), (arm(), arm()))
    if name == "reach":
        return Pose(0.5, rng.normal(0.05, 0.1), ((0.05, 0), (-0.05, 0)), (stretched(), stretched()))
    return Pose(0.5, rng.normal(0, 0.04), ((rng.normal(0, 0.08), 0.05), (rng.normal(0, 0.08), 0.05)), (arm(), arm()))


def _trunk(pelvis: Reals, chest: Reals, neck: Reals, tall: float, wide: float) -> Mesh:
    """Wider than deep."""
    seat = pelvis - (0, 0, 0.045 * tall)
    path = np.array([seat, pelvis, (pelvis + chest) / 2, chest, (chest + neck) / 2, neck], np.float32)
    radii = np.array([0.0, 0.085, 0.075, 0.09, 0.085, 0.035], np.float32) * np.float32(tall * wide)
    fine = np.linspace(0, 5, 12)
    smooth = np.stack([np.interp(fine, np.arange(6), path[:, i]) for i in range(3)], 1).astype(np.float32)
    mesh = tube(smooth, np.interp(fine, np.arange(6), radii).astype(np.float32), 14)
    return replace(mesh, corners=mesh.corners * np.array([1.2, 1, 1], np.float32))


def _head(neck: Reals, spine: Reals, tall: float, skin: Cloth, rng: Generator) -> list[Mesh]:
    middle = neck + spine * 0.105 * tall + np.array([0, rng.uniform(0, 0.03), 0])
    size = np.array([0.045, 0.056, 0.068]) * tall
    hair = Cloth(PLAIN, random_tint(rng) * np.float32(0.4), 1.0)
    parts = [dressed(shifted(ball(size), *middle), skin)]
    parts.append(dressed(capsule(neck, middle, (0.034 * tall, 0.03 * tall)), skin))
    if rng.random() < 0.85:
        parts.append(dressed(shifted(ball(size * 1.1), *(middle + np.array([0, -0.018, 0.018]) * tall)), hair))
    if rng.random() < 0.3:
        back = middle + np.array([0, -0.04, -0.05]) * tall
        parts.append(dressed(shifted(ball(size * (1.0, 0.6, 1.5)), *back), hair))
    return parts


def _arm(shoulder: Reals, bend: Arm, tall: float, side: int, cloths: tuple[Cloth, Cloth, Cloth]) -> list[Mesh]:
    """cloths: of the upper arm, the forearm and the hand."""
    swing, spread, elbow = bend
    upper = np.array([side * math.sin(spread), math.sin(swing) * math.cos(spread), -math.cos(swing) * math.cos(spread)])
    fore = np.array([side * math.sin(spread * 0.5), math.sin(swing + elbow), -math.cos(swing + elbow)])
    middle = shoulder + upper * 0.17 * tall
    hand = middle + fore * 0.15 * tall
    limbs = (
        capsule(shoulder, middle, (0.034 * tall, 0.027 * tall)),
        capsule(middle, hand, (0.026 * tall, 0.018 * tall)),
        capsule(hand, hand + fore * 0.06 * tall, (0.022 * tall, 0.016 * tall)),
    )
    return [dressed(limb, cloth) for limb, cloth in zip(limbs, cloths, strict=True)]


def _leg(hip: Reals, bend: Leg, tall: float, cloths: tuple[Cloth, Cloth, Cloth]) -> list[Mesh]:
    """cloths: of the thigh, the calf and the foot."""
    thigh, knee = bend
    upper = np.array([0, math.sin(thigh), -math.cos(thigh)])
    lower = np.array([0, math.sin(thigh - knee), -math.cos(thigh - knee)])
    middle = hip + upper * 0.235 * tall
    foot = middle + lower * 0.235 * tall
    toes = foot + np.array([0, 0.1 * tall, -0.01])
    limbs = (
        capsule(hip, middle, (0.055 * tall, 0.042 * tall)),
        capsule(middle, foot, (0.04 * tall, 0.026 * tall)),
        capsule(foot - (0, 0.02, 0), toes, (0.03 * tall, 0.025 * tall)),
    )
    return [dressed(limb, cloth) for limb, cloth in zip(limbs, cloths, strict=True)]


def animal(library: Library, rng: Generator) -> Mesh:
    """Four legs, a neck, a head and a tail; from a cat's size to a horse's; facing +y, on the ground."""
    long, leg = rng.uniform(0.9, 1.4), rng.uniform(0.4, 0.8)
    s, half = np.linspace(-0.5, 0.5, 12), long / 2
    back = np.stack((0 * s, s * long, leg + 0.05 * np.cos(3 * s)), 1)
    wide = 0.17 * np.sqrt(np.maximum(1 - (2 * s) ** 4, 0)) * rng.uniform(0.8, 1.3)
    neck = np.array([0, half, leg + 0.05])
    head = neck + np.array([0, rng.uniform(0.15, 0.35), rng.uniform(0.0, 0.45)])
    nose = head + np.array([0, 0.2, -rng.uniform(0.0, 0.15)])
    tail = np.array([rng.normal(0, 0.1), -half - 0.3, leg + rng.normal(0, 0.2)])
    parts = [tube(back.astype(np.float32), wide.astype(np.float32), 12)]
    parts += [capsule(neck, head, (0.12, 0.09)), capsule(head, nose, (0.1, 0.05))]
    parts.append(capsule((0, -half, leg + 0.05), tail, (0.04, 0.02), 8))
    for x in (-0.1, 0.1):
        for y in (-0.42, 0.42):
            foot = np.array([x * 1.1, y * long + rng.normal(0, 0.08), 0.03])
            parts.append(capsule((x, y * long, leg - 0.05), foot, (0.07, 0.035), 8))
    size = float(np.exp(rng.uniform(math.log(0.25), math.log(1.5))))
    return grounded(scaled(dressed(joined(parts), _cloth(library, rng)), size))


def swimmer(library: Library, rng: Generator) -> Mesh:
    """A spindle with fins, facing +y, about its own middle, half a metre to three metres long."""
    s = np.linspace(-1, 1, 18)
    bow = rng.normal(0, 0.25)
    path = np.stack((bow * s * s, s, 0.2 * rng.normal() * s * s), 1)
    wide = 0.22 * np.maximum(1 - np.abs(s) ** rng.uniform(1.6, 3.0), 0) ** 0.8
    parts = [tube(path.astype(np.float32), wide.astype(np.float32), 14)]
    for side in (-1, 1):
        parts.append(capsule((side * 0.1, 0.3, -0.05), (side * 0.5, 0.05, -0.15), (0.08, 0.01), 8))
        parts.append(capsule((bow, -0.95, 0), (bow + side * 0.3, -1.15, 0), (0.05, 0.01), 8))
    parts.append(capsule((0, 0.05, 0.15), (0, -0.15, 0.42), (0.08, 0.01), 8))
    size = float(np.exp(rng.uniform(math.log(0.25), math.log(1.5))))
    return scaled(dressed(joined(parts), _cloth(library, rng)), size)

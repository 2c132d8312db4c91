"""People and animals of swept capsules, in skin and cloth, standing, walking, sitting, bending or swimming."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from export.nano.meshes.library import Library
from export.nano.meshes.mesh import PLAIN, Floats, Mesh, about_z, grounded, joined, moved
from export.nano.meshes.solids import ball, capsule, tube
from export.nano.meshes.surfaces import covered, random_tint

SKIN = ((0.75, 0.5, 0.38), (0.6, 0.36, 0.25), (0.4, 0.22, 0.14), (0.2, 0.1, 0.06), (0.8, 0.58, 0.48))
"""Linear RGB."""
POSES = ("stand", "walk", "sit", "bend", "reach")


def plain(mesh: Mesh, tint: Floats) -> Mesh:
    """All triangles in one colour."""
    return replace(mesh, picture=np.full(len(mesh), PLAIN, np.int32), tint=np.tile(tint, (len(mesh), 1)))


def person(library: Library, rng: Generator, pose: str | None = None) -> Mesh:
    """1.45 to 1.95 m tall, facing +y, feet (or a seat's foot) on the ground."""
    name = pose or POSES[rng.integers(len(POSES))]
    tall, wide = rng.uniform(1.45, 1.95), rng.uniform(0.85, 1.3)
    skin = np.asarray(SKIN[rng.integers(len(SKIN))], np.float32) * np.float32(rng.uniform(0.8, 1.15))
    top, trousers, shoes = _cloth(library, rng), _cloth(library, rng), random_tint(rng) * np.float32(0.5)
    bare_arms, bare_legs = rng.random() < 0.4, rng.random() < 0.2
    hip, lean, legs, arms = _pose(name, rng)
    pelvis = np.array([0, 0, hip * tall])
    spine = np.array([rng.normal(0, 0.03), math.sin(lean), math.cos(lean)])
    chest, neck = pelvis + spine * 0.2 * tall, pelvis + spine * 0.31 * tall
    parts = [_dressed(_trunk(pelvis, chest, neck, tall, wide), top, rng, library)]
    parts += _head(neck, spine, tall, skin, rng)
    for side in (-1, 1):
        shoulder = neck - spine * 0.03 * tall + np.array([side * 0.105 * tall * wide, 0, 0])
        parts += _arm(shoulder, arms[(side + 1) // 2], tall, side, (skin if bare_arms else None, skin, top), rng, library)
        start = pelvis + np.array([side * 0.055 * tall, 0, 0])
        parts += _leg(start, legs[(side + 1) // 2], tall, (skin if bare_legs else None, shoes, trousers), rng, library)
    return grounded(joined(parts))


Cloth = tuple[int, Floats, float]
"""Picture, tint, metres to a tile."""


def _cloth(library: Library, rng: Generator) -> Cloth:
    if rng.random() < 0.45:
        return PLAIN, random_tint(rng), 1.0
    pool = library.materials if rng.random() < 0.7 else library.photographs
    return int(rng.choice(pool)), np.float32(rng.uniform(0.6, 1.2)) * random_tint(rng) ** np.float32(0.3), rng.uniform(0.1, 0.8)


def _dressed(mesh: Mesh, cloth: Cloth, rng: Generator, library: Library) -> Mesh:
    picture, tint, tile = cloth
    wrapped = covered(mesh, library, rng, tile)
    n = len(mesh)
    return replace(wrapped, picture=np.full(n, picture, np.int32), tint=np.tile(tint, (n, 1)), shine=np.zeros(n, np.float32))


def _pose(name: str, rng: Generator) -> tuple[float, float, tuple[tuple[float, float], ...], tuple[tuple[float, float, float], ...]]:
    """Height of the hips (of the whole), lean of the back, thigh and knee angles, arm swing, spread and elbow."""
    def arm() -> tuple[float, float, float]:
        return (rng.normal(0.1, 0.3), abs(rng.normal(0.12, 0.12)), abs(rng.normal(0.3, 0.4)))

    if name == "sit":
        legs = tuple((rng.normal(1.45, 0.1), rng.normal(1.4, 0.25)) for _ in range(2))
        return 0.27, rng.normal(-0.05, 0.12), legs, tuple((rng.uniform(0.1, 1.0), 0.15, rng.uniform(0.3, 1.6)) for _ in range(2))
    if name == "walk":
        swing = rng.uniform(0.2, 0.6)
        return 0.5, rng.normal(0.05, 0.04), ((swing, 0.1), (-swing, rng.uniform(0.2, 0.7))), ((-swing, 0.08, 0.3), (swing, 0.08, 0.5))
    if name == "bend":
        return 0.49, rng.uniform(0.4, 1.3), ((0.1, 0.1), (-0.05, 0.1)), (arm(), arm())
    if name == "reach":
        return 0.5, rng.normal(0.05, 0.1), ((0.05, 0), (-0.05, 0)), tuple((rng.uniform(0.3, 2.6), rng.uniform(0, 0.7), rng.uniform(0, 0.8)) for _ in range(2))
    return 0.5, rng.normal(0, 0.04), ((rng.normal(0, 0.08), 0.05), (rng.normal(0, 0.08), 0.05)), (arm(), arm())


def _trunk(pelvis: Floats, chest: Floats, neck: Floats, tall: float, wide: float) -> Mesh:
    path = np.array([pelvis - (0, 0, 0.045 * tall), pelvis, (pelvis + chest) / 2, chest, (chest + neck) / 2, neck], np.float32)
    radii = np.array([0.0, 0.085, 0.075, 0.09, 0.085, 0.035], np.float32) * np.float32(tall * wide)
    fine = np.linspace(0, 5, 12)
    smooth = np.stack([np.interp(fine, np.arange(6), path[:, i]) for i in range(3)], 1).astype(np.float32)
    mesh = tube(smooth, np.interp(fine, np.arange(6), radii).astype(np.float32), 14)
    flat = mesh.corners.copy()
    flat[..., 0] = flat[..., 0] * 1.2  # wider than deep
    return replace(mesh, corners=flat)


def _head(neck: Floats, spine: Floats, tall: float, skin: Floats, rng: Generator) -> list[Mesh]:
    middle = neck + spine * 0.105 * tall + np.array([0, rng.uniform(0, 0.03), 0])
    size = np.array([0.045, 0.056, 0.068]) * tall
    eye = np.eye(3, dtype=np.float32)
    parts = [plain(moved(ball(size), eye, middle), skin), plain(capsule(neck, middle, (0.034 * tall, 0.03 * tall)), skin)]
    if rng.random() < 0.85:
        hair = random_tint(rng) * np.float32(0.4)
        parts.append(plain(moved(ball(size * 1.1), eye, middle + np.array([0, -0.018, 0.018]) * tall), hair))
    if rng.random() < 0.3:
        back = middle + np.array([0, -0.04, -0.05]) * tall
        parts.append(plain(moved(ball(size * (1.0, 0.6, 1.5)), eye, back), random_tint(rng) * np.float32(0.4)))
    return parts


def _arm(
    shoulder: Floats, bend: tuple[float, float, float], tall: float, side: int,
    looks: tuple[Floats | None, Floats, Cloth], rng: Generator, library: Library,
) -> list[Mesh]:  # fmt: skip
    swing, spread, elbow = bend
    upper = np.array([side * math.sin(spread), math.sin(swing) * math.cos(spread), -math.cos(swing) * math.cos(spread)])
    fore = np.array([side * math.sin(spread * 0.5), math.sin(swing + elbow), -math.cos(swing + elbow)])
    middle = shoulder + upper * 0.17 * tall
    hand = middle + fore * 0.15 * tall
    low, skin, cloth = looks
    first = _dressed(capsule(shoulder, middle, (0.034 * tall, 0.027 * tall)), cloth, rng, library)
    forearm = capsule(middle, hand, (0.026 * tall, 0.018 * tall))
    second = plain(forearm, low) if low is not None else _dressed(forearm, cloth, rng, library)
    return [first, second, plain(capsule(hand, hand + fore * 0.06 * tall, (0.022 * tall, 0.016 * tall)), skin)]


def _leg(
    hip: Floats, bend: tuple[float, float], tall: float, looks: tuple[Floats | None, Floats, Cloth], rng: Generator,
    library: Library,
) -> list[Mesh]:  # fmt: skip
    thigh, knee = bend
    upper = np.array([0, math.sin(thigh), -math.cos(thigh)])
    lower = np.array([0, math.sin(thigh - knee), -math.cos(thigh - knee)])
    middle = hip + upper * 0.235 * tall
    foot = middle + lower * 0.235 * tall
    bare, shoes, cloth = looks
    calf = capsule(middle, foot, (0.04 * tall, 0.026 * tall))
    return [
        _dressed(capsule(hip, middle, (0.055 * tall, 0.042 * tall)), cloth, rng, library),
        plain(calf, bare) if bare is not None else _dressed(calf, cloth, rng, library),
        plain(capsule(foot - (0, 0.02, 0), foot + np.array([0, 0.1 * tall, -0.01]), (0.03 * tall, 0.025 * tall)), shoes),
    ]


def animal(library: Library, rng: Generator) -> Mesh:
    """Four legs, a neck, a head and a tail; from a cat's size to a horse's; facing +y, on the ground."""
    size = float(np.exp(rng.uniform(math.log(0.25), math.log(1.5))))
    long, leg = rng.uniform(0.9, 1.4), rng.uniform(0.4, 0.8)
    fur = _cloth(library, rng)
    s, half = np.linspace(-0.5, 0.5, 12), long / 2
    back = np.stack((0 * s, s * long, leg + 0.05 * np.cos(3 * s)), 1)
    wide = 0.17 * np.sqrt(np.maximum(1 - (2 * s) ** 4, 0)) * rng.uniform(0.8, 1.3)
    neck = np.array([0, half, leg + 0.05])
    head = neck + np.array([0, rng.uniform(0.15, 0.35), rng.uniform(0.0, 0.45)])
    nose = head + np.array([0, 0.2, -rng.uniform(0.0, 0.15)])
    parts = [tube(back.astype(np.float32), wide.astype(np.float32), 12), capsule(neck, head, (0.12, 0.09)), capsule(head, nose, (0.1, 0.05))]
    for x in (-0.1, 0.1):
        for y in (-0.42, 0.42):
            foot = np.array([x * 1.1, y * long + rng.normal(0, 0.08), 0.03])
            parts.append(capsule((x, y * long, leg - 0.05), foot, (0.07, 0.035), 8))
    parts.append(capsule((0, -half, leg + 0.05), (rng.normal(0, 0.1), -half - 0.3, leg + rng.normal(0, 0.2)), (0.04, 0.02), 8))
    mesh = _dressed(joined(parts), fur, rng, library)
    return grounded(moved(mesh, np.eye(3, dtype=np.float32) * np.float32(size), (0, 0, 0)))


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
    mesh = _dressed(joined(parts), _cloth(library, rng), rng, library)
    return moved(mesh, about_z(0) * np.float32(np.exp(rng.uniform(math.log(0.25), math.log(1.5)))), (0, 0, 0))

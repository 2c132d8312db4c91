"""A picture and its depth from a world, a camera and a light: shadows, ambient occlusion, gloss, haze, a panorama."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from export.nano.meshes.atlas import Atlas
from export.nano.meshes.mesh import Floats
from export.nano.meshes.world import Hits, World

SUN_DISTANCE = 1e3
NEAREST = 20.0
"""Largest inverse depth told, in 1/m."""


@dataclass(frozen=True, slots=True)
class Camera:
    """place: [3]; axes: [3, 3], rows right, up, forward; focal: focal length in units of the picture's width."""

    place: Floats
    axes: Floats
    focal: float


@dataclass(frozen=True, slots=True)
class Lamp:
    """place: [3], or a direction where `sun`; colour: [3]; size: metres (radians for a sun) that soften its shadow."""

    place: Floats
    colour: Floats
    sun: bool
    size: float


@dataclass(frozen=True, slots=True)
class Light:
    """ambient: [3], from everywhere; haze: fraction lost per metre; panorama: picture behind everything, seen from
    `turn` (share of a circle) at brightness `sky`; reach: metres that ambient occlusion looks.
    """

    lamps: tuple[Lamp, ...]
    ambient: Floats
    haze: float
    panorama: int
    turn: float
    sky: float
    reach: float


def rays(camera: Camera, height: int, width: int) -> tuple[Floats, Floats]:
    """Origins and directions, each float32 [H·W, 3]; a direction's parameter is z-depth."""
    x = (np.arange(width) + 0.5 - width / 2) / (camera.focal * width)
    y = -(np.arange(height) + 0.5 - height / 2) / (camera.focal * width)
    right, up, forward = camera.axes
    direction = (forward + y[:, None, None] * up + x[None, :, None] * right).reshape(-1, 3).astype(np.float32)
    return np.repeat(camera.place[None].astype(np.float32), len(direction), 0), direction


def render(
    world: World, camera: Camera, light: Light, size: tuple[int, int], rng: Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """size: height and width. Linear RGB [H, W, 3] and inverse z-depth [H, W] in 1/m, 0 = nothing."""
    height, width = size
    origin, direction = rays(camera, height, width)
    hits = world.first(origin, direction, 1.0 / (camera.focal * width))
    colour = np.zeros((len(origin), 3), np.float32)
    met, missed = np.flatnonzero(hits.met), np.flatnonzero(~hits.met)
    colour[missed] = panorama(world.atlas, light, direction[missed])
    if len(met):
        lit = _lit(world, hits, met, origin[met], direction[met], light, rng, size)
        if light.haze > 0:
            far = hits.depth[met] * np.linalg.norm(direction[met], axis=1)
            through = np.exp(-light.haze * far)[:, None].astype(np.float32)
            lit = lit * through + _haze_colour(world.atlas, light) * (1 - through)
        colour[met] = lit
    inverse = np.where(hits.met, 1.0 / np.maximum(hits.depth, 1.0 / NEAREST), 0.0).astype(np.float32)
    return colour.reshape(height, width, 3), inverse.reshape(height, width)


def _haze_colour(atlas: Atlas, light: Light) -> Floats:
    """Linear RGB [3]: the panorama's mean around the horizon."""
    angle = np.arange(16) * (2 * math.pi / 16)
    around = np.stack((np.cos(angle), np.sin(angle), np.full(16, 0.1)), 1).astype(np.float32)
    mean: Floats = panorama(atlas, light, around).mean(0)
    return mean


def panorama(atlas: Atlas, light: Light, direction: Floats) -> Floats:
    """Linear RGB [R, 3] of what lies behind everything."""
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    u = np.arctan2(unit[:, 1], unit[:, 0]) / (2 * math.pi) + 0.5 + light.turn
    v = np.clip(np.arcsin(np.clip(unit[:, 2], -1, 1)) / math.pi + 0.5, 0.002, 0.998)
    which = np.full(len(unit), light.panorama, np.int32)
    found = atlas.sample(which, np.stack((u, v), 1).astype(np.float32), np.ones(len(unit), np.int32))
    return found[:, :3] * np.float32(light.sky)


def _lit(
    world: World, hits: Hits, met: NDArray[np.intp], origin: Floats, direction: Floats, light: Light, rng: Generator,
    size: tuple[int, int],
) -> Floats:  # fmt: skip
    """Light that leaves the places met towards the camera, linear RGB [n, 3]."""
    triangle, albedo = hits.triangle[met], hits.colour[met]
    normal = world.normal[triangle]
    normal = np.where((normal * direction).sum(1, keepdims=True) > 0, -normal, normal)
    place = origin + direction * hits.depth[met, None]
    start = (place + normal * (1e-3 + 1e-3 * hits.depth[met, None])).astype(np.float32)
    open_share = _open_share(world, met, start, normal, light.reach, rng, size)
    irradiance = light.ambient * (0.7 + 0.3 * normal[:, 2:3]) * open_share[:, None]
    for lamp in light.lamps:
        irradiance = irradiance + _from_lamp(world, lamp, start, normal, met, rng, size)
    colour = albedo * irradiance
    shine = world.mesh.shine[triangle]
    glossy = np.flatnonzero(shine > 0)
    if len(glossy):
        colour[glossy] += _reflected(world, start[glossy], normal[glossy], direction[glossy], shine[glossy], light)
    return colour.astype(np.float32)


def _from_lamp(
    world: World, lamp: Lamp, start: Floats, normal: Floats, met: NDArray[np.intp], rng: Generator,
    size: tuple[int, int],
) -> Floats:  # fmt: skip
    jitter = rng.normal(size=start.shape).astype(np.float32) * np.float32(lamp.size)
    if lamp.sun:
        unit = lamp.place + jitter
        towards = unit / np.linalg.norm(unit, axis=1, keepdims=True)
        way, fall = towards * np.float32(SUN_DISTANCE), 1.0
    else:
        way = lamp.place + jitter - start
        distance = np.linalg.norm(way, axis=1, keepdims=True) + 1e-6
        towards, fall = way / distance, 4.0 / (1.0 + 0.5 * distance**2)
    facing = np.maximum((normal * towards).sum(1), 0.0)
    asked = np.flatnonzero(facing > 0)
    lit = np.ones(len(met), np.float32)
    lit[asked] = ~world.blocked(start[asked], way[asked].astype(np.float32))
    if lamp.size > 0:
        lit = _over_neighbours(lit, met, size)
    arriving: Floats = ((facing * lit)[:, None] * lamp.colour * fall).astype(np.float32)
    return arriving


def _open_share(
    world: World, met: NDArray[np.intp], start: Floats, normal: Floats, reach: float, rng: Generator,
    size: tuple[int, int],
) -> Floats:  # fmt: skip
    """Share of the sky that each place sees within `reach`: one random ray each, averaged over neighbours."""
    if reach <= 0:
        return np.ones(len(met), np.float32)
    spread = rng.normal(size=start.shape).astype(np.float32)
    way = normal + spread / np.linalg.norm(spread, axis=1, keepdims=True)
    free = 1.0 - world.blocked(start, (way * np.float32(reach)).astype(np.float32)).astype(np.float32)
    return 0.35 + np.float32(0.65) * _over_neighbours(free, met, size)


def _over_neighbours(x: Floats, met: NDArray[np.intp], size: tuple[int, int]) -> Floats:
    """x: [n] at the pixels `met`; mean over what is met among 5×5 pixels: noise of single rays evens out."""
    whole = np.zeros((2, size[0] * size[1]), np.float32)
    whole[0, met], whole[1, met] = x, 1.0
    summed = _smoothed(whole.reshape(2, *size)).reshape(2, -1)[:, met]
    mean: Floats = summed[0] / np.maximum(summed[1], 1e-6)
    return mean


def _smoothed(x: Floats) -> Floats:
    """Mean over 5×5 neighbours of [n, H, W], zeros beyond the edge."""
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2)))
    rows = np.asarray(sum(padded[:, i : i + x.shape[1]] for i in range(5)))
    out: Floats = np.asarray(sum(rows[:, :, i : i + x.shape[2]] for i in range(5)))
    return out


def _reflected(world: World, start: Floats, normal: Floats, direction: Floats, shine: Floats, light: Light) -> Floats:
    """What glossy places mirror, more of it the flatter one looks; reflections are lit by ambient light alone."""
    unit = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    facing = -(normal * unit).sum(1, keepdims=True)
    back = (unit + 2 * facing * normal).astype(np.float32)
    hits = world.first(start, back, 0.01)
    seen = np.where(hits.met[:, None], hits.colour * light.ambient * 1.3, panorama(world.atlas, light, back))
    fresnel = shine[:, None] * (0.25 + 0.75 * (1 - np.clip(facing, 0, 1)) ** 3)
    mirrored: Floats = (seen * fresnel).astype(np.float32)
    return mirrored

"""Where cameras stand and what light there is: heads, hands, tables, cars, floors and drones; all lenses."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from export.nano.meshes.library import Library
from export.nano.meshes.mesh import Floats
from export.nano.meshes.shade import Camera, Lamp, Light, rays
from export.nano.meshes.world import FARTHEST, World

TRIES = 60
PROBES = 48
GLANCE = (18, 24)
"""Rays of a quick look at what a camera would see."""
MUCH_RELIEF = 0.25
"""Relief from which every view is kept."""
TOO_NEAR = 0.2
"""Metres that a camera keeps from things."""
HEIGHTS = ((1.3, 1.8, 0.4), (0.9, 1.4, 0.25), (0.35, 0.9, 0.15), (0.12, 0.35, 0.05), (1.9, 2.5, 0.15))
"""Lowest and highest place of an indoor camera above the floor, and how often: head, hand, table, floor, shelf."""
OUTDOOR_HEIGHTS = ((1.3, 1.9, 0.45), (0.9, 1.4, 0.25), (0.3, 0.8, 0.1), (2.5, 6.0, 0.1), (6.0, 25.0, 0.1))
"""The same outdoors: head, car or hand, dog, window, drone."""


def axes_of(yaw: float, pitch: float, roll: float) -> Floats:
    """Rows right, up, forward. yaw about the vertical from x to y; pitch up, roll clockwise; radians."""
    forward = np.array([math.cos(pitch) * math.cos(yaw), math.cos(pitch) * math.sin(yaw), math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    up = np.cross(right, forward)
    c, s = math.cos(roll), math.sin(roll)
    return np.stack((c * right - s * up, s * right + c * up, forward)).astype(np.float32)


def facing(way: Floats, roll: float) -> Floats:
    """Axes that look along `way` [3]."""
    unit = way / (np.linalg.norm(way) + 1e-9)
    return axes_of(math.atan2(unit[1], unit[0]), math.asin(float(np.clip(unit[2], -1, 1))), roll)


def lens(rng: Generator) -> float:
    """Focal length in widths: 30 to 105 degrees across, mostly 45 to 80."""
    degrees = rng.uniform(45, 80) if rng.random() < 0.7 else rng.uniform(30, 105)
    return float(0.5 / math.tan(math.radians(degrees) / 2))


def roll_of(rng: Generator) -> float:
    """Radians: nearly level, at times not at all."""
    return math.radians(float(rng.normal(0, 3) if rng.random() < 0.85 else rng.normal(0, 20)))


def look_around(world: World, place: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Directions [n, 3] and distances [n] (FARTHEST = nothing) of random rays."""
    way = rng.normal(size=(PROBES, 3)).astype(np.float32)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    which, depth, _ = world.cast(np.repeat(place[None], PROBES, 0), way)
    return way, np.where(which >= 0, depth, FARTHEST).astype(np.float32)


def pick_height(rng: Generator, heights: tuple[tuple[float, float, float], ...]) -> float:
    """Metres above the ground."""
    low, high, _ = heights[rng.choice(len(heights), p=[h[2] for h in heights])]
    return float(rng.uniform(low, high))


def inside(world: World, rng: Generator, floor: float) -> Camera | None:
    """A camera somewhere in a building, closed in by it; half of them look at some thing. None where none was found."""
    for _ in range(TRIES):
        low, high = world.low, world.high
        place = np.array([rng.uniform(low[0], high[0]), rng.uniform(low[1], high[1]), 0], np.float32)
        place[2] = floor + pick_height(rng, HEIGHTS)
        way, depth = look_around(world, place, rng)
        if depth.min() < TOO_NEAR or (depth >= FARTHEST).mean() > 0.3:
            continue
        worth = np.flatnonzero((depth < 6.0) & (way[:, 2] < 0.35) & (way[:, 2] > -0.8))
        if len(worth) and rng.random() < 0.55:
            target = way[rng.choice(worth)] + rng.normal(0, 0.1, 3)
            camera = Camera(place, facing(target, roll_of(rng)), lens(rng))
        else:
            pitch = math.radians(float(np.clip(rng.normal(-8, 13), -65, 40)))
            camera = Camera(place, axes_of(rng.uniform(0, 2 * math.pi), pitch, roll_of(rng)), lens(rng))
        if relief(world, camera) > rng.uniform(0, MUCH_RELIEF):
            return camera
    return None


def across_table(world: World, rng: Generator) -> Camera | None:
    """A camera near the origin that looks at what stands there, as one sits or stands before a table."""
    for _ in range(TRIES):
        around, away = rng.normal(-math.pi / 2, 0.9), rng.uniform(0.45, 2.4)
        place = np.array([math.cos(around) * away, math.sin(around) * away, rng.uniform(0.5, 2.0)], np.float32)
        _, depth = look_around(world, place, rng)
        if depth.min() < TOO_NEAR:
            continue
        target = np.array([rng.normal(0, 0.15), rng.normal(0.1, 0.25), rng.uniform(0.4, 1.35)])
        camera = Camera(place, facing(target - place, roll_of(rng)), lens(rng))
        if relief(world, camera) > rng.uniform(0, 0.5 * MUCH_RELIEF):
            return camera
    return None


def relief(world: World, camera: Camera) -> float:
    """How far the view is from one plane: mean residual of inverse depth from its best plane, relative to its mean."""
    origin, direction = rays(camera, *GLANCE)
    which, depth, _ = world.cast(origin, direction)
    inverse = np.where(which >= 0, 1.0 / np.maximum(depth, TOO_NEAR), 0.0)
    across = direction @ np.stack((camera.axes[0], camera.axes[1]), 1)
    design = np.concatenate((across, np.ones((len(across), 1))), 1)
    fitted = design @ np.linalg.lstsq(design, inverse, rcond=None)[0]
    return float(np.abs(fitted - inverse).mean() / (inverse.mean() + 1e-6))


def indoor_light(library: Library, camera: Camera, world: World, rng: Generator) -> Light:
    """One to three lamps near the camera's side of the room; a panorama beyond the windows."""
    lamps = []
    for _ in range(rng.integers(1, 4)):
        offset = rng.normal(0, 1.5, 3) * (1, 1, 0.4) + (0, 0, 0.6)
        place = np.clip(camera.place + offset, world.low + 0.05, world.high - 0.05).astype(np.float32)
        warm = np.array([1.0, rng.uniform(0.8, 1.05), rng.uniform(0.6, 1.15)])
        lamps.append(Lamp(place, (rng.uniform(0.15, 0.8) * warm).astype(np.float32), False, rng.uniform(0, 0.15)))
    if rng.random() < 0.4:
        lamps.append(sun(rng))
    ambient = rng.uniform(0.12, 0.6) * rng.uniform(0.9, 1.1, 3)
    view = rng.choice(library.outdoors if rng.random() < 0.7 else library.indoors)
    return _light(tuple(lamps), ambient, 0.02, int(view), (0.5, 2.5), (0.3, 1.5), rng)


def sun(rng: Generator) -> Lamp:
    """High or low, hard or hazy."""
    way = rng.normal(0, 1, 3)
    way[2] = abs(way[2]) + 0.25
    warm = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.65, 1.0)])
    soft = rng.uniform(0, 0.02) if rng.random() < 0.7 else rng.uniform(0.02, 0.3)
    unit = (way / np.linalg.norm(way)).astype(np.float32)
    return Lamp(unit, (rng.uniform(0.3, 1.3) * warm).astype(np.float32), True, soft)


def daylight(library: Library, rng: Generator) -> Light:
    """A sun nearly always, a panorama's sky, haze at times."""
    lamps = (sun(rng),) if rng.random() < 0.85 else ()
    ambient = rng.uniform(0.25, 0.7) * np.array([rng.uniform(0.85, 1.0), 1.0, rng.uniform(1.0, 1.2)])
    view = rng.choice(library.outdoors)
    return _light(lamps, ambient, 0.03, int(view), (0.6, 1.6), (0.5, 3.0), rng)


def _light(
    lamps: tuple[Lamp, ...], ambient: NDArray[np.float64], haze: float, view: int, sky: tuple[float, float],
    reach: tuple[float, float], rng: Generator,
) -> Light:  # fmt: skip
    """Haze of at most `haze` at times; a sky as bright, an occlusion as wide, as these ranges say."""
    return Light(
        lamps,
        ambient.astype(np.float32),
        float(rng.uniform(0, haze)) if rng.random() < 0.25 else 0.0,
        view,
        rng.random(),
        rng.uniform(*sky),
        float(rng.uniform(*reach)) if rng.random() < 0.65 else 0.0,
    )

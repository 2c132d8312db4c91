"""Open country: hills, rocks, trees, animals, people, trusses; or swimmers over a sea bed in murky light."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.random import Generator

from export.nano.meshes.figures import animal, person, swimmer
from export.nano.meshes.library import Library
from export.nano.meshes.mesh import Floats, Mesh, Reals, about_z, joined, moved, placed, scaled, shifted, tumbled
from export.nano.meshes.plants import bush, tree
from export.nano.meshes.shade import Camera, Light
from export.nano.meshes.shapes import lump
from export.nano.meshes.solids import grid
from export.nano.meshes.streets import lattice
from export.nano.meshes.surfaces import covered
from export.nano.meshes.views import MUCH_RELIEF, TRIES, axes_of, daylight, facing, lens, look_around, relief, roll_of
from export.nano.meshes.world import World

CELLS = 90
"""Of the ground, each way; they grow with the distance from the middle."""
FAR_EDGE = 900.0
UPWARDS = 0.35
"""Share of the cameras that look at nothing in particular which look up: things before the sky, no ground in sight."""


class Ground:
    """Rolling ground: a sum of waves, the highest of the size of the view."""

    def __init__(self, rng: Generator, rough: float) -> None:
        lengths = np.exp(rng.uniform(math.log(3), math.log(220), 9))
        angles = rng.uniform(0, 2 * math.pi, 9)
        self._waves = np.stack((np.cos(angles), np.sin(angles)), 1) * (2 * math.pi / lengths)[:, None]
        self._heights, self._phases = rough * lengths * rng.uniform(0, 0.03, 9), rng.uniform(0, 6.3, 9)

    def height(self, x: float | Reals, y: float | Reals) -> Floats:
        """Metres above 0 at places of any shape."""
        rise = np.zeros(np.shape(x))
        for wave, height, phase in zip(self._waves, self._heights, self._phases, strict=True):
            rise = rise + height * np.sin(x * wave[0] + y * wave[1] + phase)
        return np.asarray(rise, np.float32)

    def mesh(self) -> Mesh:
        """The ground out to its far edge, fine in the middle."""
        line = np.linspace(-1, 1, CELLS + 1)
        line = np.sign(line) * (0.06 * np.abs(line) + 0.94 * np.abs(line) ** 3) * FAR_EDGE
        y, x = np.meshgrid(line, line, indexing="ij")
        return grid(np.stack((x, y, self.height(x, y)), -1).astype(np.float32))

    def carried(self, mesh: Mesh, x: float, y: float, above: float = 0.0) -> Mesh:
        """The mesh, made about the origin, so many metres above the ground at (x, y)."""
        return shifted(mesh, x, y, float(self.height(x, y)) + above)


def countryside(library: Library, rng: Generator) -> tuple[Mesh, Ground]:
    """Things on hilly ground, most of them within 40 m of the origin."""
    ground = Ground(rng, rng.choice((0.15, 1.0, 2.5)))
    parts = [covered(ground.mesh(), library, rng, rng.uniform(2, 12))]
    for make, most in ((tree, 22), (bush, 16), (rock, 12), (animal, 6), (person, 5), (_truss, 6)):
        for _ in range(int(rng.integers(0, most))):
            away, around = float(np.exp(rng.uniform(math.log(3), math.log(60)))), rng.uniform(0, 2 * math.pi)
            turned = placed(make(library, rng), 0, 0, 0, rng.uniform(0, 6.3))
            parts.append(ground.carried(turned, away * math.cos(around), away * math.sin(around)))
    return joined(parts), ground


def sea_bed(library: Library, rng: Generator) -> tuple[Mesh, Ground]:
    """Swimmers half a metre to four metres above the bed, rocks and weeds on it."""
    ground = Ground(rng, rng.uniform(0.2, 2.0))
    parts = [covered(ground.mesh(), library, rng, rng.uniform(0.8, 5))]
    for make in (rock, bush):
        for _ in range(int(rng.integers(1, 14))):
            turned = placed(make(library, rng), 0, 0, 0, rng.uniform(0, 6.3), rng.uniform(0.5, 1.2))
            x, y = rng.normal(0, 5, 2)
            parts.append(ground.carried(turned, x, y))
    for _ in range(int(rng.integers(2, 10))):
        fish = swimmer(library, rng)
        turn = tumbled(rng) if rng.random() < 0.3 else about_z(rng.uniform(0, 6.3))
        x, y = rng.normal(0, 2.5, 2)
        parts.append(ground.carried(moved(fish, turn, (0, 0, 0)), x, y, rng.uniform(0.5, 4.0)))
    return joined(parts), ground


def rock(library: Library, rng: Generator) -> Mesh:
    """0.2 to 2 m, half in the ground."""
    size = np.diag(np.exp(rng.uniform(math.log(0.1), math.log(1.0))) * rng.uniform(0.5, 1.2, 3)).astype(np.float32)
    return covered(moved(lump(rng), size, (0, 0, 0)), library, rng, rng.uniform(0.5, 2))


def _truss(library: Library, rng: Generator) -> Mesh:
    big = scaled(lattice(rng), rng.uniform(0.7, 2.0))
    return covered(shifted(big, 0, 0, rng.uniform(-1, 4)), library, rng)


def country_camera(world: World, ground: Ground, rng: Generator, highest: float) -> Camera | None:
    """Above the ground near the origin; half of them look at some thing. None where none was found."""
    for _ in range(TRIES):
        x, y = rng.normal(0, 4, 2)
        above = float(np.exp(rng.uniform(math.log(0.4), math.log(highest))))
        place = np.array([x, y, float(ground.height(x, y)) + above], np.float32)
        way, depth = look_around(world, place, rng)
        if depth.min() < 0.3:
            continue
        near = np.flatnonzero((depth < 15) & (np.abs(way[:, 2]) < 0.5))
        if len(near) and rng.random() < 0.5:
            axes = facing(way[rng.choice(near)] + rng.normal(0, 0.1, 3), roll_of(rng))
        else:
            pitch = rng.normal(22, 12) if rng.random() < UPWARDS else rng.normal(-4 - 2 * above, 10)
            axes = axes_of(rng.uniform(0, 6.3), math.radians(pitch), roll_of(rng))
        camera = Camera(place, axes, lens(rng))
        if relief(world, camera) > rng.uniform(0, MUCH_RELIEF):
            return camera
    return None


def under_water(library: Library, rng: Generator) -> Light:
    """Dim, with haze at a few metres."""
    light = daylight(library, rng)
    return replace(light, haze=float(rng.uniform(0.02, 0.15)), sky=light.sky * rng.uniform(0.3, 0.9))

"""All kinds of mesh scenes: building one, and finding views in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from export.nano.meshes.country import country_camera, countryside, sea_bed, under_water
from export.nano.meshes.library import Library
from export.nano.meshes.mesh import Mesh
from export.nano.meshes.rooms import room, still_life
from export.nano.meshes.shade import Camera, Light, render
from export.nano.meshes.shapes import shape_scene
from export.nano.meshes.streets import street, street_camera
from export.nano.meshes.surfaces import repainted
from export.nano.meshes.views import across_table, daylight, indoor_light, inside
from export.nano.meshes.world import World

INTERIORS = (
    "aws_small_house", "aws_hospital", "aws_bookstore", "aws_small_warehouse", "country_kitchen", "cafe",
    "willowgarage", "osrf_first_office",
)  # fmt: skip
FLOORS = {"aws_hospital": 0.0, "country_kitchen": 0.0, "aws_bookstore": 0.0}
"""Height of the floor where it isn't the lowest point."""


@dataclass(frozen=True, slots=True)
class Picture:
    """colour: linear RGB float32 [H, W, 3]; inverse: float32 [H, W] in 1/m, 0 = the panorama."""

    colour: NDArray[np.float32]
    inverse: NDArray[np.float32]


Views = Callable[[World, Library, Generator], tuple[Camera, Light] | None]


def interior(library: Library, rng: Generator) -> tuple[Mesh, Views]:
    """A furnished building as it came, in new surfaces."""
    names = [n for n in INTERIORS if n in library.models]
    name = names[rng.integers(len(names))]
    mesh = repainted(library.models[name], library, rng)
    floor = FLOORS.get(name, float(mesh.bounds()[0][2]))

    def view(world: World, library: Library, rng: Generator) -> tuple[Camera, Light] | None:
        camera = inside(world, rng, floor)
        return None if camera is None else (camera, indoor_light(library, camera, world, rng))

    return mesh, view


def furnished(library: Library, rng: Generator) -> tuple[Mesh, Views]:
    """A room that never was, with things from several buildings."""

    def view(world: World, library: Library, rng: Generator) -> tuple[Camera, Light] | None:
        camera = inside(world, rng, 0.0)
        return None if camera is None else (camera, indoor_light(library, camera, world, rng))

    return room(library, rng), view


def tables(library: Library, rng: Generator) -> tuple[Mesh, Views]:
    """Things on a table, from near."""

    def view(world: World, library: Library, rng: Generator) -> tuple[Camera, Light] | None:
        camera = across_table(world, rng)
        return None if camera is None else (camera, indoor_light(library, camera, world, rng))

    return still_life(library, rng), view


def outdoors(library: Library, rng: Generator) -> tuple[Mesh, Views]:
    """A street by day."""

    def view(world: World, library: Library, rng: Generator) -> tuple[Camera, Light] | None:
        camera = street_camera(world, rng)
        return None if camera is None else (camera, daylight(library, rng))

    return street(library, rng), view


def nature(library: Library, rng: Generator) -> tuple[Mesh, Views]:
    """Open country by day, or a sea bed."""
    wet = rng.random() < 0.3
    mesh, ground = sea_bed(library, rng) if wet else countryside(library, rng)

    def view(world: World, library: Library, rng: Generator) -> tuple[Camera, Light] | None:
        camera = country_camera(world, ground, rng, 4.0 if wet else 12.0)
        light = under_water if wet else daylight
        return None if camera is None else (camera, light(library, rng))

    return mesh, view


def shapes(library: Library, rng: Generator) -> tuple[Mesh, Views]:
    """Loose shapes, seen from one place only."""
    mesh, camera = shape_scene(library, rng)

    def view(world: World, library: Library, rng: Generator) -> tuple[Camera, Light] | None:
        return camera, (daylight(library, rng) if rng.random() < 0.5 else indoor_light(library, camera, world, rng))

    return mesh, view


KINDS: dict[str, tuple[Callable[[Library, Generator], tuple[Mesh, Views]], float, int]] = {
    "interior": (interior, 0.18, 20),
    "room": (furnished, 0.22, 12),
    "table": (tables, 0.15, 6),
    "street": (outdoors, 0.16, 12),
    "nature": (nature, 0.12, 8),
    "shapes": (shapes, 0.18, 2),
}
"""Builder, share of the pictures, pictures of one scene."""


def pictures(library: Library, size: tuple[int, int], rng: Generator, kind: str | None = None) -> Iterator[Picture]:
    """The views of one random scene, of a kind if it is named."""
    total = {name: share / count for name, (_, share, count) in KINDS.items()}
    chances = np.array(list(total.values())) / sum(total.values())
    name = kind or list(KINDS)[rng.choice(len(KINDS), p=chances)]
    build, _, count = KINDS[name]
    mesh, view = build(library, rng)
    world = World(mesh, library.atlas)
    for _ in range(count):
        found = view(world, library, rng)
        if found is None:
            return
        picture = Picture(*render(world, *found, size, rng))
        if not dull(picture.inverse, rng):
            yield picture


def dull(inverse: NDArray[np.float32], rng: Generator) -> bool:
    """Nearly nothing to see, or one bare wall (some of those are kept)."""
    known = inverse[inverse > 0]
    if len(known) < 0.1 * inverse.size:
        return True
    near, far = np.quantile(known, (0.95, 0.05))
    if near > 12.0:
        return True
    return bool(near / far < 1.3 and rng.random() < 0.8)


def developed(picture: Picture, rng: Generator) -> NDArray[np.uint8]:
    """uint8 sRGB [H, W, 3] at a random exposure, highlights cut off as cameras do."""
    level = np.quantile(picture.colour, 0.9) + 1e-4
    light = picture.colour * (rng.uniform(0.35, 1.15) / level)
    srgb: NDArray[np.uint8] = (np.sqrt(np.clip(light, 0, 1)) * 255).astype(np.uint8)
    return srgb

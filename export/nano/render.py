"""Cast rays at a scene, many frames at once: exact depth, cheap light. On whatever device the scene lies.

A scene is solids, capsules, cards and perhaps hills inside a box (a room) or on a plain under the sky.
Axes: x right, y up, z forward, metres. R rays, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from export.nano.capsules import Capsules
from export.nano.cards import Cards
from export.nano.rays import FAR, Rays, Shots, View, rays_of, shots_of
from export.nano.solids import Solids
from export.nano.terrain import Terrain
from export.nano.textures import LEVELS, SIDE, TextureBank

FACES = 6
"""Faces of the surrounding box: -x, +x, floor, ceiling, -z, +z. Hills look like the floor."""
FLOOR, CEILING = 2, 3

RAYS_AT_ONCE = 6144
"""Rays traced together on a CPU: what they need against 40 solids stays in a core's own cache (twice as fast as
49,152)."""
RAYS_ON_GPU = 1 << 18


class Shapes(Protocol):
    """A family of shapes that rays can meet."""

    def __len__(self) -> int:
        """Members; each has a surface of its own."""

    def nearest(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """z-depth [R] (FAR = none) and index [R] of what each ray meets first."""

    def block(self, rays: Rays) -> Tensor:
        """bool [R]: whether something stands between each ray's origin and the light at its parameter 1."""

    def surface(self, index: Tensor, place: Tensor, time: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
        """Place and normal as the texture sees them, and the normal in the world, each [R, 3]."""


@dataclass(frozen=True, slots=True)
class Surfaces:
    """How N solids, M capsules, K cards and the six faces of the surrounding box look, in this order.

    texture: int64 [n, 2]; tile: [n, 2] metres that one tile of each covers; tint: [n, 3]; shine: [n].
    """

    texture: Tensor
    tile: Tensor
    tint: Tensor
    shine: Tensor

    def to(self, device: torch.device) -> Surfaces:
        """The same on another device."""
        moved = [x.to(device) for x in (self.texture, self.tile, self.tint, self.shine)]
        return Surfaces(moved[0], moved[1], moved[2], moved[3])


@dataclass(frozen=True, slots=True)
class Lighting:
    """lights, light_colours: [L, 3] places and colours of lights that cast shadows; a soft one is several of them.

    fill: [3] direction to a light without shadow; colours [3]. haze: fraction of light lost per metre.
    sky: [2, 3] colours at the horizon and at the zenith.
    """

    lights: Tensor
    light_colours: Tensor
    fill: Tensor
    fill_colour: Tensor
    ambient: Tensor
    haze: float
    sky: Tensor
    shadows: bool

    def to(self, device: torch.device) -> Lighting:
        """The same on another device."""
        fields = (self.lights, self.light_colours, self.fill, self.fill_colour, self.ambient, self.sky)
        lights, colours, fill, fill_colour, ambient, sky = (x.to(device) for x in fields)
        return Lighting(lights, colours, fill, fill_colour, ambient, self.haze, sky, self.shadows)


@dataclass(frozen=True, slots=True)
class Scene:
    """room: [3] = half width, height, half depth of the surrounding box; its floor is y = 0.

    Where `open_sky`, the ceiling is the sky and so is everything beyond 1 km.
    """

    solids: Solids
    capsules: Capsules
    cards: Cards
    terrain: Terrain | None
    surfaces: Surfaces
    lighting: Lighting
    room: Tensor
    open_sky: bool

    def to(self, device: torch.device) -> Scene:
        """The same on another device."""
        hills = None if self.terrain is None else self.terrain.to(device)
        return Scene(
            self.solids.to(device), self.capsules.to(device), self.cards.to(device), hills, self.surfaces.to(device),
            self.lighting.to(device), self.room.to(device), self.open_sky,
        )  # fmt: skip

    def families(self) -> list[tuple[int, Shapes]]:
        """Each family that has members, with the number of its first surface."""
        counts = len(self.solids), len(self.capsules), len(self.cards)
        found: list[tuple[int, Shapes]] = []
        for first, count, shapes in (
            (0, counts[0], self.solids), (counts[0], counts[1], self.capsules),
            (sum(counts[:2]), counts[2], self.cards),
        ):  # fmt: skip
            if count:
                found.append((first, shapes))
        if self.terrain is not None:
            found.append((sum(counts) + FLOOR, self.terrain))
        return found


def render(scene: Scene, bank: TextureBank, view: View, time: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    """One picture. Returns linear RGB float32 [H, W, 3] >= 0 and inverse z-depth [H, W] in 1/m, 0 = sky."""
    colour, inverse = render_clip(scene, bank, shots_of(view, time), height, width)
    return colour[0], inverse[0]


def render_clip(scene: Scene, bank: TextureBank, shots: Shots, height: int, width: int) -> tuple[Tensor, Tensor]:
    """All frames. Returns linear RGB float32 [T, H, W, 3] >= 0 and inverse z-depth [T, H, W] in 1/m, 0 = sky.

    Scene, bank and shots on one device. A GPU takes frames together; a CPU does better with small bundles.
    """
    pixel = (1.0 / (shots.focal * width))[:, None].expand(-1, height * width).flatten()
    most = RAYS_ON_GPU if pixel.device.type == "cuda" else RAYS_AT_ONCE
    bundles = zip(rays_of(shots, height, width).split(most), pixel.split(most), strict=True)
    parts = [_shade(scene, bank, rays, size) for rays, size in bundles]
    colour, inverse = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    return colour.reshape(len(shots), height, width, 3), inverse.reshape(len(shots), height, width)


def _shade(scene: Scene, bank: TextureBank, rays: Rays, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Colour [R, 3] and inverse z-depth [R] of a bundle of rays; pixel: [R] width of one at a depth of 1 m."""
    depth, number = first_hit(scene, rays)
    sky = depth >= FAR
    place = rays.at(depth.clamp(max=FAR))
    local, own, normal = _surface(scene, number, place, rays)
    albedo = _albedo(scene, bank, number, local, own, depth * pixel)
    light, shine = _light(scene, place, normal, rays)
    colour = albedo * light + shine * scene.surfaces.shine[number, None]
    seen = torch.exp(-scene.lighting.haze * depth.clamp(max=2e3))[:, None]
    colour = torch.lerp(scene.lighting.sky[0].expand_as(colour), colour, seen)
    if scene.open_sky:
        colour = torch.where(sky[:, None], _sky_colour(scene, bank, rays.direction), colour)
    return colour, torch.where(sky, 0.0, 1.0 / depth)


def first_hit(scene: Scene, rays: Rays) -> tuple[Tensor, Tensor]:
    """Depth [R] and number of the surface [R] that each ray meets first; FAR where that is the sky."""
    depth, number = _leave_room(scene, rays)
    number = number + (len(scene.surfaces.shine) - FACES)
    for first, shapes in scene.families():
        nearest, index = shapes.nearest(rays)
        closer = nearest < depth
        depth, number = torch.where(closer, nearest, depth), torch.where(closer, index + first, number)
    return depth, number


def _leave_room(scene: Scene, rays: Rays) -> tuple[Tensor, Tensor]:
    """Depth and face where rays from inside meet the surrounding box."""
    half_width, height, half_depth = scene.room.unbind()
    zero = torch.zeros_like(height)
    low, high = torch.stack((-half_width, zero, -half_depth)), torch.stack((half_width, height, half_depth))
    safe = torch.where(rays.direction.abs() < 1e-9, 1e-9, rays.direction)
    ahead = torch.where(rays.direction > 0, (high - rays.origin) / safe, (low - rays.origin) / safe)
    depth, axis = ahead.min(1)
    positive = rays.direction.gather(1, axis[:, None])[:, 0] > 0
    face = axis * 2 + positive.long()
    if scene.open_sky:
        depth = torch.where((face == CEILING) | (depth > 1e3), FAR, depth)
    return depth, face


def _surface(scene: Scene, number: Tensor, place: Tensor, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
    """Place and normal as the texture sees them and the normal in the world, each [R, 3], at each hit."""
    face = (number - (len(scene.surfaces.shine) - FACES)).clamp(min=0)
    inward = (1.0 - 2.0 * (face % 2))[:, None]
    normal = torch.zeros_like(place).scatter_(1, (face // 2)[:, None], inward)
    local, own = place.clone(), normal.clone()
    for first, shapes in scene.families():
        here = ((number >= first) & (number < first + len(shapes))).nonzero()[:, 0]
        if len(here):
            found = shapes.surface(number[here] - first, place[here], rays.time[here])
            local[here], own[here], normal[here] = found
    return local, own, normal


def _albedo(scene: Scene, bank: TextureBank, number: Tensor, local: Tensor, own: Tensor, footprint: Tensor) -> Tensor:
    """RGB [R, 3]. footprint: metres that one pixel covers at each hit."""
    surfaces = scene.surfaces
    axis = own.abs().argmax(1)
    u = torch.where(axis == 0, local[:, 2], local[:, 0])
    v = torch.where(axis == 1, local[:, 2], -local[:, 1])
    uv = torch.stack((u, v), 1)
    colour = surfaces.tint[number]
    for layer in range(2):
        tile = surfaces.tile[number, layer]
        level = torch.log2((footprint * 1.5 * SIDE / tile).clamp(min=1.0)).long().clamp(max=LEVELS - 1)
        texel = bank.sample(surfaces.texture[number, layer], uv / tile[:, None] + 0.37, level)
        colour = colour * texel if layer == 0 else colour * (0.55 + 0.9 * texel.mean(1, keepdim=True))
    return colour


def _light(scene: Scene, place: Tensor, normal: Tensor, rays: Rays) -> tuple[Tensor, Tensor]:
    """Diffuse light [R, 3] and highlight [R, 3] at each hit."""
    light = scene.lighting
    hemisphere = 0.65 + 0.35 * normal[:, 1:2]
    fill = (normal @ light.fill).clamp(min=0)[:, None]
    diffuse, shine = light.ambient * hemisphere + light.fill_colour * fill, torch.zeros_like(place)
    seen = rays.direction / rays.direction.norm(dim=1, keepdim=True)
    for lamp, colour in zip(light.lights, light.light_colours, strict=True):
        direction = lamp - place
        direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-6)
        facing = (normal * direction).sum(1, keepdim=True).clamp(min=0)
        if light.shadows:
            facing = facing * _lit(scene, lamp, place, normal, rays.time, facing[:, 0] > 0)[:, None]
        half_way = direction - seen
        half_way = half_way / half_way.norm(dim=1, keepdim=True).clamp(min=1e-6)
        glint = (normal * half_way).sum(1, keepdim=True).clamp(min=0) ** 24 * (facing > 0)
        diffuse, shine = diffuse + colour * facing, shine + colour * glint
    return diffuse, shine


def _lit(scene: Scene, lamp: Tensor, place: Tensor, normal: Tensor, time: Tensor, facing: Tensor) -> Tensor:
    """1.0 where the lamp [3] is seen from `place` [R, 3], else 0.0; asked only where `facing` [R]."""
    lit = torch.ones_like(time)
    here = (facing & (place.abs().amax(1) < 1e3)).nonzero()[:, 0]
    if not len(here):
        return lit
    start = place[here] + normal[here] * 2e-3 * (1 + place[here].norm(dim=1, keepdim=True) * 0.02)
    towards = Rays(start, lamp - start, time[here])
    blocked = torch.zeros(len(here), dtype=torch.bool, device=time.device)
    for _, shapes in scene.families():
        blocked |= shapes.block(towards)
    lit[here] = (~blocked).float()
    return lit


def _sky_colour(scene: Scene, bank: TextureBank, direction: Tensor) -> Tensor:
    """RGB [R, 3] of the sky: a gradient with clouds."""
    up = direction / direction.norm(dim=1, keepdim=True)
    rise = up[:, 1:2].clamp(min=0)
    uv = up[:, [0, 2]] / (rise + 0.15) * 0.25
    index = scene.surfaces.texture[-1, 0].expand(len(up))
    clouds = bank.sample(index, uv, torch.ones_like(index)).mean(1, keepdim=True)
    colour = torch.lerp(scene.lighting.sky[0].expand_as(up), scene.lighting.sky[1].expand_as(up), rise**0.6)
    return colour * (0.88 + 0.24 * clouds)

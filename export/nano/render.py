"""Cast rays at convex solids inside a box (a room) or on a plain under the sky; exact depth, cheap light.

Every solid is a unit box, ball or cylinder under its own rotation and scale, so one ray enters it where three
(or two) intervals meet. Axes: x right, y up, z forward, metres. R rays, N solids.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from export.nano.textures import LEVELS, SIDE, TextureBank

BOX, BALL, CYLINDER = 0, 1, 2
FACES = 6
"""Faces of the surrounding box: -x, +x, floor, ceiling, -z, +z."""

FAR = 1e5
"""Farther than anything drawn; a ray that gets there has met the sky."""

RAYS_AT_ONCE = 6144
"""Rays traced together: what they need against 40 solids stays in a core's own cache (twice as fast as 49,152)."""


@dataclass(frozen=True, slots=True)
class Solids:
    """N solids, sorted by kind.

    kind: int64 [N]; centre: [N, 3]; turn: [N, 3, 3], columns are the solid's own axes; half: [N, 3] half extents;
    velocity: [N, 3] metres a frame.
    """

    kind: Tensor
    centre: Tensor
    turn: Tensor
    half: Tensor
    velocity: Tensor

    def at(self, time: float) -> Solids:
        """The solids after `time` frames."""
        return Solids(self.kind, self.centre + self.velocity * time, self.turn, self.half, self.velocity)

    def only(self, index: Tensor) -> Solids:
        """Some of the solids; ascending indices keep them sorted."""
        return Solids(self.kind[index], self.centre[index], self.turn[index], self.half[index], self.velocity[index])


@dataclass(frozen=True, slots=True)
class Surfaces:
    """How the N solids and then the six faces of the surrounding box look.

    texture: int64 [N+6, 2]; tile: [N+6, 2] metres that one tile of each covers; tint: [N+6, 3]; shine: [N+6].
    """

    texture: Tensor
    tile: Tensor
    tint: Tensor
    shine: Tensor


@dataclass(frozen=True, slots=True)
class Lighting:
    """sun: [3] position of the shadow-casting light; fill: [3] direction to a second light without shadow; colours [3].

    haze: fraction of light lost per metre. sky: [2, 3] colours at the horizon and at the zenith.
    """

    sun: Tensor
    sun_colour: Tensor
    fill: Tensor
    fill_colour: Tensor
    ambient: Tensor
    haze: float
    sky: Tensor
    shadows: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """room: [3] = half width, height, half depth of the surrounding box; its floor is y = 0.

    Where `open_sky`, the ceiling is the sky and so is everything beyond 1 km.
    """

    solids: Solids
    surfaces: Surfaces
    lighting: Lighting
    room: Tensor
    open_sky: bool


@dataclass(frozen=True, slots=True)
class View:
    """position: [3]; axes: [3, 3], rows right, up, forward; focal: focal length in units of the picture's width."""

    position: Tensor
    axes: Tensor
    focal: float


def render(scene: Scene, bank: TextureBank, view: View, time: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    """One picture. Returns linear RGB float32 [H, W, 3] >= 0 and inverse z-depth [H, W] in 1/m, 0 = sky."""
    solids = scene.solids.at(time)
    parts = [_shade(scene, bank, solids, view, rays, width) for rays in _rays(view, height, width).split(RAYS_AT_ONCE)]
    colour, inverse = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    return colour.reshape(height, width, 3), inverse.reshape(height, width)


def _shade(
    scene: Scene, bank: TextureBank, solids: Solids, view: View, rays: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """Colour [R, 3] and inverse z-depth [R] of a bundle of rays."""
    depth, surface = _first_hit(scene, _in_view(solids, view.position, rays), solids, view.position, rays)
    sky = depth >= FAR
    place = view.position + rays * depth.clamp(max=FAR)[:, None]
    local, normal = _normals(solids, surface, place)
    albedo = _albedo(scene, bank, solids, surface, local, normal, depth / (view.focal * width))
    light, shine = _light(scene, solids, place, normal, rays)
    colour = albedo * light + shine * scene.surfaces.shine[surface, None]
    far = _sky_colour(scene, bank, rays)
    seen = torch.exp(-scene.lighting.haze * depth.clamp(max=2e3))[:, None]
    colour = torch.lerp(scene.lighting.sky[0].expand_as(colour), colour, seen)
    colour = torch.where(sky[:, None], far, colour)
    return colour, torch.where(sky, 0.0, 1.0 / depth)


def _rays(view: View, height: int, width: int) -> Tensor:
    """[R, 3], scaled so that the ray parameter is z-depth."""
    scale = view.focal * width
    x = (torch.arange(width, device=view.axes.device) + 0.5 - width / 2) / scale
    y = (torch.arange(height, device=view.axes.device) + 0.5 - height / 2) / -scale
    right, up, forward = view.axes
    rays: Tensor = y[:, None, None] * up + x[:, None] * right + forward
    return rays.reshape(-1, 3)


def entry(solids: Solids, origin: Tensor, rays: Tensor) -> Tensor:
    """Ray parameter [R, N] where each ray enters each solid from outside, FAR where it does not.

    origin: [3] or [R, 3]; rays: [R, 3].
    """
    parts = []
    for kind in (BOX, BALL, CYLINDER):
        chosen = solids.kind == kind
        if not bool(chosen.any()):
            continue
        to_local = solids.turn[chosen] / solids.half[chosen, None, :]  # [n, 3, 3], world axis by local axis
        shift = torch.einsum("nw,nwl->nl", solids.centre[chosen], to_local)
        o = [origin @ to_local[:, :, axis].T - shift[:, axis] for axis in range(3)]
        d = [rays @ to_local[:, :, axis].T for axis in range(3)]
        near, far = _interval(kind, o, d)
        parts.append(torch.where((near < far) & (near > 1e-4), near, FAR))
    return torch.cat(parts, 1)


def _interval(kind: int, o: list[Tensor], d: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Entry and exit of a ray (o, d: three of [R, n] or broadcastable, in the solids' own frames)."""
    if kind == BOX:
        slabs = [_slab(o[axis], d[axis]) for axis in range(3)]
        near = torch.maximum(torch.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
        return near, torch.minimum(torch.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])
    axes = (0, 1, 2) if kind == BALL else (0, 2)
    a = sum((d[i] * d[i] for i in axes), torch.full_like(d[0], 1e-12))
    b = sum((o[i] * d[i] for i in axes), torch.zeros_like(d[0]))
    c = sum((o[i] * o[i] for i in axes), torch.full_like(o[0], -1.0))
    under = b * b - a * c
    root = under.clamp(min=0).sqrt()
    near = torch.where(under > 0, (-b - root) / a, FAR)
    far = (root - b) / a
    if kind == CYLINDER:
        low, high = _slab(o[1], d[1])
        near, far = torch.maximum(near, low), torch.minimum(far, high)
    return near, far


def _slab(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Where a ray is within -1 … 1 of one axis."""
    inverse = 1.0 / torch.where(d.abs() < 1e-9, 1e-9, d)
    middle, half = -o * inverse, inverse.abs()
    return middle - half, middle + half


def _in_view(solids: Solids, origin: Tensor, rays: Tensor) -> Tensor:
    """Indices of the solids whose bounding ball meets the cone around a bundle of rays."""
    units = rays / rays.norm(dim=1, keepdim=True)
    axis = units.mean(0) / units.mean(0).norm()
    widest = torch.acos((units @ axis).amin().clamp(-1, 1))
    offset, radius = solids.centre - origin, solids.half.norm(dim=1)
    distance = offset.norm(dim=1).clamp(min=1e-6)
    angle = torch.acos(((offset @ axis) / distance).clamp(-1, 1))
    reach = torch.asin((radius / distance).clamp(max=1.0))
    seen: Tensor = (radius >= distance) | (angle - reach <= widest)
    return seen.nonzero()[:, 0]


def _near_segment(solids: Solids, points: Tensor, light: Tensor) -> Tensor:
    """Indices of the solids that may stand between any of `points` [R, 3] and the light."""
    low, high = points.amin(0), points.amax(0)
    middle, spread = (low + high) / 2, (high - low).norm() / 2
    segment = light - middle
    offset = solids.centre - middle
    share = ((offset @ segment) / segment.dot(segment).clamp(min=1e-9)).clamp(0, 1)
    distance = (offset - share[:, None] * segment).norm(dim=1)
    near: Tensor = distance <= spread + solids.half.norm(dim=1)
    return near.nonzero()[:, 0]


def _first_hit(scene: Scene, chosen: Tensor, solids: Solids, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Depth [R] and surface index [R] of what each ray meets first among `chosen`; FAR where that is the sky."""
    depth, surface = _leave_room(scene, origin, rays)
    surface = surface + len(solids.kind)
    if len(chosen):
        nearest, index = entry(solids.only(chosen), origin, rays).min(1)
        closer = nearest < depth
        depth, surface = torch.where(closer, nearest, depth), torch.where(closer, chosen[index], surface)
    return depth, surface


def _leave_room(scene: Scene, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Depth and face where rays from inside meet the surrounding box."""
    half_width, height, half_depth = scene.room.tolist()
    low = rays.new_tensor([-half_width, 0.0, -half_depth])
    high = rays.new_tensor([half_width, height, half_depth])
    safe = torch.where(rays.abs() < 1e-9, 1e-9, rays)
    ahead = torch.where(rays > 0, (high - origin) / safe, (low - origin) / safe)
    depth, axis = ahead.min(1)
    positive = rays.gather(1, axis[:, None])[:, 0] > 0
    face = axis * 2 + positive.long()
    if scene.open_sky:
        depth = torch.where((face == 3) | (depth > 1e3), FAR, depth)
    return depth, face


def _normals(solids: Solids, surface: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Place in the surface's own frame [R, 3] (metres) and outward world normal [R, 3]."""
    count = len(solids.kind)
    face = (surface - count).clamp(min=0)
    wall = surface >= count
    axis_normal = torch.zeros_like(place).scatter_(1, (face // 2)[:, None], (1.0 - 2.0 * (face % 2))[:, None])
    if not count:
        return place, axis_normal
    index = surface.clamp(max=count - 1)
    turn, half = solids.turn[index], solids.half[index]
    local = torch.einsum("rw,rwl->rl", place - solids.centre[index], turn)
    unit = local / half
    kind = solids.kind[index][:, None]
    box = unit * (unit.abs() >= unit.abs().amax(1, keepdim=True))
    cap = unit[:, 1:2].abs() > 0.9995
    side = unit * unit.new_tensor([1.0, 0.0, 1.0])
    tube = torch.where(cap, unit * unit.new_tensor([0.0, 1.0, 0.0]), side)
    own = torch.where(kind == BOX, box, torch.where(kind == BALL, unit, tube)) / half
    normal = torch.einsum("rwl,rl->rw", turn, own)
    normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-9)
    wall = wall[:, None]
    return torch.where(wall, place, local), torch.where(wall, axis_normal, normal)


def _albedo(
    scene: Scene, bank: TextureBank, solids: Solids, surface: Tensor, local: Tensor, normal: Tensor, footprint: Tensor
) -> Tensor:
    """RGB [R, 3]. footprint: metres that one pixel covers at each hit."""
    surfaces = scene.surfaces
    count = len(solids.kind)
    own = normal
    if count:
        turned = torch.einsum("rw,rwl->rl", normal, solids.turn[surface.clamp(max=count - 1)])
        own = torch.where((surface >= count)[:, None], normal, turned)
    axis = own.abs().argmax(1)
    u = torch.where(axis == 0, local[:, 2], local[:, 0])
    v = torch.where(axis == 1, local[:, 2], -local[:, 1])
    uv = torch.stack((u, v), 1)
    colour = surfaces.tint[surface]
    for layer in range(2):
        tile = surfaces.tile[surface, layer]
        level = torch.log2((footprint * 1.5 * SIDE / tile).clamp(min=1.0)).long().clamp(max=LEVELS - 1)
        texel = bank.sample(surfaces.texture[surface, layer], uv / tile[:, None] + 0.37, level)
        colour = colour * texel if layer == 0 else colour * (0.55 + 0.9 * texel.mean(1, keepdim=True))
    return colour


def _light(scene: Scene, solids: Solids, place: Tensor, normal: Tensor, rays: Tensor) -> tuple[Tensor, Tensor]:
    """Diffuse light [R, 3] and highlight [R, 3] at each hit."""
    light = scene.lighting
    towards = light.sun - place
    distance = towards.norm(dim=1, keepdim=True).clamp(min=1e-6)
    direction = towards / distance
    facing = (normal * direction).sum(1, keepdim=True).clamp(min=0)
    near = place[place.abs().amax(1) < 1e3]
    casting = _near_segment(solids, near, light.sun) if light.shadows and len(near) else solids.kind[:0]
    if len(casting):
        start = place + normal * 2e-3 * (1 + place.norm(dim=1, keepdim=True) * 0.02)
        blocked = entry(solids.only(casting), start, light.sun - start).amin(1) < 0.999
        facing = facing * (~blocked)[:, None]
    half_way = direction - rays / rays.norm(dim=1, keepdim=True)
    half_way = half_way / half_way.norm(dim=1, keepdim=True).clamp(min=1e-6)
    glint = (normal * half_way).sum(1, keepdim=True).clamp(min=0) ** 24 * (facing > 0)
    hemisphere = 0.65 + 0.35 * normal[:, 1:2]
    fill = (normal @ light.fill).clamp(min=0)[:, None]
    return light.ambient * hemisphere + light.sun_colour * facing + light.fill_colour * fill, light.sun_colour * glint


def _sky_colour(scene: Scene, bank: TextureBank, rays: Tensor) -> Tensor:
    """RGB [R, 3] of the sky: a gradient with clouds."""
    up = rays / rays.norm(dim=1, keepdim=True)
    rise = up[:, 1:2].clamp(min=0)
    uv = up[:, [0, 2]] / (rise + 0.15) * 0.25
    index = scene.surfaces.texture[-1, 0].expand(len(rays))
    clouds = bank.sample(index, uv, torch.ones_like(index)).mean(1, keepdim=True)
    colour = torch.lerp(scene.lighting.sky[0].expand_as(rays), scene.lighting.sky[1].expand_as(rays), rise**0.6)
    return colour * (0.88 + 0.24 * clouds)


def look(yaw: float, pitch: float, roll: float) -> Tensor:
    """Camera axes [3, 3] (rows right, up, forward); angles in radians, pitch up and roll clockwise positive."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    forward = torch.tensor([sy * cp, sp, cy * cp])
    right = torch.tensor([cy, 0.0, -sy])
    up = torch.linalg.cross(forward, right)
    cr, sr = math.cos(roll), math.sin(roll)
    return torch.stack((cr * right - sr * up, sr * right + cr * up, forward))

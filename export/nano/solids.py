"""Boxes, balls and cylinders: where rays enter them.

Every solid is a unit box, ball or cylinder under its own rotation and scale, so one ray enters it where three
(or two) intervals meet. R rays, N solids.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from export.nano.rays import FAR, Rays

BOX, BALL, CYLINDER = 0, 1, 2


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

    def __len__(self) -> int:
        return len(self.kind)

    def only(self, index: Tensor) -> Solids:
        """Some of the solids; ascending indices keep them sorted."""
        return Solids(self.kind[index], self.centre[index], self.turn[index], self.half[index], self.velocity[index])

    def to(self, device: torch.device) -> Solids:
        """The same on another device."""
        moved = [x.to(device) for x in (self.kind, self.centre, self.turn, self.half, self.velocity)]
        return Solids(moved[0], moved[1], moved[2], moved[3], moved[4])

    def nearest(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """z-depth [R] (FAR = none) and index [R] of the solid that each ray enters first."""
        chosen = in_view(self, rays)
        if not len(chosen):
            return torch.full_like(rays.time, FAR), torch.zeros_like(rays.time, dtype=torch.int64)
        depth, index = entry(self.only(chosen), rays).min(1)
        return depth, chosen[index]

    def block(self, rays: Rays) -> Tensor:
        """Whether each ray enters a solid before its parameter reaches 0.999; for shadows, all to one light."""
        chosen = near_segments(self, rays)
        if not len(chosen):
            return torch.zeros_like(rays.time, dtype=torch.bool)
        return entry(self.only(chosen), rays).amin(1) < 0.999

    def surface(self, index: Tensor, place: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of solids `index` [R] at places [R, 3]: place and normal in the solid's own axes, and normal in the world."""
        turn, half = self.turn[index], self.half[index]
        centre = self.centre[index] + self.velocity[index] * time[:, None]
        local = torch.einsum("rw,rwl->rl", place - centre, turn)
        unit, kind = local / half, self.kind[index][:, None]
        box = unit * (unit.abs() >= unit.abs().amax(1, keepdim=True))
        cap = unit[:, 1:2].abs() > 0.9995
        side = unit * unit.new_tensor([1.0, 0.0, 1.0])
        tube = torch.where(cap, unit * unit.new_tensor([0.0, 1.0, 0.0]), side)
        own = torch.where(kind == BOX, box, torch.where(kind == BALL, unit, tube)) / half
        own = own / own.norm(dim=1, keepdim=True).clamp(min=1e-9)
        return local, own, torch.einsum("rwl,rl->rw", turn, own)


def entry(solids: Solids, rays: Rays) -> Tensor:
    """Ray parameter [R, N] where each ray enters each solid from outside, FAR where it does not."""
    parts = []
    moving = bool((solids.velocity != 0).any())
    for kind in (BOX, BALL, CYLINDER):
        chosen = solids.kind == kind
        if not bool(chosen.any()):
            continue
        to_local = solids.turn[chosen] / solids.half[chosen, None, :]  # [n, 3, 3], world axis by local axis
        shift = torch.einsum("nw,nwl->nl", solids.centre[chosen], to_local)
        o = [rays.origin @ to_local[:, :, axis].T - shift[:, axis] for axis in range(3)]
        if moving:
            drift = torch.einsum("nw,nwl->nl", solids.velocity[chosen], to_local)
            o = [o[axis] - rays.time[:, None] * drift[:, axis] for axis in range(3)]
        d = [rays.direction @ to_local[:, :, axis].T for axis in range(3)]
        near, far = _interval(kind, o, d)
        parts.append(torch.where((near < far) & (near > 1e-4), near, FAR))
    return torch.cat(parts, 1)


def in_view(solids: Solids, rays: Rays) -> Tensor:
    """Indices of the solids whose bounding ball meets the cone around a bundle of rays."""
    units = rays.direction / rays.direction.norm(dim=1, keepdim=True)
    axis = units.mean(0) / units.mean(0).norm().clamp(min=1e-6)
    widest = torch.acos((units @ axis).amin().clamp(-1, 1))
    origin, slack = _spread(rays.origin)
    middle, moved = _path(solids, rays.time)
    offset, radius = middle - origin, solids.half.norm(dim=1) + moved + slack
    distance = offset.norm(dim=1).clamp(min=1e-6)
    angle = torch.acos(((offset @ axis) / distance).clamp(-1, 1))
    reach = torch.asin((radius / distance).clamp(max=1.0))
    seen: Tensor = (radius >= distance) | (angle - reach <= widest)
    return seen.nonzero()[:, 0]


def near_segments(solids: Solids, rays: Rays) -> Tensor:
    """Indices of the solids that may stand between any ray's origin and the one light that all of them end at."""
    near = rays.origin.abs().amax(1) < 1e3
    if not bool(near.any()):
        return near.nonzero()[:0, 0]
    middle, spread = _spread(rays.origin[near])
    segment = rays.at(torch.ones_like(rays.time))[near][0] - middle
    centre, moved = _path(solids, rays.time)
    offset = centre - middle
    share = ((offset @ segment) / segment.dot(segment).clamp(min=1e-9)).clamp(0, 1)
    distance = (offset - share[:, None] * segment).norm(dim=1)
    seen: Tensor = distance <= spread + moved + solids.half.norm(dim=1)
    return seen.nonzero()[:, 0]


def _spread(places: Tensor) -> tuple[Tensor, Tensor]:
    """Middle [3] and radius of a ball around places [R, 3]."""
    low, high = places.amin(0), places.amax(0)
    return (low + high) / 2, (high - low).norm() / 2


def _path(solids: Solids, time: Tensor) -> tuple[Tensor, Tensor]:
    """Middle [N, 3] of each solid's way during these times, and half its length [N]."""
    first, last = time.amin(), time.amax()
    return solids.centre + solids.velocity * (first + last) / 2, solids.velocity.norm(dim=1) * (last - first) / 2


def _interval(kind: int, o: list[Tensor], d: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Entry and exit of a ray (o, d: three of [R, n], in the solids' own frames)."""
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

"""Capsules whose ends may walk and swing: the limbs of people. R rays, M capsules."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from export.nano.rays import FAR, Rays


@dataclass(frozen=True, slots=True)
class Capsules:
    """ends: [M, 2, 3] and radius: [M]; both ends move by velocity [M, 3] metres a frame and swing about their way:
    swing [M, 2, 3] times the sine of `rate` [M] · time + `phase` [M].
    """

    ends: Tensor
    radius: Tensor
    velocity: Tensor
    swing: Tensor
    rate: Tensor
    phase: Tensor

    def __len__(self) -> int:
        return len(self.radius)

    def to(self, device: torch.device) -> Capsules:
        """The same on another device."""
        fields = (self.ends, self.radius, self.velocity, self.swing, self.rate, self.phase)
        ends, radius, velocity, swing, rate, phase = (x.to(device) for x in fields)
        return Capsules(ends, radius, velocity, swing, rate, phase)

    def only(self, index: Tensor) -> Capsules:
        """Some of the capsules."""
        fields = (self.ends, self.radius, self.velocity, self.swing, self.rate, self.phase)
        ends, radius, velocity, swing, rate, phase = (x[index] for x in fields)
        return Capsules(ends, radius, velocity, swing, rate, phase)

    def at(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends [R, M, 3] at times [R]."""
        wave = torch.sin(self.rate * time[:, None] + self.phase)[..., None]
        base = self.velocity * time[:, None, None]
        return (
            self.ends[:, 0] + base + self.swing[:, 0] * wave,
            self.ends[:, 1] + base + self.swing[:, 1] * wave,
        )

    def nearest(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """z-depth [R] (FAR = none) and index [R] of the capsule that each ray enters first."""
        depth = torch.full_like(rays.time, FAR)
        index = torch.zeros_like(rays.time, dtype=torch.int64)
        where = self._close(rays).nonzero()[:, 0]
        if len(where):
            found, first = entry(self, Rays(rays.origin[where], rays.direction[where], rays.time[where])).min(1)
            depth[where], index[where] = found, first
        return depth, index

    def block(self, rays: Rays) -> Tensor:
        """Whether each ray enters a capsule before its parameter reaches 0.999."""
        return self.nearest(rays)[0] < 0.999

    def surface(self, index: Tensor, place: Tensor, time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of capsules `index` [R] at places [R, 3]: place and normal as the texture sees them, and the normal."""
        a, b = self.only(index)._own(time)
        bone = b - a
        share = ((place - a) * bone).sum(1, keepdim=True) / (bone * bone).sum(1, keepdim=True).clamp(min=1e-9)
        normal = place - a - share.clamp(0, 1) * bone
        normal = normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-9)
        return place - a, normal, normal

    def _own(self, time: Tensor) -> tuple[Tensor, Tensor]:
        """Ends [M, 3] where capsule m is asked at its own time [m]."""
        wave = torch.sin(self.rate * time + self.phase)[:, None]
        base = self.velocity * time[:, None]
        return self.ends[:, 0] + base + self.swing[:, 0] * wave, self.ends[:, 1] + base + self.swing[:, 1] * wave

    def _close(self, rays: Rays) -> Tensor:
        """Whether each ray [R] passes the ball around all capsules at all of these times."""
        low, high = rays.time.amin(), rays.time.amax()
        reach = self.radius[:, None, None] + self.swing.abs().amax((1, 2))[:, None, None]
        moved = torch.stack((self.ends + self.velocity[:, None] * low, self.ends + self.velocity[:, None] * high))
        least, most = (moved - reach).flatten(0, 2).amin(0), (moved + reach).flatten(0, 2).amax(0)
        safe = torch.where(rays.direction.abs() < 1e-9, 1e-9, rays.direction)
        first, second = (least - rays.origin) / safe, (most - rays.origin) / safe
        enter = torch.minimum(first, second).amax(1)
        leave = torch.maximum(first, second).amin(1)
        return (enter < leave) & (leave > 0)


def entry(capsules: Capsules, rays: Rays) -> Tensor:
    """Ray parameter [R, M] where each ray enters each capsule from outside, FAR where it does not."""
    a, b = capsules.at(rays.time)
    d = rays.direction[:, None]
    dd = (d * d).sum(2)
    # measured from the ray's point nearest to the capsule: far away, float32 would lose thin limbs
    near = (((a + b) / 2 - rays.origin[:, None]) * d).sum(2) / dd
    o = rays.origin[:, None] + near[..., None] * d
    bone, r2 = b - a, capsules.radius**2
    oa, ob = o - a, o - b
    bb, bd, bo = (bone * bone).sum(2).clamp(min=1e-9), (bone * d).sum(2), (bone * oa).sum(2)
    do, oo = (d * oa).sum(2), (oa * oa).sum(2)
    qa, qb, qc = bb * dd - bd * bd, bb * do - bo * bd, bb * oo - bo * bo - r2 * bb
    under = qb * qb - qa * qc
    body = (-qb - under.clamp(min=0).sqrt()) / qa.clamp(min=1e-12)
    along = bo + body * bd
    on_body = (under > 0) & (along > 0) & (along < bb)
    start, end = _ball(oa, d, dd, r2), _ball(ob, d, dd, r2)
    t = torch.where(on_body, body, torch.minimum(start, end)) + near
    return torch.where(t > 1e-4, t, FAR).clamp(max=FAR)


def _ball(o: Tensor, d: Tensor, dd: Tensor, r2: Tensor) -> Tensor:
    """Entry into a ball of squared radius r2 about the origin; 2 · FAR where the ray misses."""
    b, c = (o * d).sum(2), (o * o).sum(2) - r2
    under = b * b - dd * c
    return torch.where(under > 0, (-b - under.clamp(min=0).sqrt()) / dd, 2 * FAR)

"""Ground as a height field, found by marching along the ray and halving the last step. R rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from export.nano.rays import FAR, Rays

GRID = 96
STEPS, HALVINGS = 56, 14
FIRST, LAST = 0.15, 1200.0
"""Nearest and farthest depth in metres that a ray is marched through."""


@dataclass(frozen=True, slots=True)
class Terrain:
    """heights: [96, 96] metres over the square -side … side of x (columns) and z (rows); 0 beyond."""

    heights: Tensor
    side: float

    def __len__(self) -> int:
        return 1

    def to(self, device: torch.device) -> Terrain:
        """The same on another device."""
        return Terrain(self.heights.to(device), self.side)

    def height(self, x: Tensor, z: Tensor) -> Tensor:
        """Height at places given by x and z of the same shape."""
        place = torch.stack((x.flatten(), z.flatten()), 1)[None, :, None] / self.side
        found = F.grid_sample(self.heights[None, None], place, "bilinear", "zeros", align_corners=True)
        heights: Tensor = found.reshape(x.shape)
        return heights

    def nearest(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """z-depth [R] where each ray first goes below the ground, FAR where it does not; and index 0 for all."""
        depth, none = torch.full_like(rays.time, FAR), torch.zeros_like(rays.time, dtype=torch.int64)
        top = float(self.heights.max())
        lowest = torch.minimum(rays.origin[:, 1], rays.origin[:, 1] + rays.direction[:, 1] * LAST)
        where = (lowest < top).nonzero()[:, 0]
        if len(where):
            found = march(self, Rays(rays.origin[where], rays.direction[where], rays.time[where]))
            depth[where] = found
        return depth, none

    def block(self, rays: Rays) -> Tensor:
        """Whether the ground stands between each ray's origin and its light; looked for within 60 m."""
        length = rays.direction.norm(dim=1, keepdim=True).clamp(min=1e-6)
        share = torch.linspace(0.03, 1.0, 12, device=rays.time.device) ** 2 * 60.0
        reach = torch.minimum(share[None], length)
        places = rays.origin[:, None] + (rays.direction / length)[:, None] * reach[..., None]
        blocked: Tensor = (self.height(places[..., 0], places[..., 2]) > places[..., 1] + 0.02).any(1)
        return blocked

    def surface(self, _index: Tensor, place: Tensor, _time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Place, normal as the texture sees it (upwards) and normal at places [R, 3]."""
        step = self.side / GRID
        x, z = place[:, 0], place[:, 2]
        slope_x = (self.height(x + step, z) - self.height(x - step, z)) / (2 * step)
        slope_z = (self.height(x, z + step) - self.height(x, z - step)) / (2 * step)
        normal = torch.stack((-slope_x, torch.ones_like(x), -slope_z), 1)
        up = torch.zeros_like(place)
        up[:, 1] = 1.0
        return place, up, normal / normal.norm(dim=1, keepdim=True)


def march(terrain: Terrain, rays: Rays) -> Tensor:
    """z-depth [R] of the first sampled crossing, to about 1e-5 of itself."""
    steps = torch.logspace(0, 1, STEPS, LAST / FIRST, device=rays.time.device) * FIRST
    above = _over(terrain, rays, steps.expand(len(rays), STEPS))
    under = above <= 0
    found, first = under.max(1)
    far = steps[first]
    near = steps[(first - 1).clamp(min=0)] * (first > 0)
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        below = _over(terrain, rays, middle[:, None])[:, 0] <= 0
        far, near = torch.where(below, middle, far), torch.where(below, near, middle)
    return torch.where(found, far, FAR)


def _over(terrain: Terrain, rays: Rays, depth: Tensor) -> Tensor:
    """Height above the ground [R, k] at depths [R, k]."""
    x, y, z = (rays.origin[:, i : i + 1] + rays.direction[:, i : i + 1] * depth for i in range(3))
    return y - terrain.height(x, z)


def make_terrain(rng: Generator, side: float, relief: float) -> Terrain:
    """Random hills up to `relief` metres that fade out towards the edge of the square."""
    total = torch.zeros(GRID, GRID)
    for octave in range(5):
        cells = 3 << octave
        if cells > GRID:
            break
        noise = torch.rand(1, 1, cells, cells, generator=rng)
        total += 0.45**octave * F.interpolate(noise, size=(GRID, GRID), mode="bicubic", align_corners=True)[0, 0]
    total = (total - total.amin()) / (total.amax() - total.amin())
    line = torch.linspace(-1, 1, GRID)
    rim = ((1 - line.abs()) / 0.25).clamp(0, 1)
    smooth = rim * rim * (3 - 2 * rim)
    return Terrain(total * relief * smooth[:, None] * smooth, side)

"""Flat cards with holes: leaves, grass, fences. R rays, K cards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from export.nano.rays import FAR, Rays

MASK = 48
"""Cells a side of a card's mask."""


@dataclass(frozen=True, slots=True)
class Cards:
    """centre: [K, 3]; turn: [K, 3, 3], columns across, up and out of the card; half: [K, 2]; mask: int64 [K];
    masks: bool [n, 48, 48], True where there is matter.
    """

    centre: Tensor
    turn: Tensor
    half: Tensor
    mask: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def to(self, device: torch.device) -> Cards:
        """The same on another device."""
        moved = [x.to(device) for x in (self.centre, self.turn, self.half, self.mask, self.masks)]
        return Cards(moved[0], moved[1], moved[2], moved[3], moved[4])

    def nearest(self, rays: Rays) -> tuple[Tensor, Tensor]:
        """z-depth [R] (FAR = none) and index [R] of the card that each ray meets first."""
        depth, index = crossing(self, rays).min(1)
        return depth, index

    def block(self, rays: Rays) -> Tensor:
        """Whether each ray meets a card before its parameter reaches 0.999."""
        return crossing(self, rays).amin(1) < 0.999

    def surface(self, index: Tensor, place: Tensor, _time: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of cards `index` [R] at places [R, 3]: place and normal in the card's axes, and the normal.

        The normal points up, as leaves are lit: what turns them one by one is too fine for a card.
        """
        local = torch.einsum("rw,rwl->rl", place - self.centre[index], self.turn[index])
        own = torch.zeros_like(local)
        own[:, 2] = 1.0
        up = torch.zeros_like(local)
        up[:, 1] = 1.0
        mixed = self.turn[index][:, :, 2] * 0.5 + up
        return local, own, mixed / mixed.norm(dim=1, keepdim=True).clamp(min=1e-6)


def crossing(cards: Cards, rays: Rays) -> Tensor:
    """Ray parameter [R, K] where each ray meets each card's matter, FAR where it does not."""
    across, up, out = cards.turn.unbind(2)
    shift = cards.centre
    oz = rays.origin @ out.T - (shift * out).sum(1)
    dz = rays.direction @ out.T
    t = -oz / torch.where(dz.abs() < 1e-9, 1e-9, dz)
    x = (rays.origin @ across.T - (shift * across).sum(1) + t * (rays.direction @ across.T)) / cards.half[:, 0]
    y = (rays.origin @ up.T - (shift * up).sum(1) + t * (rays.direction @ up.T)) / cards.half[:, 1]
    hit = (t > 1e-4) & (x.abs() < 1) & (y.abs() < 1)
    found = torch.full_like(t, FAR)
    ray, card = hit.nonzero().unbind(1)
    column = ((x[ray, card] + 1) * (MASK / 2)).long().clamp(0, MASK - 1)
    row = ((y[ray, card] + 1) * (MASK / 2)).long().clamp(0, MASK - 1)
    solid = cards.masks[cards.mask[card], row, column]
    found[ray[solid], card[solid]] = t[ray[solid], card[solid]]
    return found


def make_masks(rng: Generator, count: int) -> Tensor:
    """`count` random masks, bool [count, 48, 48]: leaves in clumps, blades of grass, lattices by turns."""
    return torch.stack([(_leaves, _leaves, _blades, _lattice)[index % 4](rng) for index in range(count)])


def _grid() -> tuple[Tensor, Tensor]:
    line = (torch.arange(MASK) + 0.5) / MASK * 2 - 1
    return line[:, None].expand(MASK, MASK), line.expand(MASK, MASK)


def _leaves(rng: Generator) -> Tensor:
    y, x = _grid()
    cells = 6 + int(torch.randint(0, 8, (1,), generator=rng))
    field = F.interpolate(torch.rand(1, 1, cells, cells, generator=rng), size=(MASK, MASK), mode="bicubic")[0, 0]
    return (field > 0.28 + 0.35 * (x * x + y * y)) & (x * x + y * y < 1)


def _blades(rng: Generator) -> Tensor:
    y, x = _grid()
    mask = torch.zeros(MASK, MASK, dtype=torch.bool)
    for _ in range(14):
        foot, lean, tall, thick = torch.rand(4, generator=rng).tolist()
        rise = (y + 1) / 2
        middle = (foot * 2 - 1) * 0.8 + (lean - 0.5) * rise * rise
        mask |= ((x - middle).abs() < (0.02 + 0.06 * thick) * (1 - rise)) & (rise < 0.4 + 0.6 * tall)
    return mask


def _lattice(rng: Generator) -> Tensor:
    y, x = _grid()
    bars, thick = 3 + int(torch.randint(0, 6, (1,), generator=rng)), 0.12 + 0.25 * float(torch.rand(1, generator=rng))
    rails = (y.abs() > 0.7) & (y.abs() < 0.85)
    return (((x + 1) / 2 * bars) % 1.0 < thick) | rails

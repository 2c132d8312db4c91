"""Random surface textures: a bank of small tiling pictures with mip levels, drawn anew for every shard of data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

SIDE = 128
LEVELS = 6
"""Mip levels: 128, 64, … 4 texels a side."""


@dataclass(frozen=True, slots=True)
class TextureBank:
    """texels: float32 [sum of level sizes, 3], linear RGB in [0, 1]; level l starts at `offsets[l]`."""

    texels: Tensor
    offsets: Tensor
    count: int

    def to(self, device: torch.device) -> TextureBank:
        """The bank on another device."""
        return TextureBank(self.texels.to(device), self.offsets.to(device), self.count)

    def sample(self, index: Tensor, uv: Tensor, level: Tensor) -> Tensor:
        """Bilinear in one mip level. index: int64 [R]; uv: [R, 2] in tiles; level: int64 [R]. Returns RGB [R, 3]."""
        side = (SIDE >> level).unsqueeze(1)
        place = (uv - uv.floor()) * side - 0.5
        low = place.floor()
        blend = place - low
        x0, y0 = (low.long() % side).unbind(1)
        x1, y1 = ((low.long() + 1) % side).unbind(1)
        side = side[:, 0]
        base = self.offsets[level] + index * side * side
        fx, fy = blend[:, :1], blend[:, 1:]
        upper = torch.lerp(self.texels[base + y0 * side + x0], self.texels[base + y0 * side + x1], fx)
        lower = torch.lerp(self.texels[base + y1 * side + x0], self.texels[base + y1 * side + x1], fx)
        return torch.lerp(upper, lower, fy)


def make_bank(count: int, rng: Generator, photos: Tensor | None = None) -> TextureBank:
    """`count` random textures; `photos` (float32 [n, 3, 128, 128] in [0, 1]), where given, make up a fifth of them.

    Texture 0 is plain white: what carries only its tint.
    """
    pictures = [torch.full((3, SIDE, SIDE), 0.9)]
    for _ in range(count - 1):
        if photos is not None and _uniform(rng) < 0.2:
            pictures.append(photos[_integer(rng, len(photos))] ** 2.2)
        else:
            pictures.append(_KINDS[_integer(rng, len(_KINDS))](rng).clamp(0.02, 0.98))
    level = torch.stack(pictures)
    levels, offsets, total = [], [], 0
    for _ in range(LEVELS):
        flat = level.permute(0, 2, 3, 1).reshape(-1, 3)
        levels.append(flat)
        offsets.append(total)
        total += len(flat)
        level = F.avg_pool2d(level, 2)
    return TextureBank(torch.cat(levels), torch.tensor(offsets), count)


def noise(rng: Generator, octaves: int, lowest: int, gain: float) -> Tensor:
    """Tiling fractal noise [128, 128], roughly uniform in [0, 1]."""
    total = torch.zeros(SIDE, SIDE)
    for octave in range(octaves):
        cells = min(lowest << octave, SIDE)
        grid = torch.rand(1, 1, cells, cells, generator=rng)
        wide = F.pad(grid, (1, 1, 1, 1), mode="circular") if cells > 1 else grid.expand(1, 1, 3, 3)
        scale = SIDE // cells
        fine = F.interpolate(wide, scale_factor=scale, mode="bicubic", align_corners=False)
        total += gain**octave * fine[0, 0, scale : scale + SIDE, scale : scale + SIDE]
    return (total - total.amin()) / (total.amax() - total.amin() + 1e-6)


def random_colour(rng: Generator) -> Tensor:
    """RGB [3]: mostly muted, sometimes strong, dark to bright."""
    value = 0.04 + 0.9 * torch.rand(1, generator=rng) ** 1.4
    spread = 0.6 * _uniform(rng) ** 2
    return (value * (1 + spread * (torch.rand(3, generator=rng) * 2 - 1))).clamp(0.02, 0.98)


def _uniform(rng: Generator) -> float:
    return float(torch.rand(1, generator=rng))


def _integer(rng: Generator, below: int) -> int:
    return int(torch.randint(below, (1,), generator=rng))


def _mix(mask: Tensor, rng: Generator) -> Tensor:
    """mask [128, 128] between two random colours: [3, 128, 128]."""
    a, b = random_colour(rng), random_colour(rng)
    return torch.lerp(a[:, None, None], b[:, None, None], mask)


def _grid() -> tuple[Tensor, Tensor]:
    line = torch.arange(SIDE) / SIDE
    return line[:, None].expand(SIDE, SIDE), line.expand(SIDE, SIDE)


def _plain(rng: Generator) -> Tensor:
    grain = noise(rng, 3, 16, 0.9) - 0.5
    return random_colour(rng)[:, None, None] + 0.06 * _uniform(rng) * grain


def _cloudy(rng: Generator) -> Tensor:
    return _mix(noise(rng, 5, 2 << _integer(rng, 3), 0.4 + 0.4 * _uniform(rng)), rng)


def _grass(rng: Generator) -> Tensor:
    green = torch.tensor([0.12, 0.2, 0.05]) * (0.5 + 1.5 * torch.rand(3, generator=rng))
    return green[:, None, None] * (0.4 + 1.2 * noise(rng, 4, 16, 0.9))


def _stripes(rng: Generator) -> Tensor:
    y, x = _grid()
    count = 1 + _integer(rng, 12)
    wave = (x if _uniform(rng) < 0.5 else y) * count + 0.15 * _uniform(rng) * noise(rng, 3, 4, 0.5)
    return _mix(((wave % 1.0) < 0.2 + 0.6 * _uniform(rng)).float(), rng)


def _checks(rng: Generator) -> Tensor:
    y, x = _grid()
    count = 1 + _integer(rng, 6)
    return _mix((((x * 2 * count).floor() + (y * 2 * count).floor()) % 2), rng) * (0.8 + 0.3 * noise(rng, 3, 8, 0.7))


def _bricks(rng: Generator) -> Tensor:
    y, x = _grid()
    rows, columns = 2 * (1 + _integer(rng, 6)), 1 + _integer(rng, 6)
    row = (y * rows).floor()
    across = x * columns + 0.5 * (row % 2) * float(_uniform(rng) < 0.7)
    gap = 0.03 + 0.08 * _uniform(rng)
    mortar = (((y * rows) % 1.0 < gap * 1.5) | (across % 1.0 < gap)).float()
    shade = torch.rand(rows, columns, generator=rng)[row.long(), across.floor().long() % columns]
    return _mix(mortar, rng) * (0.75 + 0.35 * shade * _uniform(rng) + 0.2 * noise(rng, 3, 16, 0.8))


def _wood(rng: Generator) -> Tensor:
    y, _ = _grid()
    warp = noise(rng, 3, 1, 0.5)
    rings = torch.sin((y * (1 + _integer(rng, 4)) + warp * (0.5 + 2 * _uniform(rng))) * 12.0) * 0.5 + 0.5
    base = torch.tensor([0.45, 0.26, 0.13]) * (0.3 + 1.4 * _uniform(rng))
    return base[:, None, None] * (0.7 + 0.5 * rings * _uniform(rng) + 0.2 * noise(rng, 3, 16, 0.8))


def _facade(rng: Generator) -> Tensor:
    y, x = _grid()
    rows, columns = 1 + _integer(rng, 4), 1 + _integer(rng, 4)
    wide, high = 0.3 + 0.5 * _uniform(rng), 0.3 + 0.5 * _uniform(rng)
    inside = ((x * columns) % 1.0 < wide) & ((y * rows) % 1.0 < high)
    lit = torch.rand(rows, columns, generator=rng)[(y * rows).long(), (x * columns).long()]
    wall = random_colour(rng)[:, None, None] * (0.85 + 0.3 * noise(rng, 3, 8, 0.8))
    glass = random_colour(rng)[:, None, None] * (0.2 + lit)
    return torch.where(inside, glass, wall)


def _text(rng: Generator) -> Tensor:
    y, x = _grid()
    rows = 6 + _integer(rng, 12)
    marks = torch.rand(rows, 32, generator=rng)[(y * rows).long(), (x * 32).long()] < 0.7
    ink = marks & ((y * rows) % 1.0 < 0.5) & (x > 0.08) & (x < 0.6 + 0.4 * _uniform(rng))
    return _mix(ink.float(), rng)


def _poster(rng: Generator) -> Tensor:
    y, x = _grid()
    picture = _cloudy(rng)
    for _ in range(3 + _integer(rng, 8)):
        cx, cy, rx, ry = torch.rand(4, generator=rng).tolist()
        dx, dy = (x - cx) / (0.05 + 0.3 * rx), (y - cy) / (0.05 + 0.3 * ry)
        shape = dx**2 + dy**2 < 1 if _uniform(rng) < 0.5 else (dx.abs() < 1) & (dy.abs() < 1)
        picture = torch.where(shape, random_colour(rng)[:, None, None], picture)
    return picture


def _speckle(rng: Generator) -> Tensor:
    return _mix((noise(rng, 2, 32, 0.8) > 0.3 + 0.5 * _uniform(rng)).float() * _uniform(rng), rng)


_KINDS: tuple[Callable[[Generator], Tensor], ...] = (
    _plain, _plain, _plain, _cloudy, _cloudy, _grass, _stripes, _checks, _bricks, _wood, _wood, _facade, _text,
    _poster, _speckle,
)  # fmt: skip

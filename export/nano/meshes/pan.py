"""A clip out of one picture: a window that rests, pans, shakes, turns or zooms on it, its depth along with it.

No parallax, which the frames of a real camera bring; but any picture will do, at no cost.
"""

from __future__ import annotations

import math
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

RESTING = 0.35
"""Share of clips whose window stays where it is."""
FASTEST = 0.03
"""Of the picture's half sides a frame."""


def panned(rgb: Tensor, inverse: Tensor, frames: int, rng: Random) -> tuple[Tensor, Tensor]:
    """rgb: uint8 [H, W, 3]; inverse: [H, W]. Returns `frames` of each, of the same size."""
    grid = torch.stack([_window(*each, inverse.shape) for each in _path(frames, rng)])
    picture = rgb.permute(2, 0, 1)[None].float().expand(frames, -1, -1, -1)
    depth = inverse[None, None].float().expand(frames, -1, -1, -1)
    moved = F.grid_sample(picture, grid, "bilinear", "border", align_corners=False)
    found = F.grid_sample(depth, grid, "nearest", "border", align_corners=False)
    return moved.round().to(torch.uint8).permute(0, 2, 3, 1), found[:, 0].to(inverse.dtype)


def _path(frames: int, rng: Random) -> list[tuple[float, float, float, float]]:
    """Share of the picture that the window takes, its turn in radians and its middle, for every frame."""
    share = rng.uniform(0.6, 0.85)
    if rng.random() < RESTING:
        return [(share, 0.0, 0.0, 0.0)] * frames
    zoom, roll = math.exp(rng.gauss(0, 0.01)), rng.gauss(0, 0.003)
    way, shake = [rng.uniform(-FASTEST, FASTEST) for _ in range(2)], rng.choice((0.0, 0.0, 0.01))
    path = []
    for t in range(frames):
        late = t - frames / 2
        size = min(0.95, share * zoom**late)
        free = 1 - size
        x, y = (max(-free, min(free, w * late + rng.gauss(0, shake))) for w in way)
        path.append((size, roll * late, x, y))
    return path


def _window(share: float, turn: float, x: float, y: float, size: tuple[int, ...]) -> Tensor:
    height, width = size
    c, s = math.cos(turn), math.sin(turn) * height / width
    rows = [[share * c, -share * s, x], [share * math.sin(turn) * width / height, share * c, y]]
    return F.affine_grid(torch.tensor([rows]), [1, 1, height, width], align_corners=False)[0]

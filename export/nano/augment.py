"""Random views of training frames: crop, zoom, turn, flip, then what cameras and codecs do to pictures.

All frames of a clip get the same crop and colours; noise differs from frame to frame.
"""

from __future__ import annotations

import io
import math
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from export.nano.encoder import MEAN, STD
from export.nano.footage import waver


def crop_grid(rng: Random, height: int, width: int, aspect: float) -> Tensor:
    """Sampling grid [1, height, width, 2] of a random crop of a source whose width / height is `aspect`.

    At most 25 % of stretch, a few degrees of roll, mirrored half of the time; never beyond the source's edge.
    """
    roll = math.radians(rng.gauss(0, 3)) if rng.random() < 0.5 else 0.0
    stretch = math.exp(rng.uniform(-0.2, 0.2))
    wide = width / height * stretch
    c, s = abs(math.cos(roll)), abs(math.sin(roll))
    # the largest turned rectangle of this shape that fits into aspect × 1
    half_height = min(0.5 * aspect / (wide * c + s), 0.5 / (wide * s + c)) * rng.uniform(0.6, 1.0)
    half_width = half_height * wide
    free_x, free_y = 0.5 * aspect - half_width * c - half_height * s, 0.5 - half_width * s - half_height * c
    x0, y0 = rng.uniform(-1, 1) * max(free_x, 0.0), rng.uniform(-1, 1) * max(free_y, 0.0)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    a, b = flip * half_width * math.cos(roll), -half_height * math.sin(roll)
    d, e = flip * half_width * math.sin(roll), half_height * math.cos(roll)
    matrix = torch.tensor([[[2 * a / aspect, 2 * b / aspect, 2 * x0 / aspect], [2 * d, 2 * e, 2 * y0]]])
    return F.affine_grid(matrix, [1, 1, height, width], align_corners=False)


def sample(rgb: Tensor, inverse: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """rgb: uint8 [T, h, w, 3]; inverse: [T, h', w'] (negative = unknown). Returns [T, 3, H, W] in [0, 1], [T, H, W]."""
    count = len(rgb)
    wide = grid.expand(count, -1, -1, -1)
    picture = F.grid_sample(rgb.permute(0, 3, 1, 2).float() / 255, wide, "bilinear", "border", align_corners=False)
    depth = F.grid_sample(inverse[:, None].float(), wide, "nearest", "border", align_corners=False)
    return picture, depth[:, 0]


def spoil(picture: Tensor, rng: Random, noise: torch.Generator) -> Tensor:
    """picture: [T, 3, H, W] in [0, 1]. Light, colour, blur, noise, compression; the same kind for all T frames."""
    picture = _recolour(picture, rng)
    if rng.random() < 0.35:
        picture = _blur(picture, rng)
    if rng.random() < 0.2:
        picture = _coarsen(picture, rng.uniform(0.4, 0.9))
    if rng.random() < 0.6:
        strength = rng.uniform(0, 0.05) * rng.random()
        picture = picture + strength * torch.randn(picture.shape, generator=noise)
    if rng.random() < 0.3:
        picture = _compress(picture.clamp(0, 1), rng.randint(15, 75))
    return picture.clamp(0, 1)


def standardise(picture: Tensor) -> Tensor:
    """[..., 3, H, W] in [0, 1] to the network's input."""
    mean, std = (picture.new_tensor(v).view(3, 1, 1) for v in (MEAN, STD))
    return (picture - mean) / std


def _recolour(picture: Tensor, rng: Random) -> Tensor:
    picture = picture.clamp(min=1e-4) ** math.exp(rng.uniform(-0.4, 0.4))
    gain = torch.tensor([math.exp(rng.gauss(0, 0.1)) for _ in range(3)]).view(3, 1, 1)
    grey = picture.mean(1, keepdim=True)
    picture = torch.lerp(grey, picture, rng.uniform(0.0, 0.3) if rng.random() < 0.1 else rng.uniform(0.5, 1.4))
    middle = picture.mean()
    picture = (picture - middle) * rng.uniform(0.6, 1.3) + middle * math.exp(rng.uniform(-0.45, 0.35))
    if len(picture) > 1 and rng.random() < 0.5:  # exposure that wavers
        picture = picture * waver(rng, len(picture)).view(-1, 1, 1, 1)
    return picture * gain


def _blur(picture: Tensor, rng: Random) -> Tensor:
    """Out of focus, or smeared along one axis."""
    sigma = rng.uniform(0.4, 1.6)
    line = torch.exp(-((torch.arange(7) - 3.0) ** 2) / (2 * sigma * sigma))
    line = line / line.sum()
    smear = rng.random()
    if smear > 0.3:
        picture = F.conv2d(
            F.pad(picture, (3, 3, 0, 0), "replicate"), line.view(1, 1, 1, 7).expand(3, 1, 1, 7), groups=3
        )
    if smear < 0.7:
        picture = F.conv2d(
            F.pad(picture, (0, 0, 3, 3), "replicate"), line.view(1, 1, 7, 1).expand(3, 1, 7, 1), groups=3
        )
    return picture


def _coarsen(picture: Tensor, share: float) -> Tensor:
    size = picture.shape[-2:]
    small = F.interpolate(picture, scale_factor=share, mode="bilinear", antialias=True)
    return F.interpolate(small, size=size, mode="bilinear")


def _compress(picture: Tensor, quality: int) -> Tensor:
    """JPEG and back: blocks and ringing much as a video codec's."""
    frames = []
    for frame in (picture * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
        frames.append(np.array(Image.open(buffer)))
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255

"""Pictures of foliage with holes in it, drawn rather than photographed."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LEAF_PICTURES = 12
SIDE = 128


def leaf_picture(rng: Generator) -> NDArray[np.uint8]:
    """Leaves, needles or blades on nothing, uint8 RGBA."""
    image = Image.new("RGBA", (SIDE, SIDE), (60, 80, 30, 0))
    draw = ImageDraw.Draw(image)
    base = (
        rng.uniform((30, 60, 10), (130, 150, 70)) if rng.random() < 0.8 else rng.uniform((110, 50, 10), (220, 160, 90))
    )
    long, wide = rng.uniform(0.08, 0.3) * SIDE, rng.uniform(0.02, 0.1) * SIDE
    for _ in range(int(rng.integers(25, 160))):
        x, y, a = *rng.uniform(0.12, 0.88, 2) * SIDE, rng.uniform(0, 2 * math.pi)
        c, s = math.cos(a), math.sin(a)
        shape = [(x + c * u * long - s * v * wide, y + s * u * long + c * v * wide)
                 for u, v in ((-0.5, 0), (-0.2, 0.5), (0.2, 0.4), (0.5, 0), (0.2, -0.4), (-0.2, -0.5))]  # fmt: skip
        colour = np.clip(base * rng.uniform(0.6, 1.4), 0, 255).astype(int)
        draw.polygon(shape, fill=(int(colour[0]), int(colour[1]), int(colour[2]), 255))
    return np.asarray(image)

"""All pictures that surfaces carry, in one array with mip levels, so that a bundle of rays is looked up at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from export.nano.meshes.mesh import Floats, Ints

LEVELS = 8
GAMMA = 2.0
"""Of the pictures: near enough to sRGB, and a square is cheap."""
LINEAR: Floats = ((np.arange(256) / 255.0) ** GAMMA).astype(np.float32)
"""Light of a byte."""


class Atlas:
    """Pictures of any size, uint8 RGBA, each with LEVELS mip levels (the last ones of a small picture are alike)."""

    def __init__(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        """pictures: uint8 [h, w, 3] or [h, w, 4]."""
        shape = (len(pictures), LEVELS)
        self._start = np.zeros(shape, np.int64)
        self._height, self._width = np.ones(shape, np.int32), np.ones(shape, np.int32)
        parts: list[NDArray[np.uint8]] = []
        total = 0
        for index, picture in enumerate(pictures):
            for level, each in enumerate(_levels(picture)):
                self._start[index, level] = total
                self._height[index, level], self._width[index, level] = each.shape[:2]
                parts.append(each.reshape(-1, 4))
                total += len(parts[-1])
        self._texels = np.concatenate(parts)

    def __len__(self) -> int:
        return len(self._start)

    def size(self, picture: Ints) -> Floats:
        """Root of the number of texels of each picture [n]."""
        area = self._height[picture, 0].astype(np.float32) * self._width[picture, 0]
        side: Floats = np.sqrt(area)
        return side

    def sample(self, picture: Ints, uv: Floats, level: Ints) -> Floats:
        """Linear RGB and opacity, float32 [R, 4]: bilinear in one mip level, pictures repeated. uv: [R, 2], v up."""
        height, width, start = (each[picture, level] for each in (self._height, self._width, self._start))
        x = (uv[:, 0] % 1.0) * width - 0.5
        y = ((1.0 - uv[:, 1]) % 1.0) * height - 0.5
        x0, y0 = np.floor(x).astype(np.int32), np.floor(y).astype(np.int32)
        fx, fy = ((x - x0)[:, None].astype(np.float32), (y - y0)[:, None].astype(np.float32))
        columns, rows = (x0 % width, (x0 + 1) % width), (y0 % height, (y0 + 1) % height)
        upper, lower = (
            self._texels[start + row * width + columns[0]] * (1 - fx)
            + self._texels[start + row * width + columns[1]] * fx
            for row in rows
        )
        mixed = ((upper * (1 - fy) + lower * fy) * np.float32(1 / 255)).astype(np.float32, copy=False)
        mixed[:, :3] *= mixed[:, :3]
        return mixed


def _levels(picture: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    if picture.shape[2] == 3:
        picture = np.concatenate((picture, np.full((*picture.shape[:2], 1), 255, np.uint8)), 2)
    levels = [picture]
    image = Image.fromarray(picture)
    while len(levels) < LEVELS:
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.BOX)
        levels.append(np.asarray(image))
    return levels

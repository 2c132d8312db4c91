"""A moving scene made of arithmetic: an endless supply of frames for tests, demonstrations and memory runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from math import pi, sin

import av
import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from stream.barcode import LEAST_WIDTH, draw
from stream.frame import Frame
from stream.sources import SourceInfo

_NEAR_M, _FAR_M = 1.5, 10.0
"""Of the floor: at the picture's lower and upper edge."""
_BREATH = 120
"""Frames in which the box comes near and goes away again."""


class SyntheticSource(Closing):
    """A textured floor that the camera glides over, and a box that crosses it and comes and goes in depth.

    height, width: pixels; rate: frames per second; frames: how many, None for ever. Frames are rgb24, made on demand.
    Pictures that are wide enough carry their frame's number as `stream.barcode` draws it.
    """

    damaged = 0
    reconnects = 0
    __slots__ = ("_info", "_texture")

    def __init__(self, height: int, width: int, rate: Fraction = Fraction(30), frames: int | None = None) -> None:
        if height < 1 or width < 1 or rate <= 0:
            raise ValueError(f"a scene needs a size and a rate above zero, got {height}x{width} at {rate} fps")
        duration_s = None if frames is None else float(frames / rate)
        self._info = SourceInfo(height, width, rate, 1 / rate, frames, duration_s, False, False, "synthetic")
        self._texture = _texture(height, 2 * width)

    @property
    def info(self) -> SourceInfo:
        """Known from the start."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self._info.frames is None or index < self._info.frames:
            picture = av.VideoFrame.from_ndarray(self.render(index), format="rgb24")
            picture.pts, picture.time_base = index, self._info.time_base
            yield Frame(picture, index, index, self._info.time_base, time.monotonic_ns())
            index += 1

    def render(self, index: int) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] of frame `index`; a pure function of it."""
        height, width = self._info.height, self._info.width
        shift = 2 * index % width
        image = self._texture[:, shift : shift + width].copy()
        top, left, side, distance_m = self._box(index)
        shade = 1.4 - 0.1 * distance_m
        image[top : top + side, left : left + side] = np.array([157, 128, 29]) * shade
        if width >= LEAST_WIDTH and height >= width // 4:
            draw(image, index)
        return image

    def depth(self, index: int) -> NDArray[np.float32]:
        """float32 [H, W], metres: the true depth of frame `index`; the barcode lies on what it covers."""
        height, width = self._info.height, self._info.width
        lines = np.linspace(_FAR_M, _NEAR_M, height, dtype=np.float32)
        depth = np.repeat(lines[:, None], width, axis=1)
        top, left, side, distance_m = self._box(index)
        depth[top : top + side, left : left + side] = distance_m
        return depth

    def _box(self, index: int) -> tuple[int, int, int, float]:
        """(top, left, side) in pixels, and the distance in metres: the nearer, the larger."""
        height, width = self._info.height, self._info.width
        distance_m = 3 - sin(2 * pi * index / _BREATH)
        side = max(1, round(min(height, width) / distance_m))
        left = 3 * index % max(1, width - side)
        return (height - side) // 2, left, side, distance_m

    def close(self) -> None:
        """Nothing to free."""


def _texture(height: int, width: int) -> NDArray[np.uint8]:
    """Two waves whose pattern repeats after half the width, so that the camera may glide for ever."""
    y = np.linspace(0, 1, height)[:, None]
    x = np.arange(width)[None, :] * (4 * np.pi / width)
    waves = np.stack([np.sin(3 * x + 5 * y), np.sin(7 * x) * np.cos(9 * y), np.cos(5 * x - 4 * y)], axis=-1)
    return (110 + 45 * waves + 40 * y[..., None]).astype(np.uint8)

"""Pictures in outputs of a fixed size: one of another shape, such as a turned telephone's, keeps it, between bars."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.preprocess import resize_map
from stream.shape import Shape, fitted


def map_in(depth: NDArray[np.float32], size: Shape, meant: Shape) -> NDArray[np.float32]:
    """Depth float32 [h, w] in an output of `size` pixels, which maps of the shape `meant` fill; NaN in the bars."""
    part = fitted(size, meant, (depth.shape[0], depth.shape[1]))
    return between_bars(resize_map(depth, *part), size, np.nan)


def between_bars(pixels: NDArray[Any], size: Shape, bar: float) -> NDArray[Any]:
    """[h, w, …] in the middle of [H, W, …] of the value `bar`; itself where it fills that."""
    part = pixels.shape[:2]
    if part == size:
        return pixels
    whole = np.full((*size, *pixels.shape[2:]), bar, pixels.dtype)
    top, left = ((outer - inner) // 2 for outer, inner in zip(size, part, strict=True))
    whole[top : top + part[0], left : left + part[1]] = pixels
    return whole

"""Depth as a picture. Near is bright or warm for both units: metres, which grow with distance, are shown inverted."""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import cmap
import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.frame import DisplayRange

_STEPS = 1024


class Colormap(StrEnum):
    """How depth is coloured; `grayscale` is the normalised depth itself."""

    GRAYSCALE = "grayscale"
    TURBO = "turbo"
    INFERNO = "inferno"
    MAGMA = "magma"
    VIRIDIS = "viridis"


def colourise(depth: NDArray[np.float32], shown: DisplayRange, unit: Unit, colormap: Colormap) -> NDArray[np.uint8]:
    """A picture uint8 [H, W, 3] RGB of depth float32 [H, W].

    shown: what the ends of the map stand for; values beyond take the colour of the end, NaN that of the far end.
    unit: metres are inverted, so that near is bright or warm in every picture.
    """
    span = shown.high - shown.low
    scale = (_STEPS - 1) / span if span > 0 else 0.0
    half = 0.5 / scale if scale else 0.0
    from_far = (shown.high + half) - depth if unit is Unit.METRE else depth - (shown.low - half)
    steps = from_far * np.float32(scale)
    # fmax and fmin put NaN at the far end, step 0.
    np.fmin(np.fmax(steps, 0, out=steps), _STEPS - 1, out=steps)
    rgba: NDArray[np.uint8] = _table(colormap).take(steps.astype(np.intp)).view(np.uint8)
    return np.ascontiguousarray(rgba.reshape(*depth.shape, 4)[..., :3])


@cache
def _table(colormap: Colormap) -> NDArray[np.uint32]:
    """One packed RGBA word for each step: gathering words is several times faster than gathering triples."""
    name = "gray" if colormap is Colormap.GRAYSCALE else colormap.value
    table: NDArray[np.uint8] = np.round(255 * cmap.Colormap(name).lut(_STEPS)).astype(np.uint8)
    return np.ascontiguousarray(table).view(np.uint32)[:, 0]

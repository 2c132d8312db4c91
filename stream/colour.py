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
    np.clip(steps, 0, _STEPS - 1, out=steps)
    # NaN has passed the clip; as an integer it is 0 or far below, which `take` brings to step 0, the far end.
    with np.errstate(invalid="ignore"):
        places = steps.astype(np.intp)
    return _table(colormap).take(places, axis=0, mode="clip")


@cache
def _table(colormap: Colormap) -> NDArray[np.uint8]:
    """uint8 [steps, 3]."""
    name = "gray" if colormap is Colormap.GRAYSCALE else colormap.value
    return np.round(255 * cmap.Colormap(name).lut(_STEPS)[:, :3]).astype(np.uint8)

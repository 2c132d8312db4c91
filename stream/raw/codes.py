"""Depth as 16-bit codes: value = offset + scale · code, code 0 for no value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.raw.payload import blocks

TOP = 65535
METRES_PER_CODE = 0.001
NONE = 0


@dataclass(frozen=True, slots=True)
class Codes:
    """How values became codes. Values beyond the last code take it; what is not a finite number is code 0."""

    scale: float
    offset: float

    def encode(self, depth: NDArray[np.float32]) -> NDArray[np.uint16]:
        """uint16 [H, W] of float32 [H, W]."""
        codes = np.empty(depth.shape, np.uint16)
        scale, shift = np.float32(1 / self.scale), np.float32(self.offset / self.scale)
        for first, last in blocks(*depth.shape):
            block = depth[first:last]
            steps = block * scale
            if shift:
                steps -= shift
            np.rint(steps, out=steps)
            # Looking for the ends costs less than clipping and finding holes; with a NaN both comparisons are false.
            if steps.min() >= 1 and steps.max() <= TOP:
                np.copyto(codes[first:last], steps, casting="unsafe")
            else:
                codes[first:last] = _held(steps, np.isfinite(block))
        return codes

    def decode(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        """float32 [H, W] of uint16 [H, W]; NaN where there is no value."""
        depth = np.empty(codes.shape, np.float32)
        for first, last in blocks(*codes.shape):
            block, values = codes[first:last], depth[first:last]
            np.copyto(values, block)
            values *= np.float32(self.scale)
            values += np.float32(self.offset)
            if block.min() == NONE:
                values[block == NONE] = np.nan
        return depth


def _held(steps: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Steps as codes: those beyond an end take it, those not seen none."""
    np.clip(steps, 1, TOP, out=steps)
    with np.errstate(invalid="ignore"):
        codes = steps.astype(np.uint16)
    # Whatever became of NaN is none now. Six times as fast as an index where holes are scattered.
    codes *= seen
    return codes


def codes_for(depth: NDArray[np.float32], unit: Unit) -> Codes:
    """Millimetres for metres, up to 65.535 m; for other units all codes between the map's own ends."""
    if unit is Unit.METRE:
        return Codes(METRES_PER_CODE, 0.0)
    low, high = float(depth.min()), float(depth.max())
    if not np.isfinite(low + high):
        finite = depth[np.isfinite(depth)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scale = max((high - low) / (TOP - 1), abs(high) * 1e-7, 1e-12)
    return Codes(scale, low - scale)

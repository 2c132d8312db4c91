"""Depth as 16-bit codes: value = offset + scale · code, code 0 for no value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit

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
        codes = depth * np.float32(1 / self.scale)
        if self.offset:
            codes -= np.float32(self.offset / self.scale)
        np.rint(codes, out=codes)
        np.clip(codes, 1, TOP, out=codes)
        seen = np.isfinite(depth)
        if not seen.all():
            codes[~seen] = NONE
        return codes.astype(np.uint16)

    def decode(self, codes: NDArray[np.uint16]) -> NDArray[np.float32]:
        """float32 [H, W] of uint16 [H, W]; NaN where there is no value."""
        depth = codes * np.float32(self.scale)
        depth += np.float32(self.offset)
        depth[codes == NONE] = np.nan
        return depth


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

"""How large output pictures are."""

from __future__ import annotations

from enum import StrEnum


class Resolution(StrEnum):
    """Largest output: lines of the shorter side. `auto` keeps the input's size up to 1080p."""

    AUTO = "auto"
    P360 = "360p"
    P480 = "480p"
    P720 = "720p"
    P1080 = "1080p"

    @property
    def lines(self) -> int:
        """Most pixels of the shorter side."""
        return 1080 if self is Resolution.AUTO else int(self.value.removesuffix("p"))


def fit_resolution(height: int, width: int, resolution: Resolution) -> tuple[int, int]:
    """(height, width) of the output for frames of height × width pixels.

    The shorter side is at most `resolution.lines`, the shape is kept, nothing is enlarged; both are even, as
    H.264 in 4:2:0 wants them, and at least 2.
    """
    scale = min(1.0, resolution.lines / min(height, width))
    return _even(height * scale), _even(width * scale)


def _even(side: float) -> int:
    return max(2, int(side + 1e-6) // 2 * 2)

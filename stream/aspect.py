"""Pixels that are not square: what shape a picture has when it is shown.

The aspect of a picture is the width of one pixel over its height: 64/45 for 720×576 shown at 16:9.
"""

from __future__ import annotations

from fractions import Fraction

SQUARE = Fraction(1)
_WIDEST = 4
"""Pixels of recorded formats are at most three times as wide as high; what claims more is not believed."""
_SQUARE_ENOUGH = Fraction(1, 100)
"""Encoders write such aspects to make up for a side that was rounded; nobody sees them."""


def believed(aspect: Fraction | None) -> Fraction:
    """The aspect, or 1 where none is stated (0, None) or where it is absurd."""
    return aspect if aspect and Fraction(1, _WIDEST) <= aspect <= _WIDEST else SQUARE


def display_size(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """(height, width) in square pixels of a picture stored as height × width.

    One side grows, the other stays, so that no detail is lost: the rule of HTML for videos (4.8.8, intrinsic width).
    """
    if abs(aspect - 1) <= _SQUARE_ENOUGH:
        return height, width
    return (height, round(width * aspect)) if aspect > 1 else (round(height / aspect), width)


def stored_size(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """(height, width) as stored of a picture whose `display_size` is height × width."""
    if abs(aspect - 1) <= _SQUARE_ENOUGH:
        return height, width
    return (height, max(1, round(width / aspect))) if aspect > 1 else (max(1, round(height * aspect)), width)

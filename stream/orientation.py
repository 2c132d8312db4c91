"""How stored pictures are laid upright: the eight ways to turn and mirror them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Orientation:
    """What makes a stored picture upright, in this order: transposed, mirrored left to right, mirrored top to bottom.

    transposed: rows become columns; a picture of height × width becomes width × height.
    """

    transposed: bool = False
    mirrored_across: bool = False
    mirrored_down: bool = False

    @classmethod
    def of_matrix(cls, matrix: Sequence[int]) -> Orientation:
        """The nearest of the eight to a display matrix of nine numbers (ISO 14496-12; FFmpeg's display.h).

        A stored point (x, y) is shown at (matrix[0] x + matrix[3] y, matrix[1] x + matrix[4] y), y downwards.
        """
        across_x, down_x, across_y, down_y = matrix[0], matrix[1], matrix[3], matrix[4]
        if abs(across_x) + abs(down_y) >= abs(down_x) + abs(across_y):
            return cls(False, across_x < 0, down_y < 0)
        return cls(True, across_y < 0, down_x < 0)

    @classmethod
    def turn(cls, degrees: int) -> Orientation:
        """A turn counter-clockwise, by a multiple of 90 degrees."""
        return _TURNS[degrees // 90 % 4]


UPRIGHT = Orientation()
_TURNS = (UPRIGHT, Orientation(True, False, True), Orientation(False, True, True), Orientation(True, True, False))

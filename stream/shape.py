"""Shapes of pictures: (height, width) as they are shown, in square pixels; only the ratio counts."""

from __future__ import annotations

Shape = tuple[int, int]

TOLERANCE = 0.02
"""Of the ratio of two shapes: rounding to whole and to even sides."""


def are_alike(first: Shape, second: Shape) -> bool:
    """Pictures of these sizes can be the same picture, larger or smaller."""
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= TOLERANCE


def fitted(size: Shape, meant: Shape, shape: Shape) -> Shape:
    """(height, width) of the part of an output that a picture fills; the rest is bars on two sides.

    size: the output's in pixels, which need not be square. meant: the shape of pictures that fill it.
    shape: that of the picture, which keeps it.
    """
    if are_alike(meant, shape):
        return size
    height, width = size
    wider = shape[1] * meant[0] / (shape[0] * meant[1])
    return (max(1, round(height / wider)), width) if wider > 1 else (height, max(1, round(width * wider)))

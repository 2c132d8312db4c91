"""Shapes of pictures: (height, width) as they are shown, in square pixels; only the ratio counts."""

from __future__ import annotations

from math import log

Shape = tuple[int, int]

TOLERANCE = 0.02
"""Of the ratio of two shapes: rounding to whole and to even sides."""
_STRETCH = 0.15
"""Natural logarithm of the ratio of two shapes."""


def are_alike(first: Shape, second: Shape) -> bool:
    """Pictures of these sizes can be the same picture, larger or smaller."""
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= TOLERANCE


def is_stretched(picture: Shape, network: Shape) -> bool:
    """The shapes differ by more than the rounding of networks' sizes explains."""
    return abs(log(picture[0] * network[1] / (picture[1] * network[0]))) > _STRETCH


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

"""What numbers of depth mean: conversions where they are defined, limits of distance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.errors import UnitError
from stream.frame import DepthFrame, DisplayRange


@dataclass(frozen=True, slots=True)
class Limits:
    """Distances that are believed, in metres.

    What is nearer than `near_m` counts as that near: an obstacle never vanishes. What is farther than `far_m` is no
    reading: NaN.
    """

    near_m: float = 0.0
    far_m: float = inf

    def __post_init__(self) -> None:
        if not 0 <= self.near_m < self.far_m:
            raise ValueError(f"limits are 0 <= near < far, in metres; got {self.near_m:g} and {self.far_m:g}")

    @property
    def is_open(self) -> bool:
        """There are none."""
        return self == NO_LIMITS


NO_LIMITS = Limits()


def check_conversion(unit: Unit, wanted: Unit) -> None:
    """Raise UnitError where depth of one unit cannot become another."""
    if unit is not wanted and Unit.RELATIVE in (unit, wanted):
        raise UnitError(
            f"{unit.value} cannot become {wanted.value}: relative depth has no scale; use a metric model (--metric), "
            "or give points of known distance (--scale-to)"
        )


def converted(depth: NDArray[np.float32], unit: Unit, wanted: Unit) -> NDArray[np.float32]:
    """float32 [H, W] in another unit: metres and inverse metres turn into each other, zero into infinity.

    Negative values, which no distance has, become NaN. Raises UnitError where it is not defined.
    """
    check_conversion(unit, wanted)
    if unit is wanted:
        return depth
    with np.errstate(divide="ignore"):
        turned = np.reciprocal(depth)
    turned[depth < 0] = np.nan
    turned[(depth == 0) & np.signbit(depth)] = np.inf
    return turned


def limited(depth: NDArray[np.float32], unit: Unit, limits: Limits) -> NDArray[np.float32]:
    """float32 [H, W] within the limits. Raises UnitError for relative depth, which knows no distances."""
    if limits.is_open:
        return depth
    if unit is Unit.RELATIVE:
        raise UnitError("limits are metres, and relative depth has none: use --metric or --scale-to")
    near, far = np.float32(limits.near_m), np.float32(limits.far_m)
    if unit is Unit.METRE:
        kept = np.maximum(depth, near)
        kept[depth > far] = np.nan
        return kept
    with np.errstate(divide="ignore"):
        kept = np.minimum(depth, 1 / near)
        kept[depth < 1 / far] = np.nan
    return kept


def in_unit(depth_frame: DepthFrame, wanted: Unit) -> DepthFrame:
    """The frame with its depth and range in another unit. Raises UnitError."""
    if depth_frame.unit is wanted:
        return depth_frame
    depth = converted(depth_frame.depth, depth_frame.unit, wanted)
    return replace(depth_frame, depth=depth, unit=wanted, range=turned_range(depth_frame.range, 1.0, 0.0))


def turned_range(shown: DisplayRange, factor: float, shift: float) -> DisplayRange:
    """The range of 1 / (factor · d + shift); distances beyond a thousand metres are not worth a colour."""
    far, near = (1 / max(factor * value + shift, 1e-3) for value in (shown.low, shown.high))
    return DisplayRange(near, max(far, near + 1e-6))

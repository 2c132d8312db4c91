"""The camera behind the pictures: pinhole and lens, for pictures of one size, and how it follows resizing and turning.

Pixel centres have whole coordinates, as in OpenCV and ROS: the left edge of a picture is at -0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from math import radians, tan
from typing import Any

from stream.aspect import SQUARE, stored_size
from stream.orientation import UPRIGHT, Orientation
from stream.shape import are_alike


class LensModel(StrEnum):
    """How a lens bends rays; the names are those of ROS, the formulas those of OpenCV."""

    PLUMB_BOB = "plumb_bob"
    RATIONAL = "rational_polynomial"
    EQUIDISTANT = "equidistant"

    @property
    def coefficients(self) -> int:
        """How many numbers describe it: k1 k2 p1 p2 k3, and k4 k5 k6; or k1 k2 k3 k4."""
        return {LensModel.PLUMB_BOB: 5, LensModel.RATIONAL: 8, LensModel.EQUIDISTANT: 4}[self]


@dataclass(frozen=True, slots=True)
class Lens:
    """What a lens does to a pinhole picture; works on coordinates divided by the focal length."""

    model: LensModel
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.coefficients) != self.model.coefficients:
            raise ValueError(
                f"the lens model {self.model} has {self.model.coefficients} coefficients, got {len(self.coefficients)}"
            )

    def oriented(self, orientation: Orientation) -> Lens:
        """The same lens once its pictures are laid upright: p1 goes with y, p2 with x."""
        if self.model is LensModel.EQUIDISTANT:
            return self
        k1, k2, p1, p2, *rest = self.coefficients
        if orientation.transposed:
            p1, p2 = p2, p1
        p1, p2 = -p1 if orientation.mirrored_down else p1, -p2 if orientation.mirrored_across else p2
        return replace(self, coefficients=(k1, k2, p1, p2, *rest))


@dataclass(frozen=True, slots=True)
class Intrinsics:
    """A camera for pictures of height × width pixels: focal lengths and centre in pixels.

    lens: what is left to undo; None for a picture without distortion.
    """

    height: int
    width: int
    fx: float
    fy: float
    cx: float
    cy: float
    lens: Lens | None = None

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 1 or not (self.fx > 0 and self.fy > 0):
            raise ValueError(
                f"a camera has a size and focal lengths above zero, got {self.height}x{self.width}, "
                f"fx {self.fx}, fy {self.fy}"
            )

    def scaled(self, height: int, width: int) -> Intrinsics:
        """For the same picture at another size."""
        if (height, width) == (self.height, self.width):
            return self
        down, across = height / self.height, width / self.width
        return replace(
            self,
            height=height,
            width=width,
            fx=self.fx * across,
            fy=self.fy * down,
            cx=(self.cx + 0.5) * across - 0.5,
            cy=(self.cy + 0.5) * down - 0.5,
        )

    def oriented(self, orientation: Orientation) -> Intrinsics:
        """For the same picture laid upright."""
        height, width, fx, fy, cx, cy = self.height, self.width, self.fx, self.fy, self.cx, self.cy
        if orientation.transposed:
            height, width, fx, fy, cx, cy = width, height, fy, fx, cy, cx
        if orientation.mirrored_across:
            cx = width - 1 - cx
        if orientation.mirrored_down:
            cy = height - 1 - cy
        return Intrinsics(height, width, fx, fy, cx, cy, self.lens and self.lens.oriented(orientation))

    def is_shaped(self, height: int, width: int, aspect: Fraction = SQUARE) -> bool:
        """Pictures of this size, of pixels of this aspect, can be the same picture, larger or smaller."""
        shapes = (height, width), stored_size(height, width, aspect)
        return any(are_alike((self.height, self.width), shape) for shape in shapes)


@dataclass(frozen=True, slots=True)
class Camera:
    """What is known of a camera before its first picture: a calibration, or only how much it sees.

    calibration: for pictures as the sensor gives them, before they are turned upright.
    fov_degrees: from the left to the right edge of such a picture, where there is no calibration.
    """

    calibration: Intrinsics | None = None
    fov_degrees: float | None = None

    def __post_init__(self) -> None:
        if (self.calibration is None) == (self.fov_degrees is None):
            raise ValueError("a camera is described by a calibration or by a field of view")
        if self.fov_degrees is not None and not 1 <= self.fov_degrees < 180:
            raise ValueError(f"a field of view is 1 to 179 degrees, got {self.fov_degrees:g}")

    @property
    def lens(self) -> Lens | None:
        """The distortion that can be undone."""
        return None if self.calibration is None else self.calibration.lens

    def at(
        self, height: int, width: int, orientation: Orientation = UPRIGHT, aspect: Fraction = SQUARE
    ) -> Intrinsics | None:
        """The intrinsics of upright pictures of height × width square pixels.

        orientation: what was done to the sensor's pictures. aspect: of the pixels of upright pictures before they were
        made square; a calibration may be for pictures of either kind.
        None where the calibration is of another shape: what was cut off is not known.
        """
        camera = self._of_sensor(height, width, orientation).oriented(orientation)
        return camera.scaled(height, width) if camera.is_shaped(height, width, aspect) else None

    def _of_sensor(self, height: int, width: int, orientation: Orientation) -> Intrinsics:
        if self.calibration is not None:
            return self.calibration
        assert self.fov_degrees is not None
        if orientation.transposed:
            height, width = width, height
        focal = width / 2 / tan(radians(self.fov_degrees) / 2)
        return Intrinsics(height, width, focal, focal, (width - 1) / 2, (height - 1) / 2)


def described(camera: Intrinsics | None) -> dict[str, Any] | None:
    """A camera as JSON says it; `camera_of` reads it."""
    if camera is None:
        return None
    lens = {} if camera.lens is None else {"model": camera.lens.model.value, "distortion": [*camera.lens.coefficients]}
    plain = {name: getattr(camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    return {**plain, **lens}


def camera_of(fields: dict[str, Any] | None) -> Intrinsics | None:
    """A camera from what `described` made of it."""
    if fields is None:
        return None
    lens = Lens(LensModel(fields["model"]), tuple(fields["distortion"])) if "model" in fields else None
    height, width = fields["height"], fields["width"]
    return Intrinsics(height, width, fields["fx"], fields["fy"], fields["cx"], fields["cy"], lens)

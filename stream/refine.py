"""What happens to a depth frame between the network and the outputs: scale, unit, limits, the camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from engines.spec import Unit
from stream.aspect import SQUARE
from stream.camera import Camera, Intrinsics
from stream.errors import UnitError
from stream.frame import DepthFrame
from stream.metric import NO_LIMITS, Limits, check_conversion, in_unit, limited
from stream.orientation import UPRIGHT, Orientation
from stream.pipeline import Estimate, OverFrames
from stream.scalefit import ScaleTracker
from stream.shape import Shape


@dataclass(frozen=True, slots=True)
class Refinement:
    """What is wanted of the numbers of one stream.

    camera: of the pictures, which `orientation` laid upright and whose pixels had this aspect (`SourceInfo`);
        straightened: their distortion is undone.
    meant: the size of the pictures that it was given for, where that is known, as (height, width).
    tracker: gives relative depth a scale; unit: to be converted to; None: as it comes.
    """

    camera: Camera | None = None
    meant: Shape | None = None
    orientation: Orientation = UPRIGHT
    aspect: Fraction = SQUARE
    straightened: bool = False
    tracker: ScaleTracker | None = None
    unit: Unit | None = None
    limits: Limits = NO_LIMITS

    def check(self, unit: Unit) -> Unit:
        """The unit of what comes out for depth of this unit. Raises UnitError where it cannot be."""
        if self.tracker is not None:
            if unit is not Unit.RELATIVE:
                raise UnitError(f"known distances give relative depth a scale; this model's depth is {unit.value}")
            unit = Unit.METRE
        if self.unit is not None:
            check_conversion(unit, self.unit)
            unit = self.unit
        if not self.limits.is_open:
            check_conversion(unit, Unit.METRE)
        return unit

    def apply(self, depth_frame: DepthFrame) -> DepthFrame:
        """The refined frame. Raises UnitError."""
        if self.tracker is not None:
            depth_frame = self.tracker.scaled(depth_frame)
        if self.unit is not None:
            depth_frame = in_unit(depth_frame, self.unit)
        depth = limited(depth_frame.depth, depth_frame.unit, self.limits)
        return replace(depth_frame, depth=depth, intrinsics=self._intrinsics(*depth.shape))

    def _intrinsics(self, height: int, width: int) -> Intrinsics | None:
        camera = None if self.camera is None else self._camera_at(self.camera, height, width)
        return replace(camera, lens=None) if camera is not None and self.straightened else camera

    def _camera_at(self, camera: Camera, height: int, width: int) -> Intrinsics | None:
        """A field of view is that of the pictures it was given for: where others show more or less is not known.

        Those turned on their side have the same centre and the same focal length.
        """
        if self.meant is None or camera.fov_degrees is None:
            return camera.at(height, width, self.orientation, self.aspect)
        known = camera.at(*self.meant, self.orientation, self.aspect)
        ways = () if known is None else (known, known.oriented(Orientation.turn(90)))
        return next((one.scaled(height, width) for one in ways if one.is_shaped(height, width)), None)


def refined(estimate: Estimate, refinement: Refinement) -> Estimate:
    """The estimate with every frame refined."""
    if refinement == Refinement():
        return estimate
    if isinstance(estimate, OverFrames):
        whole = estimate.apply
        return OverFrames(lambda frames: map(refinement.apply, whole(frames)))
    step = estimate
    return lambda frame: refinement.apply(step(frame))

"""What a run makes of its numbers, as a person asked for it: camera, unit, limits, scale."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from depthcast.errors import UsageError
from engines.spec import Unit
from stream.camera import Camera
from stream.metric import NO_LIMITS, Limits
from stream.pointcloud import CloudRule
from stream.references import read_references
from stream.refine import Refinement
from stream.scalefit import ScaleTracker
from stream.sources import Source, SourceInfo
from stream.undistort import Straightened


@dataclass(frozen=True, slots=True)
class Sensing:
    """See `stream.refine.Refinement`; scale_to: points of known distance for relative depth."""

    camera: Camera | None = None
    undistort: bool = False
    unit: Unit | None = None
    limits: Limits = NO_LIMITS
    scale_to: Path | None = None
    cloud: CloudRule = CloudRule()  # noqa: RUF009 -- frozen


NO_SENSING = Sensing()


def seen_through(source: Source, sensing: Sensing) -> Source:
    """The source, its pictures straightened where that is asked for. Raises UsageError where it cannot be."""
    _check_camera(source.info, sensing)
    if not sensing.undistort:
        return source
    if sensing.camera is None or sensing.camera.lens is None:
        raise UsageError("--undistort needs a lens's distortion: give a calibration that has one with --camera FILE")
    return Straightened(source, sensing.camera)


def _check_camera(info: SourceInfo, sensing: Sensing) -> None:
    camera = sensing.camera
    if camera is None or camera.at(info.height, info.width, info.orientation, info.aspect) is not None:
        return
    calibration = camera.calibration
    assert calibration is not None
    raise UsageError(
        f"the camera was calibrated for {calibration.height}x{calibration.width}, the frames are "
        f"{info.height}x{info.width}, of another shape: what was cut off is not known; calibrate at this shape"
    )


def refinement_of(sensing: Sensing, info: SourceInfo) -> Refinement:
    """A stream's own refinement. Raises UsageError, SourceError."""
    return Refinement(
        camera=sensing.camera,
        meant=None if sensing.camera is None else info.size,
        orientation=info.orientation,
        aspect=info.aspect,
        straightened=sensing.undistort,
        tracker=None if sensing.scale_to is None else ScaleTracker(read_references(sensing.scale_to)),
        unit=sensing.unit,
        limits=sensing.limits,
    )

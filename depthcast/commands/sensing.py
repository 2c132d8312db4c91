"""Options about the camera and the numbers, shared by commands."""

from __future__ import annotations

from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from depthcast.errors import UsageError
from depthcast.sensing import Sensing
from engines.spec import Unit
from stream.calibration import read_camera
from stream.metric import NO_LIMITS, Limits
from stream.pointcloud import CloudRule

_CLOUD = "every=N, voxel=METRES and edge=DEGREES, with commas between them"


class Wish(StrEnum):
    """Units that can be asked for."""

    METRE = "metre"
    INVERSE_METRE = "inverse-metre"


UNITS = {Wish.METRE: Unit.METRE, Wish.INVERSE_METRE: Unit.INVERSE_METRE}


def limits(text: str) -> Limits:
    """`0.3:10`, either end may be missing; UsageError for anything else."""
    near, divider, far = text.partition(":")
    try:
        if divider:
            return Limits(float(near or 0), float(far or inf))
    except ValueError as error:
        raise UsageError(f"limits are NEAR:FAR in metres, such as 0.3:10 or :10; got {text!r}: {error}") from error
    raise UsageError(f"limits are NEAR:FAR in metres, such as 0.3:10 or :10; got {text!r}")


def cloud_rule(text: str) -> CloudRule:
    """`every=2,voxel=0.05,edge=85`; UsageError for anything else."""
    numbers: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in ("every", "voxel", "edge"):
            raise UsageError(f"a cloud is described by {_CLOUD}; got {part!r}")
        try:
            numbers[name] = float(value)
        except ValueError:
            raise UsageError(f"a cloud is described by {_CLOUD}; got {part!r}") from None
    plain = CloudRule()
    try:
        return CloudRule(int(numbers.get("every", 1)), numbers.get("edge", plain.edge_degrees), numbers.get("voxel"))
    except ValueError as error:
        raise UsageError(str(error)) from error


CameraOption = Annotated[
    str | None,
    typer.Option("--camera", metavar="FILE|fov=DEG", help="Calibration (ROS .yaml, .toml), or field of view."),
]
UndistortOption = Annotated[bool, typer.Option("--undistort", help="Undo the lens's distortion first.")]
UnitOption = Annotated[Wish | None, typer.Option("--unit", help="Of the output; relative depth has none of these.")]
LimitsOption = Annotated[
    Limits | None,
    typer.Option(parser=limits, metavar="NEAR:FAR", help="Metres; nearer counts as near, farther is no reading."),
]
ScaleOption = Annotated[
    Path | None,
    typer.Option("--scale-to", metavar="FILE", help="Known distances, for metres: a .csv, or a sensor's %06d.png."),
]
CloudOption = Annotated[
    CloudRule | None,
    typer.Option(parser=cloud_rule, metavar="RULE", help="Of point clouds: every=2,voxel=0.05,edge=85."),
]


def sensing_of(
    camera: str | None = None,
    undistort: bool = False,
    unit: Wish | None = None,
    limits: Limits | None = None,
    scale_to: Path | None = None,
    cloud: CloudRule | None = None,
) -> Sensing:
    """The options together. Raises CameraError."""
    return Sensing(
        camera=None if camera is None else read_camera(camera),
        undistort=undistort,
        unit=None if unit is None else UNITS[unit],
        limits=limits or NO_LIMITS,
        scale_to=scale_to,
        cloud=cloud or CloudRule(),
    )

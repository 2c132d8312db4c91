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
from stream.pointcloud import CloudRule


class Wish(StrEnum):
    """Units that can be asked for."""

    METRE = "metre"
    INVERSE_METRE = "inverse-metre"


CameraOption = Annotated[
    str | None,
    typer.Option("--camera", metavar="FILE|fov=DEG", help="Calibration (ROS .yaml, .toml), or field of view."),
]
UndistortOption = Annotated[bool, typer.Option("--undistort", help="Undo the lens's distortion first.")]
UnitOption = Annotated[Wish | None, typer.Option("--unit", help="Of the output; relative depth has none of these.")]
NearOption = Annotated[float, typer.Option("--near", metavar="M", min=0, help="What is nearer counts as this near.")]
FarOption = Annotated[float, typer.Option("--far", metavar="M", help="What is farther is no reading.")]
ScaleOption = Annotated[
    Path | None,
    typer.Option("--scale-to", metavar="FILE", help="Known distances, for metres: a .csv, or a sensor's %06d.png."),
]
EveryOption = Annotated[int, typer.Option("--every", min=1, help="Point clouds: each n-th pixel and row.")]
VoxelOption = Annotated[float | None, typer.Option("--voxel", metavar="M", help="Point clouds: one point a cube.")]
EdgeOption = Annotated[
    float, typer.Option("--edge", metavar="DEG", min=1, max=90, help="Point clouds: leave out steeper views; 90: none.")
]


def sensing_of(
    camera: str | None = None,
    undistort: bool = False,
    unit: Wish | None = None,
    near: float = 0.0,
    far: float = inf,
    scale_to: Path | None = None,
    cloud: CloudRule | None = None,
) -> Sensing:
    """The options together. Raises UsageError, CameraError."""
    return Sensing(
        camera=None if camera is None else read_camera(camera),
        undistort=undistort,
        unit={None: None, Wish.METRE: Unit.METRE, Wish.INVERSE_METRE: Unit.INVERSE_METRE}[unit],
        near_m=near,
        far_m=far,
        scale_to=scale_to,
        cloud=cloud or CloudRule(),
    )


def cloud_rule(every: int, voxel: float | None, edge: float) -> CloudRule:
    """Raises UsageError where nothing would be kept."""
    try:
        return CloudRule(every, edge, voxel)
    except ValueError as error:
        raise UsageError(str(error)) from error

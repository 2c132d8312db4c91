"""`depthcast pointcloud`: clouds from a recording of depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from depthcast.commands.console import told_logs
from depthcast.commands.sensing import CameraOption, CloudOption, LimitsOption, sensing_of
from depthcast.errors import UsageError
from depthcast.sensing import Sensing
from engines.spec import Unit
from stream.aspect import display_size
from stream.camera import Intrinsics
from stream.cloudfile import WRITERS
from stream.errors import CameraError
from stream.metric import converted, limited
from stream.pointcloud import cloud_from
from stream.preprocess import shown
from stream.recorded import RecordedDepth, read
from stream.sinks.numbered import is_numbered
from stream.sinks.stills import NumberedFiles
from stream.sources.file import FileSource
from stream.uris import STANDARD_INPUT


def pointcloud(
    recording: Annotated[Path, typer.Argument(help="Depth in metres: .mkv, .npz, .ros2.mcap, %06d.png or %06d.exr.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Numbered files: clouds/%06d.ply or .pcd.")],
    camera: CameraOption = None,
    picture: Annotated[Path | None, typer.Option(help="The video that depth was made of, for colours.")] = None,
    frame: Annotated[int | None, typer.Option(min=0, help="Only this frame, counted from 0.")] = None,
    limits: LimitsOption = None,
    cloud: CloudOption = None,
    organised: Annotated[
        bool | None,
        typer.Option("--organised/--listed", help="Keep the picture's rows, with NaN for no reading (default: .pcd)."),
    ] = None,
) -> None:
    """Make point clouds from recorded depth."""
    sensing = sensing_of(camera, limits=limits, cloud=cloud)
    suffix = output.suffix.lower()
    if suffix not in WRITERS or not is_numbered(output):
        raise UsageError(f"clouds are numbered .ply or .pcd files, such as clouds/%06d.ply; got {output}")
    keeps_rows = suffix == ".pcd" if organised is None else organised
    recording = STANDARD_INPUT if recording == Path("-") else recording
    files = NumberedFiles(output)
    points: list[int] = []
    with told_logs():
        for depth, image in _frames(recording, picture, frame):
            points_of_frame = cloud_from(_metres(depth, sensing), _camera_of(depth, sensing), sensing.cloud, image)
            if not keeps_rows:
                points_of_frame = points_of_frame.listed()
            files.write(WRITERS[suffix](points_of_frame))
            points.append(int(np.isfinite(points_of_frame.points[..., 2]).sum()))
    if not points:
        raise UsageError(f"{recording} has no frame {frame}" if frame is not None else f"{recording} has no frames")
    print(f"{output}: {counted(points)}")


def counted(points: Sequence[int]) -> str:
    """What was written: how many clouds, and of how many points each."""
    fewest, most, clouds = min(points), max(points), "1 cloud" if len(points) == 1 else f"{len(points)} clouds"
    return f"{clouds} of {fewest} points" if fewest == most else f"{clouds} of {fewest} to {most} points"


def _frames(
    recording: Path, picture: Path | None, only: int | None
) -> Iterator[tuple[RecordedDepth, NDArray[np.uint8] | None]]:
    """Each map with its picture at the map's size."""
    if picture is None:
        yield from ((depth, None) for depth in read(recording) if only in (None, depth.index))
        return
    with FileSource(STANDARD_INPUT if picture == Path("-") else picture) as source:
        for depth, frame in zip(read(recording), source, strict=False):
            if only in (None, depth.index):
                height, width = depth.depth.shape
                yield depth, shown(frame, height, width)


def _metres(depth: RecordedDepth, sensing: Sensing) -> NDArray[np.float32]:
    return limited(converted(depth.depth, depth.unit, Unit.METRE), Unit.METRE, sensing.limits)


def _camera_of(depth: RecordedDepth, sensing: Sensing) -> Intrinsics:
    """The one asked for, or the one recorded."""
    height, width = depth.depth.shape
    if sensing.camera is None:
        camera = depth.intrinsics
    else:
        seen = sensing.camera.at(*display_size(height, width, depth.aspect), aspect=depth.aspect)
        camera = seen and seen.scaled(height, width)
    if camera is None:
        hint = "is of another shape" if sensing.camera else "is not in the recording: give --camera"
        raise CameraError(f"the camera of these maps of {height}x{width} {hint}")
    return camera

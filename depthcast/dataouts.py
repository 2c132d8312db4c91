"""Opens the outputs that are data rather than pictures; the packages that some need are loaded here, when chosen."""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import cast

from depthcast.sensing import Sensing
from depthcast.service.ports import HttpPorts
from engines.spec import Unit
from stream.dataouts import DataOut, FoxgloveServe, RawServe, ZenohOut
from stream.errors import CameraError, UnitError
from stream.extras import need
from stream.sinks import Sink
from stream.sinks.raw import RawSink
from stream.sinks.stills import CloudSink, StillsSink
from stream.sources import SourceInfo

_LOG = logging.getLogger("depthcast.service.data")
FILES = (".png", ".exr", ".ply", ".pcd", ".mcap")


def opened_data(uri: DataOut, info: SourceInfo, sensing: Sensing, ports: HttpPorts) -> Sink:
    """An open output; what is reached over HTTP is added to the ports. Raises SinkError, ExtraMissing."""
    limits = sensing.limits.near_m, sensing.limits.far_m
    match uri:
        case RawServe(host, port, path, values, token):
            from depthcast.service.raw import raw_router

            sink = RawSink(info, values, limits)
            ports.mount(host, port, raw_router(path, sink, token))
            _LOG.info("serving %s%s", uri, " to those who bring the token" if token else "")
            return sink
        case FoxgloveServe():
            need("foxglove", "foxglove", "foxglove://")
            from depthcast.service.foxglove import foxglove_router, hidden_host

            inner = FoxgloveServe(hidden_host(), 0)
            served = importlib.import_module("stream.sinks.foxglove").FoxgloveSink(inner, info, sensing.cloud)
            ports.mount(uri.host, uri.port, foxglove_router(inner.host, served.port))
            _LOG.info("serving %s", uri)
            return cast(Sink, served)
        case ZenohOut():
            need("zenoh", "zenoh", "zenoh:")
            published: Sink = importlib.import_module("stream.sinks.zenoh").ZenohSink(uri, info, limits)
            _LOG.info("publishing to %s", uri)
            return published


def opened_data_file(path: Path, info: SourceInfo, sensing: Sensing) -> Sink:
    """An open file, or pattern of files, of one of the `FILES` kinds. Raises SinkError, ExtraMissing."""
    match path.suffix.lower():
        case ".ply" | ".pcd":
            return CloudSink(path, sensing.cloud)
        case ".mcap" if path.stem.lower().endswith(".ros2"):
            need("mcap_ros2", "ros2", path.name)
            bag: Sink = importlib.import_module("stream.sinks.ros2").Ros2FileSink(path, info)
            return bag
        case ".mcap":
            need("foxglove", "foxglove", path.name)
            recording: Sink = importlib.import_module("stream.sinks.foxglove").FoxgloveFileSink(
                path, info, sensing.cloud
            )
            return recording
        case _:
            return StillsSink(path)


def check_clouds(paths: list[Path], sensing: Sensing, unit: Unit) -> None:
    """Raise CameraError or UnitError where point clouds are asked for that cannot be."""
    clouds = [path for path in paths if path.suffix.lower() in (".ply", ".pcd")]
    if not clouds:
        return
    if sensing.camera is None:
        raise CameraError(f"{clouds[0].name} needs the camera: give --camera FILE or --camera fov=DEGREES")
    if unit is Unit.RELATIVE:
        raise UnitError(f"{clouds[0].name} needs metres: use a metric model (--metric), or --scale-to known points")

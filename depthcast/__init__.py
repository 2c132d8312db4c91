"""Temporally consistent depth for video, frame by frame.

    import depthcast

    for depth in depthcast.estimate("street.mp4"):
        print(depth.frame.pts, depth.depth.shape, depth.unit)

Names are loaded when first used: importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import engines  # noqa: F401 -- switches off what libraries report to their makers

if TYPE_CHECKING:
    from depthcast.api import estimate, open_model
    from depthcast.client import AsyncClient, Client, ClientError, Generation, Options
    from depthcast.errors import DepthcastError
    from depthcast.inprocess import DepthReader, DepthStream, open, read
    from engines.session import Session
    from engines.spec import ModelSpec, Unit
    from stream.camera import Camera, Intrinsics, Lens
    from stream.colour import Colormap, colourise
    from stream.estimator import DepthEstimator
    from stream.frame import DepthFrame, DisplayRange, Frame
    from stream.pointcloud import Cloud, CloudRule, cloud_of
    from stream.recorded import RecordedDepth
    from stream.stability import Flicker, alignment_error

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Camera",
    "Client",
    "ClientError",
    "Cloud",
    "CloudRule",
    "Colormap",
    "DepthEstimator",
    "DepthFrame",
    "DepthReader",
    "DepthStream",
    "DepthcastError",
    "DisplayRange",
    "Flicker",
    "Frame",
    "Generation",
    "Intrinsics",
    "Lens",
    "ModelSpec",
    "Options",
    "RecordedDepth",
    "Session",
    "Unit",
    "__version__",
    "alignment_error",
    "cloud_of",
    "colourise",
    "estimate",
    "open",
    "open_model",
    "read",
]

_HOMES = {
    "AsyncClient": "depthcast.client",
    "Camera": "stream.camera",
    "Client": "depthcast.client",
    "ClientError": "depthcast.client",
    "Cloud": "stream.pointcloud",
    "CloudRule": "stream.pointcloud",
    "Colormap": "stream.colour",
    "DepthEstimator": "stream.estimator",
    "DepthFrame": "stream.frame",
    "DepthReader": "depthcast.inprocess",
    "DepthStream": "depthcast.inprocess",
    "DepthcastError": "depthcast.errors",
    "DisplayRange": "stream.frame",
    "Flicker": "stream.stability",
    "Frame": "stream.frame",
    "Generation": "depthcast.client",
    "Intrinsics": "stream.camera",
    "Lens": "stream.camera",
    "ModelSpec": "engines.spec",
    "Options": "depthcast.client",
    "RecordedDepth": "stream.recorded",
    "Session": "engines.session",
    "Unit": "engines.spec",
    "alignment_error": "stream.stability",
    "cloud_of": "stream.pointcloud",
    "colourise": "stream.colour",
    "estimate": "depthcast.api",
    "open": "depthcast.inprocess",
    "open_model": "depthcast.api",
    "read": "depthcast.inprocess",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'depthcast' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

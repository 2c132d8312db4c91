"""Temporally consistent depth for video, frame by frame.

    import depthcast

    for depth in depthcast.estimate("street.mp4"):
        print(depth.frame.pts, depth.depth.shape, depth.unit)

Names are loaded when first used: importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from depthcast.api import estimate, open_model
    from depthcast.client import AsyncClient, Client, ClientError, Generation, Options
    from depthcast.errors import DepthcastError
    from engines.session import Session
    from engines.spec import ModelSpec, Unit
    from stream.colour import Colormap, colourise
    from stream.estimator import DepthEstimator
    from stream.frame import DepthFrame, DisplayRange, Frame

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Colormap",
    "DepthEstimator",
    "DepthFrame",
    "DepthcastError",
    "DisplayRange",
    "Frame",
    "Generation",
    "ModelSpec",
    "Options",
    "Session",
    "Unit",
    "__version__",
    "colourise",
    "estimate",
    "open_model",
]

_HOMES = {
    "AsyncClient": "depthcast.client",
    "Client": "depthcast.client",
    "ClientError": "depthcast.client",
    "Colormap": "stream.colour",
    "DepthEstimator": "stream.estimator",
    "DepthFrame": "stream.frame",
    "DepthcastError": "depthcast.errors",
    "DisplayRange": "stream.frame",
    "Frame": "stream.frame",
    "Generation": "depthcast.client",
    "ModelSpec": "engines.spec",
    "Options": "depthcast.client",
    "Session": "engines.session",
    "Unit": "engines.spec",
    "colourise": "stream.colour",
    "estimate": "depthcast.api",
    "open_model": "depthcast.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'depthcast' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The two functions most programs need. `depthcast.estimate` and `depthcast.open_model` are these."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Literal

from depthcast.models import NANO, find
from depthcast.networks import step_session
from depthcast.plan import Engine, Mode, Wanted
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from depthcast.shapes import ShapedSessions, own_steps, own_windows
from depthcast.sources import opened_source
from engines.session import Session
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame
from stream.offline import offline_by_shape
from stream.uris import FileIn, parse_source

logger = logging.getLogger("depthcast")
"""Told, at level INFO, which engine runs and why, and what is done first that takes long."""

EngineName = Literal["auto", "onnx", "torch", "openvino", "tensorrt"]


def open_model(
    height: int,
    width: int,
    model: str = NANO,
    *,
    metric: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    engine: EngineName = "auto",
    input_size: int | None = None,
    threads: int | None = None,
) -> Session:
    """A loaded network for frames of height × width pixels; share it among `DepthEstimator`s, one for each stream.

    Raises DepthcastError or EngineError, with what to do in the message.
    """
    wanted = wanted_for(model, metric, Mode.STREAM, checkpoint, engine, input_size, threads)
    return step_session(wanted, (height, width), Settings.from_environment(), logger.info)


def estimate(
    video: str | os.PathLike[str],
    model: str = NANO,
    *,
    metric: bool = False,
    mode: Literal["stream", "offline"] = "stream",
    checkpoint: str | os.PathLike[str] | None = None,
    engine: EngineName = "auto",
    input_size: int | None = None,
    threads: int | None = None,
    max_frames: int | None = None,
    scene_cut: bool = True,
) -> Iterator[DepthFrame]:
    """Depth of a video, one `DepthFrame` for each frame, in order, as it is computed.

    video: a file, or as text any source that `depthcast run` takes; of live ones the newest frame is taken each time.

    Raises DepthcastError, StreamError or EngineError, with what to do in the message.
    """
    wanted = wanted_for(model, metric, Mode(mode), checkpoint, engine, input_size, threads)
    uri = parse_source(video) if isinstance(video, str) else FileIn(Path(video))
    settings = Settings.from_environment()
    with opened_source(uri, settings, logger.info, HttpPorts(), max_frames) as source:
        if wanted.mode is Mode.OFFLINE:
            with ShapedSessions(wanted, own_windows(settings), settings, logger.info) as windows:
                yield from offline_by_shape(source, windows.session_for)
            return
        info = source.info
        with (
            ShapedSessions(wanted, own_steps(settings), settings, logger.info, waits=not info.live) as steps,
            DepthEstimator(
                steps.session_for(*info.size), scene_cut, rate=info.rate, session_for=steps.session_for
            ) as estimator,
        ):
            yield from islice(map(estimator.step, source), max_frames)


def wanted_for(
    model: str,
    metric: bool,
    mode: Mode,
    checkpoint: str | os.PathLike[str] | None,
    engine: EngineName,
    input_size: int | None,
    threads: int | None,
) -> Wanted:
    """What the arguments of a Python function ask for. Raises DepthcastError."""
    path = None if checkpoint is None else Path(checkpoint)
    return Wanted(find(model, metric), mode, Engine(engine), checkpoint=path, input_size=input_size, threads=threads)

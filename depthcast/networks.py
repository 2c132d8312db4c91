"""Opens what was planned. The doors to `export` are here, and open only where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from depthcast.builds import engine_of
from depthcast.errors import ModelError
from depthcast.exports import Progress, Say, export_network
from depthcast.gpu import Accelerator
from depthcast.models import NANO, Model
from depthcast.plan import THIS_MACHINE, Engine, Machine, Mode, Route, Wanted, plan, size_text
from depthcast.settings import Settings
from engines.errors import EngineError, EngineUnavailable
from engines.onnx import OnnxSession, OnnxWindowSession
from engines.session import Session, WindowSession
from engines.tensorrt import TensorRtSession, TensorRtWindowSession
from stream.offline import WINDOW
from stream.twoway import TwoWaySession

Opened = TypeVar("Opened", Session, WindowSession)


def step_session(
    wanted: Wanted,
    frame: tuple[int, int],
    settings: Settings,
    say: Say,
    progress: Progress | None = None,
    machine: Machine = THIS_MACHINE,
) -> Session:
    """The best session for frames of size (height, width), stepping frame by frame; what it is, and why, is said.

    Raises DepthcastError or EngineError.
    """
    return _best(open_step, wanted, frame, settings, say, progress, machine)


def window_session(
    wanted: Wanted,
    frame: tuple[int, int],
    settings: Settings,
    say: Say,
    progress: Progress | None = None,
    machine: Machine = THIS_MACHINE,
) -> WindowSession:
    """As `step_session`, seeing a whole window; the embedded network streams each window in both directions."""
    if wanted.model.name == NANO and wanted.checkpoint is None:
        streaming = replace(wanted, mode=Mode.STREAM)
        return TwoWaySession(step_session(streaming, frame, settings, say, progress, machine), WINDOW)
    return _best(open_window, wanted, frame, settings, say, progress, machine)


def _best(
    opener: Callable[[Route, Wanted, Say, Progress | None], Opened],
    wanted: Wanted,
    frame: tuple[int, int],
    settings: Settings,
    say: Say,
    progress: Progress | None,
    machine: Machine,
) -> Opened:
    with settings.using_home():
        route = plan(wanted, *frame, settings, machine)
        try:
            session = opener(route, wanted, say, progress)
        except (ModelError, EngineError) as error:
            if route.engine is not Engine.TENSORRT or wanted.engine is not Engine.AUTO:
                raise
            route = plan(wanted, *frame, settings, _without_tensorrt(machine, error))
            session = opener(route, wanted, say, progress)
    say(f"{session.spec.name} at {size_text(route.size)} on {route.engine.value}: {route.reasons}")
    return session


def _without_tensorrt(machine: Machine, error: Exception) -> Machine:
    def refuse() -> Accelerator:
        raise EngineUnavailable(str(error)) from error

    return replace(machine, accelerator=refuse)


def open_step(route: Route, wanted: Wanted, say: Say, progress: Progress | None = None) -> Session:
    """The network as a session that steps frame by frame; exports and builds first what the route says."""
    if route.engine is Engine.TORCH:
        return _torch_step(wanted.model, _given(route.checkpoint), route.size)
    network = _ready_network(route, wanted, say, progress)
    if route.accelerator is not None:
        there = route.accelerator
        return TensorRtSession.open(_engine(route, network, say, progress), there.backend, there.device)
    if route.engine is Engine.OPENVINO:
        from engines.openvino import OpenVinoSession

        return OpenVinoSession(network, route.size, wanted.threads)
    return OnnxSession(network, route.size, wanted.threads)


def open_window(route: Route, wanted: Wanted, say: Say, progress: Progress | None = None) -> WindowSession:
    """The network as a session that sees a whole window; exports and builds first what the route says."""
    if route.engine is Engine.TORCH:
        return _torch_window(wanted.model, _given(route.checkpoint), route.size)
    network = _ready_network(route, wanted, say, progress)
    if route.accelerator is not None:
        there = route.accelerator
        return TensorRtWindowSession.open(_engine(route, network, say, progress), there.backend, there.device)
    if route.engine is Engine.OPENVINO:
        from engines.openvino import OpenVinoWindowSession

        return OpenVinoWindowSession(network, route.size, wanted.threads)
    return OnnxWindowSession(network, route.size, wanted.threads)


def _engine(route: Route, network: Path, say: Say, progress: Progress | None) -> Path:
    assert route.accelerator is not None
    return engine_of(network, route.size, route.accelerator, _given(route.engines), say, progress).path


def _ready_network(route: Route, wanted: Wanted, say: Say, progress: Progress | None) -> Path:
    network = _given(route.network)
    if route.checkpoint is not None:
        precise = replace(wanted, precision=route.precision)
        export_network(precise, route.checkpoint, network, route.size, say, progress=progress)
    return network


def _torch_step(model: Model, checkpoint: Path, size: tuple[int, int]) -> Session:
    from export.config import CONFIGS
    from export.errors import ExportError
    from export.reference import TorchSession

    try:
        return TorchSession.open(CONFIGS[model.name], checkpoint, size, metric=model.metric, device=_torch_device())
    except ExportError as error:
        raise ModelError(str(error)) from error


def _torch_window(model: Model, checkpoint: Path, size: tuple[int, int]) -> WindowSession:
    from export.config import CONFIGS
    from export.errors import ExportError
    from export.reference import TorchWindowSession

    try:
        return TorchWindowSession.open(
            CONFIGS[model.name], checkpoint, size, metric=model.metric, device=_torch_device()
        )
    except ExportError as error:
        raise ModelError(str(error)) from error


def _torch_device() -> str:
    return "cuda" if THIS_MACHINE.gpu() else "cpu"


def _given(path: Path | None) -> Path:
    assert path is not None
    return path

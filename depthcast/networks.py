"""Opens what was planned. The doors to `export` are here, and open only where torch is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from depthcast.errors import ModelError, UsageError
from depthcast.models import NANO, PACKAGED_NANO, Model
from depthcast.plan import (
    THIS_MACHINE,
    Engine,
    Machine,
    Mode,
    Precision,
    Route,
    Wanted,
    checkpoint_of,
    size_text,
    steps_to_readiness,
    stored_network,
)
from depthcast.settings import Settings
from engines.onnx import OnnxSession, OnnxWindowSession
from engines.session import Session, WindowSession

Say = Callable[[str], None]
"""Told, in a line, what is being done that takes long."""


def open_step(route: Route, wanted: Wanted, say: Say) -> Session:
    """The network as a session that steps frame by frame; exports it first where the route says so."""
    if route.engine is Engine.TORCH:
        return _torch_step(wanted.model, _given(route.checkpoint), route.size)
    return OnnxSession(_ready_network(route, wanted, say), route.size, wanted.threads)


def open_window(route: Route, wanted: Wanted, say: Say) -> WindowSession:
    """The network as a session that sees a whole window; exports it first where the route says so."""
    if route.engine is Engine.TORCH:
        return _torch_window(wanted.model, _given(route.checkpoint), route.size)
    return OnnxWindowSession(_ready_network(route, wanted, say), route.size, wanted.threads)


def export_to(
    out: Path | None,
    wanted: Wanted,
    size: tuple[int, int],
    settings: Settings,
    say: Say,
    machine: Machine = THIS_MACHINE,
    batch: int = 1,
) -> Path:
    """Export a network for pictures of size (height, width) to `out`, or into the model store; returns where.

    batch: streams a call.
    Raises ModelError where weights or torch are missing, UsageError for the model that is packaged.
    """
    if wanted.model.name == NANO:
        raise UsageError(f"nano comes with depthcast as ONNX: {PACKAGED_NANO}")
    if out is not None and out.suffix != ".onnx":
        raise UsageError(f"a network is written to a .onnx file, got {out}")
    if batch != 1 and (out is None or wanted.mode is Mode.OFFLINE):
        raise UsageError("--batch makes a streaming network for programs of your own: add --output FILE.onnx")
    checkpoint = checkpoint_of(wanted, settings)
    if steps := steps_to_readiness(wanted, checkpoint, machine):
        raise ModelError(f"{wanted.model.label} cannot be exported yet: first {' and '.join(steps)}")
    network = out or stored_network(wanted, size, settings)
    _export(wanted, _given(checkpoint), network, size, say, batch)
    return network


def _ready_network(route: Route, wanted: Wanted, say: Say) -> Path:
    network = _given(route.network)
    if route.checkpoint is not None:
        _export(wanted, route.checkpoint, network, route.size, say)
    return network


def _export(wanted: Wanted, checkpoint: Path, out: Path, size: tuple[int, int], say: Say, batch: int = 1) -> None:
    say(f"exporting {wanted.model.label} for {size_text(size)}; this is done once and takes a while …")
    from export.config import CONFIGS
    from export.errors import ExportError
    from export.to_onnx import export_step, export_window

    config, metric = CONFIGS[wanted.model.name], wanted.model.metric
    precision: Literal["fp16", "fp32"] = "fp16" if wanted.precision is Precision.FP16 else "fp32"
    try:
        if wanted.mode is Mode.OFFLINE:
            export_window(config, checkpoint, out, size, metric=metric, precision=precision)
        else:
            export_step(config, checkpoint, out, size, metric=metric, precision=precision, batch=batch)
    except ExportError as error:
        raise ModelError(str(error)) from error


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

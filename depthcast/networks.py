"""From what was asked for to a network that runs: which file, on which engine, and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from depthcast.errors import ModelError, UsageError
from depthcast.models import NANO, PACKAGED_NANO, Model
from depthcast.settings import Settings
from engines.onnx import OnnxSession, OnnxWindowSession
from engines.session import Session, WindowSession
from engines.spec import VDA_WINDOW, ModelSpec, sha256_of
from stream.preprocess import network_size

Say = Callable[[str], None]
"""Told, in a line, what is being done that takes long."""

EXPORT_PACKAGES = ("torch", "onnx", "onnxscript")
OFFLINE_FRAMES = 32


class Engine(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    ONNX = "onnx"
    TORCH = "torch"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """Arithmetic of the network."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"


class Mode(StrEnum):
    """Frame by frame, or window by window with a look ahead."""

    STREAM = "stream"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for.

    checkpoint: weights of one's own (.pth, .safetensors), or a network that `depthcast export` wrote (.onnx).
    input_size: of the size rule of the model; None: the model's default.
    threads: of the engine; None: as many as it likes.
    """

    model: Model
    mode: Mode = Mode.STREAM
    engine: Engine = Engine.AUTO
    precision: Precision = Precision.AUTO
    checkpoint: Path | None = None
    input_size: int | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """How a wish is met.

    network: the ONNX file to run; None when torch runs the checkpoint itself.
    checkpoint: the weights it comes from, where they are needed: for torch, or to export `network` first.
    size: (height, width) of the network's input in pixels.
    """

    engine: Engine
    size: tuple[int, int]
    why: str
    network: Path | None = None
    checkpoint: Path | None = None

    @property
    def exports(self) -> bool:
        """The network does not exist yet."""
        return self.network is not None and self.checkpoint is not None


def plan(
    wanted: Wanted, height: int, width: int, settings: Settings, has: Callable[[str], bool] | None = None
) -> Route:
    """The best way to run what is wanted on frames of height × width pixels.

    has: tells whether a Python package is installed.
    Raises UsageError where options contradict each other, ModelError where something is missing; both say what to do.
    """
    _refuse_contradictions(wanted)
    if (path := wanted.checkpoint) is not None and not path.is_file():
        raise ModelError(f"there is no checkpoint at {path}")
    if path is not None and path.suffix == ".onnx":
        return Route(Engine.ONNX, _size(ModelSpec.load(path.with_suffix(".json")), wanted, height, width), "as given", path)
    if wanted.model.name == NANO:
        spec = ModelSpec.load(PACKAGED_NANO.with_suffix(".json"))
        return Route(Engine.ONNX, _size(spec, wanted, height, width), "comes with the package", PACKAGED_NANO)
    return _plan_official(wanted, height, width, settings, has or _installed)


def _plan_official(
    wanted: Wanted, height: int, width: int, settings: Settings, has: Callable[[str], bool]
) -> Route:
    size = _size(official_spec(wanted.model), wanted, height, width)
    network = stored_network(wanted, size, settings)
    checkpoint = _checkpoint(wanted, settings)
    if wanted.engine is not Engine.TORCH and network.exists():
        return Route(Engine.ONNX, size, "exported before for this size", network)
    needed = ("torch",) if wanted.engine is Engine.TORCH else EXPORT_PACKAGES
    missing = [package for package in needed if not has(package)]
    steps = [] if checkpoint else [f"`depthcast pull {wanted.model.options}`"]
    steps += ["`pip install 'depthcast[export]'`"] if missing else []
    if checkpoint is None or missing:
        raise ModelError(f"{wanted.model.label} is not ready to run at {_text(size)}: first {' and '.join(steps)}")
    if wanted.engine is Engine.TORCH:
        return Route(Engine.TORCH, size, "as asked", None, checkpoint)
    return Route(Engine.ONNX, size, "faster than torch on a CPU, exported for this size once", network, checkpoint)


def open_step(route: Route, wanted: Wanted, say: Say) -> Session:
    """The network as a session that steps frame by frame; exports it first where the route says so."""
    if route.network is None:
        from depthcast.exporting import torch_session

        assert route.checkpoint is not None
        return torch_session(wanted.model, route.checkpoint, route.size)
    _ensure_exported(route, wanted, say)
    return OnnxSession(route.network, route.size, wanted.threads)


def open_window(route: Route, wanted: Wanted, say: Say) -> WindowSession:
    """The network as a session that sees a whole window; exports it first where the route says so."""
    if route.network is None:
        from depthcast.exporting import torch_window_session

        assert route.checkpoint is not None
        return torch_window_session(wanted.model, route.checkpoint, route.size)
    _ensure_exported(route, wanted, say)
    return OnnxWindowSession(route.network, wanted.threads)


def official_spec(model: Model) -> ModelSpec:
    """What is known of an official network before it is exported: enough to choose its input size."""
    return ModelSpec(
        name=model.name,
        kind="step",
        unit=model.unit,
        precision="fp32",
        height=None,
        width=None,
        multiple=14,
        input_size=518,
        resample="cubic",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        window=VDA_WINDOW,
        caches=(),
        frames=1,
        licence=model.licence,
        source="" if model.weights is None else model.weights.repository,
        weights_sha256="",
        onnx_sha256="",
    )


def stored_network(wanted: Wanted, size: tuple[int, int], settings: Settings) -> Path:
    """Place of an exported network in the model store; weights of one's own are told apart by their digest."""
    kind = "step" if wanted.mode is Mode.STREAM else "window"
    own = "" if wanted.checkpoint is None else "-" + sha256_of(wanted.checkpoint)[:12]
    return settings.networks / f"{wanted.model.label}{own}-{kind}-{_text(size)}.onnx"


def _refuse_contradictions(wanted: Wanted) -> None:
    onnx_file = wanted.checkpoint is not None and wanted.checkpoint.suffix == ".onnx"
    if wanted.engine is Engine.TENSORRT:
        raise ModelError("this version has no TensorRT engine yet: use --engine onnx")
    if wanted.precision is Precision.FP16:
        raise UsageError("fp16 needs a GPU engine; on a CPU use --precision fp32")
    if onnx_file and wanted.engine is Engine.TORCH:
        raise UsageError(f"{wanted.checkpoint} is an ONNX network: torch runs .pth and .safetensors checkpoints")
    if wanted.model.name != NANO or onnx_file:
        return
    if wanted.checkpoint is not None:
        raise UsageError("--checkpoint needs to know the network: add --model VDA-Small, VDA-Base or VDA-Large")
    if wanted.engine is Engine.TORCH:
        raise UsageError("nano runs on onnxruntime only: use --engine onnx or auto")
    if wanted.mode is Mode.OFFLINE:
        raise UsageError("nano is a streaming network: --mode offline needs VDA-Small, VDA-Base or VDA-Large")


def _checkpoint(wanted: Wanted, settings: Settings) -> Path | None:
    if wanted.checkpoint is not None:
        return wanted.checkpoint
    assert wanted.model.weights is not None
    path = wanted.model.weights.path(settings)
    return path if path.exists() else None


def _ensure_exported(route: Route, wanted: Wanted, say: Say) -> None:
    if not route.exports:
        return
    from depthcast.exporting import export

    assert route.network is not None
    assert route.checkpoint is not None
    say(f"exporting {wanted.model.label} for {_text(route.size)}; this is done once and takes a while …")
    export(wanted.model, wanted.mode is Mode.OFFLINE, route.checkpoint, route.network, route.size)


def _size(spec: ModelSpec, wanted: Wanted, height: int, width: int) -> tuple[int, int]:
    if spec.height is not None and spec.width is not None:
        return spec.height, spec.width
    return network_size(spec, height, width, wanted.input_size)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"

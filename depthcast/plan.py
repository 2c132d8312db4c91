"""From what was asked for to what will run: which network, on which engine, and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from depthcast.errors import ModelError, UsageError
from depthcast.gpu import Accelerator, accelerator
from depthcast.models import NANO, PACKAGED_NANO, Model
from depthcast.settings import Settings
from engines.errors import EngineUnavailable
from engines.spec import VDA_WINDOW, ModelSpec, sha256_of
from stream.preprocess import network_size
from stream.shape import is_stretched

TORCH_PACKAGES = ("torch", "safetensors")
EXPORT_PACKAGES = (*TORCH_PACKAGES, "onnx", "onnxscript")
INSTALL_OPENVINO = "`pip install 'depthcast[openvino]'`"


class Engine(StrEnum):
    """What runs the network."""

    AUTO = "auto"
    ONNX = "onnx"
    TORCH = "torch"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """Arithmetic of the network."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"


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
    checkpoint: the weights, where they are still needed: by torch, or to export `network` first.
    size: (height, width) of the network's input in pixels.
    why_not: why the fastest engine was passed over; empty where it was not, or where another was asked for.
    precision: of `network` where it is to be exported.
    accelerator: the GPU and its TensorRT, and `engines` the folder of what was built for it, for that engine only.
    stretches: the input size is fixed, and not that of the pictures' shape.
    """

    engine: Engine
    size: tuple[int, int]
    why: str
    network: Path | None = None
    checkpoint: Path | None = None
    why_not: str = ""
    precision: Precision = Precision.AUTO
    accelerator: Accelerator | None = None
    engines: Path | None = None
    stretches: bool = False

    @property
    def reasons(self) -> str:
        """Why this engine, and why not the fastest one."""
        return f"{self.why}; not on tensorrt: {self.why_not}" if self.why_not else self.why


@dataclass(frozen=True, slots=True)
class Machine:
    """What is installed here.

    has: tells whether a Python package can be imported.
    gpu: tells whether torch sees one; asked only where torch is installed.
    bfloat16: tells whether the processor computes in it; asked only where OpenVINO is installed.
    accelerator: gives the GPU with its TensorRT, or raises EngineUnavailable.
    """

    has: Callable[[str], bool]
    gpu: Callable[[], bool]
    accelerator: Callable[[], Accelerator] = accelerator
    bfloat16: Callable[[], bool] = lambda: False


def _torch_sees_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _has_bfloat16() -> bool:
    from engines.openvino import has_bfloat16

    return has_bfloat16()


THIS_MACHINE = Machine(
    lambda package: importlib.util.find_spec(package) is not None, _torch_sees_gpu, bfloat16=_has_bfloat16
)


def plan(wanted: Wanted, height: int, width: int, settings: Settings, machine: Machine = THIS_MACHINE) -> Route:
    """The best way to run what is wanted on frames of height × width pixels.

    Raises UsageError where options contradict each other and ModelError where something is missing.
    """
    _refuse_contradictions(wanted)
    path = wanted.checkpoint
    if path is not None and not path.is_file():
        raise ModelError(f"there is no checkpoint at {path}")
    if path is not None and path.suffix == ".onnx":
        spec = ModelSpec.load(path.with_suffix(".json"))
        size = _size_in(spec, wanted, height, width)
        stretched = spec.height is not None and is_stretched((height, width), size)
        why = f"the network given, which stretches frames of {height}x{width}" if stretched else "the network given"
        route = Route(_cpu_engine(wanted, spec, machine), size, why, path, stretches=stretched)
        return _plan_graph(wanted, route, settings, machine)
    if wanted.model.name == NANO:
        spec = ModelSpec.load(PACKAGED_NANO.with_suffix(".json"))
        size = _size_in(spec, wanted, height, width)
        on_cpu = Route(_cpu_engine(wanted, spec, machine), size, "comes with depthcast", PACKAGED_NANO)
        return _plan_graph(wanted, on_cpu, settings, machine)
    size = network_size(official_spec(wanted.model), height, width, wanted.input_size)
    return _plan_official(wanted, size, settings, machine)


def _cpu_engine(wanted: Wanted, spec: ModelSpec, machine: Machine) -> Engine:
    """What runs a graph that is there, where no GPU does."""
    if wanted.engine is not Engine.OPENVINO and spec.precision != "bf16":
        return Engine.ONNX
    if not machine.has("openvino"):
        raise ModelError(f"{spec.name} cannot run on openvino yet: first {INSTALL_OPENVINO}")
    return Engine.OPENVINO


def _plan_graph(wanted: Wanted, on_cpu: Route, settings: Settings, machine: Machine) -> Route:
    """The route of a graph that is there, or the same on TensorRT."""
    there, why_not = _accelerator(wanted, machine)
    if there is None:
        return replace(on_cpu, why_not=why_not)
    return replace(on_cpu, engine=Engine.TENSORRT, accelerator=there, engines=settings.engines)


def _accelerator(wanted: Wanted, machine: Machine) -> tuple[Accelerator | None, str]:
    """The GPU with its TensorRT, or None and why not; ModelError where it was asked for."""
    if wanted.engine not in (Engine.AUTO, Engine.TENSORRT):
        return None, ""
    try:
        return machine.accelerator(), ""
    except EngineUnavailable as error:
        if wanted.engine is Engine.TENSORRT:
            raise ModelError(f"--engine tensorrt cannot run here: {error}; --engine auto finds another") from error
        return None, str(error)


def _plan_official(wanted: Wanted, size: tuple[int, int], settings: Settings, machine: Machine) -> Route:
    checkpoint = checkpoint_of(wanted, settings)
    there, why_not = _accelerator(wanted, machine)
    if there is not None:
        route = _plan_tensorrt(wanted, size, checkpoint, settings, machine)
        if isinstance(route, Route):
            return replace(route, engine=Engine.TENSORRT, accelerator=there, engines=settings.engines)
        why_not = route
    return replace(_plan_elsewhere(wanted, size, checkpoint, settings, machine), why_not=why_not)


def _plan_tensorrt(
    wanted: Wanted, size: tuple[int, int], checkpoint: Path | None, settings: Settings, machine: Machine
) -> Route | str:
    """The network that TensorRT would compile, float16 unless asked otherwise, or what is missing for one."""
    half = wanted if wanted.precision is Precision.FP32 else replace(wanted, precision=Precision.FP16)
    network = stored_network(half, size, settings)
    if is_stored(network):
        return Route(Engine.ONNX, size, "exported for this size before", network)
    steps = steps_to_readiness(half, checkpoint, machine)
    if not steps:
        return Route(Engine.ONNX, size, "the fastest", network, checkpoint, precision=half.precision)
    full = stored_network(replace(wanted, precision=Precision.FP32), size, settings)
    if wanted.precision is Precision.AUTO and is_stored(full):
        return Route(Engine.ONNX, size, "exported for this size before, in fp32", full)
    missing = f"first {' and '.join(steps)}"
    if wanted.engine is Engine.TENSORRT:
        raise ModelError(f"{wanted.model.label} cannot run at {size_text(size)} yet: {missing}")
    return f"there is no fp16 network of {size_text(size)}, {missing}"


def _plan_elsewhere(
    wanted: Wanted, size: tuple[int, int], checkpoint: Path | None, settings: Settings, machine: Machine
) -> Route:
    with_torch = wanted.engine is Engine.TORCH
    if _may_use_torch(wanted) and checkpoint and machine.has("torch") and machine.gpu():
        return Route(Engine.TORCH, size, "there is a GPU for torch", None, checkpoint)
    on_openvino = _plan_openvino(wanted, size, checkpoint, settings, machine)
    if isinstance(on_openvino, Route):
        return on_openvino
    behind = f"; not on openvino: {on_openvino}" if on_openvino else ""
    network = stored_network(wanted, size, settings)
    if not with_torch and is_stored(network):
        return Route(Engine.ONNX, size, f"exported for this size before{behind}", network)
    if steps := steps_to_readiness(wanted, checkpoint, machine):
        raise ModelError(f"{wanted.model.label} cannot run at {size_text(size)} yet: first {' and '.join(steps)}")
    if with_torch:
        return Route(Engine.TORCH, size, "as asked", None, checkpoint)
    why = f"faster than torch on a CPU{behind}"
    return Route(Engine.ONNX, size, why, network, checkpoint, precision=wanted.precision)


def _plan_openvino(
    wanted: Wanted, size: tuple[int, int], checkpoint: Path | None, settings: Settings, machine: Machine
) -> Route | str:
    """The route on OpenVINO, in bfloat16 where the processor has it; or, unless it was asked for, why not."""
    asked = wanted.engine is Engine.OPENVINO or wanted.precision is Precision.BF16
    if not asked and (wanted.engine, wanted.precision) != (Engine.AUTO, Precision.AUTO):
        return ""
    installed = machine.has("openvino")
    precise = replace(wanted, engine=Engine.OPENVINO)
    if wanted.precision is Precision.AUTO:
        precise = replace(precise, precision=Precision.BF16 if installed and machine.bfloat16() else Precision.FP32)
    if installed and not asked and precise.precision is Precision.FP32:
        return "it gains nothing on a processor without bfloat16"
    network = stored_network(precise, size, settings)
    if installed and is_stored(network):
        return Route(Engine.OPENVINO, size, f"exported for this size before, in {precise.precision.value}", network)
    if steps := steps_to_readiness(precise, checkpoint, machine):
        if asked:
            raise ModelError(f"{wanted.model.label} cannot run at {size_text(size)} yet: first {' and '.join(steps)}")
        return f"first {' and '.join(steps)}"
    return Route(Engine.OPENVINO, size, "the fastest here", network, checkpoint, precision=precise.precision)


def _may_use_torch(wanted: Wanted) -> bool:
    return wanted.engine is Engine.AUTO and wanted.precision in (Precision.AUTO, Precision.FP32)


def steps_to_readiness(wanted: Wanted, checkpoint: Path | None, machine: Machine) -> list[str]:
    """The commands that a person must run first: without weights or, where they are needed, torch and OpenVINO."""
    needed = TORCH_PACKAGES if wanted.engine is Engine.TORCH else EXPORT_PACKAGES
    steps = [] if checkpoint else [f"`depthcast pull {wanted.model.pull_options}`"]
    if not all(machine.has(package) for package in needed):
        steps.append("`pip install 'depthcast[export]'`")
    if Engine.OPENVINO is wanted.engine or Precision.BF16 is wanted.precision:
        steps += [] if machine.has("openvino") else [INSTALL_OPENVINO]
    return steps


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


def stored_network(wanted: Wanted, size: tuple[int, int], settings: Settings, batch: int | None = 1) -> Path:
    """Place of an exported network in the model store; a digest tells weights of one's own apart.

    batch: streams a call; None: any number.
    """
    kind = "step" if wanted.mode is Mode.STREAM else "window"
    own = "" if wanted.checkpoint is None else "-" + sha256_of(wanted.checkpoint)[:12]
    half = f"-{wanted.precision.value}" if wanted.precision in (Precision.FP16, Precision.BF16) else ""
    many = "" if batch == 1 else f"-batch-{batch or 'any'}"
    return settings.networks / f"{wanted.model.label}{own}-{kind}-{size_text(size)}{half}{many}.onnx"


def is_stored(network: Path) -> bool:
    """The graph and its spec are there."""
    return network.exists() and network.with_suffix(".json").exists()


def _refuse_contradictions(wanted: Wanted) -> None:
    onnx_file = wanted.checkpoint is not None and wanted.checkpoint.suffix == ".onnx"
    if wanted.precision is Precision.FP16 and wanted.engine is Engine.TORCH:
        raise UsageError("torch runs fp32 here: fp16 needs --engine onnx or tensorrt")
    if wanted.precision is Precision.FP16 and wanted.engine is Engine.OPENVINO:
        raise UsageError("fp16 gains nothing on openvino: use --precision bf16, fp32 or auto")
    if wanted.precision is Precision.BF16 and wanted.engine not in (Engine.AUTO, Engine.OPENVINO):
        raise UsageError(f"{wanted.engine.value} runs no bf16 here: use --engine openvino or auto")
    if onnx_file and wanted.engine is Engine.TORCH:
        raise UsageError(f"{wanted.checkpoint} is an ONNX network: torch runs .pth and .safetensors checkpoints")
    if wanted.model.name != NANO or onnx_file:
        return
    if wanted.checkpoint is not None:
        raise UsageError("--checkpoint needs to know the network: add --model VDA-Small, VDA-Base or VDA-Large")
    if wanted.engine is Engine.TORCH:
        raise UsageError(
            "nano runs on onnxruntime, OpenVINO and TensorRT: use --engine onnx, openvino, tensorrt or auto"
        )


def checkpoint_of(wanted: Wanted, settings: Settings) -> Path | None:
    """The weights asked for, or those that were pulled; None where there are none here."""
    if wanted.checkpoint is not None:
        return wanted.checkpoint
    assert wanted.model.weights is not None
    path = wanted.model.weights.path(settings)
    return path if path.exists() else None


def _size_in(spec: ModelSpec, wanted: Wanted, height: int, width: int) -> tuple[int, int]:
    if wanted.precision not in (Precision.AUTO, spec.precision):
        raise UsageError(f"{spec.name} is an {spec.precision} network: leave --precision at auto")
    return network_size(spec, height, width, wanted.input_size)


def size_text(size: tuple[int, int]) -> str:
    """(height, width) as people write it here: heightxwidth."""
    return f"{size[0]}x{size[1]}"

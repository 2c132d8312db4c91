"""Torch to ONNX: a graph and, beside it, the spec that the runtime reads. Nothing is written that fails parity."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from engines.onnx import OnnxSession, OnnxWindowSession
from engines.session import Session, WindowSession
from engines.spec import ModelSpec, Pixels, Precision, sha256_of
from export.config import VdaConfig
from export.describe import vda_spec
from export.graph import Adapted, VdaStep, VdaWindow, example_step
from export.half import to_bfloat16, to_half
from export.model.depth import VideoDepthAnything
from export.progress import Progress
from export.reference import TorchSession, TorchWindowSession
from export.verify import CHECKING, FRAMES, LIMITS, Departure, departure, require_parity, window_departure
from export.weights import load_network

_STEM_BYTES = 200
OPSET = 20
"""The first with Gelu; TensorRT since 10 and ONNX Runtime since 1.17 take it."""
KEEP_FLOAT32 = ("head.scratch.output_conv2",)
"""The last convolutions of Video Depth Anything, which the official code runs in float32."""

BACKBONE = "pretrained.blocks"


@dataclass(frozen=True, slots=True)
class Parity:
    """How an export is checked before it is written. frames 0: not at all. limit None: that of the precision."""

    frames: int = FRAMES
    limit: float | None = None

    def limit_for(self, spec: ModelSpec) -> float:
        """The limit of a network."""
        return LIMITS[spec.precision] if self.limit is None else self.limit


FULL_PARITY = Parity()


def export_step(
    config: VdaConfig,
    checkpoint: Path,
    out: Path,
    size: tuple[int, int],
    *,
    metric: bool = False,
    batch: int | None = 1,
    precision: Precision = "fp32",
    pixels: Pixels = "float32",
    resized_to: tuple[int, int] | None = None,
    parity: Parity = FULL_PARITY,
    progress: Progress | None = None,
) -> ModelSpec:
    """Write the streaming step of a checkpoint for pictures of size (height, width) to `out`, its spec beside it.

    batch: streams a call; None leaves it open. pixels: "uint8" takes the picture's bytes and normalises in the graph.
    resized_to: (height, width) to which the graph resizes the map. progress: told the frames of the check.
    Raises CheckpointError for an unusable checkpoint, ParityError where the graph departs from the torch network.
    """
    network = load_network(config, checkpoint)
    plain = vda_spec(config, metric=metric, size=size, weights_sha256=sha256_of(checkpoint))
    spec = replace(plain, precision=precision, batch=batch, pixels=pixels, resized_to=resized_to)
    step = Adapted(VdaStep(_in_precision(network, precision), *size), spec)
    inputs, outputs = step_names(spec)
    free = {name: {0: "batch"} for name in inputs} if batch is None else None
    # An example of one stream would be taken for the constant 1.
    model = trace(step, example_step(spec, batch or 2), inputs, outputs, free)
    oracle = TorchSession(VdaStep(network, *size), plain)
    return save(model, spec, out, lambda path: check_step(oracle, path, batch or 2, parity, progress=progress))


def export_window(
    config: VdaConfig,
    checkpoint: Path,
    out: Path,
    size: tuple[int, int],
    *,
    metric: bool = False,
    precision: Precision = "fp32",
    parity: Parity = FULL_PARITY,
    progress: Progress | None = None,
) -> ModelSpec:
    """Write the offline window graph of a checkpoint, checked over one window; otherwise as `export_step`."""
    network = load_network(config, checkpoint)
    spec = vda_spec(
        config, metric=metric, size=size, weights_sha256=sha256_of(checkpoint), kind="window", precision=precision
    )
    images = torch.zeros(spec.frames, 3, *size)
    model = trace(VdaWindow(_in_precision(network, precision), *size), (images,), ["images"], ["depth"])
    plain = replace(spec, precision="fp32")
    oracle = TorchWindowSession(VdaWindow(network, *size), plain)
    return save(model, spec, out, lambda path: check_window(oracle, path, parity, progress))


def _in_precision(network: VideoDepthAnything, precision: Precision) -> VideoDepthAnything:
    match precision:
        case "fp32":
            return network
        case "fp16":
            return to_half(network, KEEP_FLOAT32)
        case "bf16":
            return to_bfloat16(network, BACKBONE)


def check_step(
    oracle: TorchSession,
    path: Path,
    batch: int,
    parity: Parity,
    size: tuple[int, int] | None = None,
    progress: Progress | None = None,
) -> Departure | None:
    """Compare a written step graph with the float32 network. Raises ParityError; None where no check was asked for."""
    if not parity.frames:
        return None
    with _opened_step(path, size) as candidate:
        found = departure(oracle, candidate, parity.frames, batch, progress)
        return require_parity(found, parity.limit_for(candidate.spec), candidate.spec.name)


def check_window(
    oracle: TorchWindowSession, path: Path, parity: Parity, progress: Progress | None = None
) -> Departure | None:
    """As `check_step`, over one window whatever number of frames was asked for."""
    if not parity.frames:
        return None
    with _opened_window(path) as candidate:
        if progress is not None:
            progress(CHECKING, 0, candidate.spec.frames)
        found = window_departure(oracle, candidate)
        return require_parity(found, parity.limit_for(candidate.spec), candidate.spec.name)


def _opened_step(path: Path, size: tuple[int, int] | None) -> Session:
    """On an engine of the CPU that takes the graph's precision: ONNX Runtime has no products of bfloat16."""
    if ModelSpec.load(path.with_suffix(".json")).precision != "bf16":
        return OnnxSession(path, size)
    from engines.openvino import OpenVinoSession

    return OpenVinoSession(path, size)


def _opened_window(path: Path) -> WindowSession:
    if ModelSpec.load(path.with_suffix(".json")).precision != "bf16":
        return OnnxWindowSession(path)
    from engines.openvino import OpenVinoWindowSession

    return OpenVinoWindowSession(path)


def step_names(spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Names of a step graph's inputs and outputs, in order."""
    inputs = ["image", "positions", "mask", *(cache.name for cache in spec.caches)]
    return inputs, ["depth", *(cache.feature for cache in spec.caches)]


def save(
    model: onnx.ModelProto, spec: ModelSpec, out: Path, check: Callable[[Path], object] | None = None
) -> ModelSpec:
    """Write graph and spec; both appear under their final names only after `check` has passed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    # The names of both must fit, which are longer than the file's own.
    stem = out.stem.encode()[:_STEM_BYTES].decode(errors="ignore")
    partial = out.with_name(f".{stem}.part.onnx")
    sidecar = partial.with_suffix(".json")
    try:
        onnx.save_model(model, partial)
        spec = replace(spec, onnx_sha256=sha256_of(partial))
        spec.save(sidecar)
        if check is not None:
            check(partial)
        partial.replace(out)
        sidecar.replace(out.with_suffix(".json"))
    finally:
        partial.unlink(missing_ok=True)
        sidecar.unlink(missing_ok=True)
    return spec


def trace(
    function: nn.Module,
    inputs: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    free: Mapping[str, Mapping[int, str]] | None = None,
) -> onnx.ModelProto:
    """The checked ONNX model of a function at the shapes of its example inputs.

    free: for each input with dimensions to be left open, their axes and the names they get.
    """
    shapes = tuple(dict.fromkeys((free or {}).get(name, {}), torch.export.Dim.AUTO) for name in input_names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own deprecations
        program = torch.onnx.export(
            function.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamic_shapes=_nested(shapes) if free else None,
            optimize=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _drop_notes(model)
    if free:
        _name_free_dimensions(model, free)
    onnx.checker.check_model(model, full_check=True)
    return model


def _drop_notes(model: onnx.ModelProto) -> None:
    """Take out the exporter's notes, which name source files of the machine that exported."""
    graph = model.graph
    for noted in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output, graph, model):
        del noted.metadata_props[:]
        noted.doc_string = ""


def _nested(shapes: tuple[dict[int, object], ...]) -> tuple[object, ...]:
    """Dimensions in the form of the step's signature: image, positions, mask, *caches."""
    return *shapes[:3], shapes[3:]


def _name_free_dimensions(model: onnx.ModelProto, free: Mapping[str, Mapping[int, str]]) -> None:
    """Give the open dimensions names that the runtime can set, and drop the shapes inferred for others."""
    for value in model.graph.input:
        for axis, name in free.get(value.name, {}).items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.value_info[:]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = f"out_{value.name}_{dim.dim_param}"

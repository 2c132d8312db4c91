"""Torch to ONNX: a graph and, beside it, the spec that the runtime reads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from engines.spec import ModelSpec, sha256_of
from export.config import VdaConfig
from export.describe import vda_spec
from export.graph import VdaStep, VdaWindow, example_step
from export.weights import load_network

OPSET = 20
"""The first with Gelu; TensorRT since 10 and ONNX Runtime since 1.17 take it."""


def export_step(
    config: VdaConfig, checkpoint: Path, out: Path, size: tuple[int, int], *, metric: bool = False, batch: int = 1
) -> ModelSpec:
    """Write the streaming step of a checkpoint for pictures of size (height, width) to `out`, its spec beside it.

    Raises CheckpointError for an unusable checkpoint.
    """
    spec = vda_spec(config, metric=metric, size=size, weights_sha256=sha256_of(checkpoint))
    shapes = [(cache.cells(*size), cache.channels) for cache in spec.caches]
    inputs = example_step(shapes, spec.window.slots, batch, size)
    return write_graph(VdaStep(load_network(config, checkpoint), *size), inputs, spec, out)


def export_window(
    config: VdaConfig, checkpoint: Path, out: Path, size: tuple[int, int], *, metric: bool = False
) -> ModelSpec:
    """Write the offline window graph of a checkpoint; otherwise as `export_step`."""
    spec = vda_spec(config, metric=metric, size=size, weights_sha256=sha256_of(checkpoint), kind="window")
    images = torch.zeros(spec.frames, 3, *size)
    return write_graph(VdaWindow(load_network(config, checkpoint), *size), (images,), spec, out)


def write_graph(function: nn.Module, inputs: tuple[Tensor, ...], spec: ModelSpec, out: Path) -> ModelSpec:
    """Trace `function` on `inputs` and write graph and spec. Returns the spec with the graph's hash."""
    step = spec.kind == "step"
    input_names = ["image", "positions", "mask", *(cache.name for cache in spec.caches)] if step else ["images"]
    output_names = ["depth", *(cache.feature for cache in spec.caches)] if step else ["depth"]
    model = trace(function, inputs, input_names, output_names)
    onnx.checker.check_model(model, full_check=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".part")
    onnx.save_model(model, partial)
    spec = replace(spec, onnx_sha256=sha256_of(partial))
    partial.replace(out)
    spec.save(out.with_suffix(".json"))
    return spec


def trace(
    function: nn.Module, inputs: tuple[Tensor, ...], input_names: Sequence[str], output_names: Sequence[str]
) -> onnx.ModelProto:
    """The ONNX model of a function at the shapes of its example inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns of its own deprecations
        program = torch.onnx.export(
            function.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(input_names),
            output_names=list(output_names),
            optimize=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto

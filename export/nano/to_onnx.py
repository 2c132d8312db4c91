"""The embedded model as the one file that ships: free input size, weights stored in float16, run in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from engines.spec import CacheSpec, ModelSpec, Unit, sha256_of
from export.config import MEAN, STD
from export.graph import example_step
from export.nano.model import RULE, SLOTS, STRIDE, WIDTHS, NanoNetwork, load
from export.reference import TorchSession
from export.to_onnx import FULL_PARITY, Parity, check_step, save, step_names, trace
from export.verify import LIMITS

SIZE = (192, 256)
"""Height and width the graph is traced and checked at."""
SMALLEST_STORED_HALF = 64
"""Tensors with fewer elements stay float32: they cost nothing, and scalars among them steer operators."""


class NanoStep(nn.Module):
    """The streaming step as a module's `forward`, which is what the exporter traces."""

    def __init__(self, network: NanoNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, positions: Tensor, mask: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """See `NanoNetwork.forward_step`."""
        return self.network.forward_step(image, positions, mask, *caches)


def nano_spec(weights_sha256: str) -> ModelSpec:
    """Spec of the embedded model; its size is fixed when a session opens, its `onnx_sha256` is still empty."""
    return ModelSpec(
        name="depthcast-nano",
        kind="step",
        unit=Unit.RELATIVE,
        precision="fp32",
        height=None,
        width=None,
        multiple=STRIDE,
        input_size=222,
        resample="area",
        mean=MEAN,
        std=STD,
        window=RULE,
        caches=tuple(
            CacheSpec(f"cache_{module}_{block}", f"feature_{module}_{block}", stride, channels)
            for module, (stride, channels) in enumerate(((STRIDE, WIDTHS[4]), (STRIDE // 2, WIDTHS[3])))
            for block in range(2)
        ),
        frames=1,
        licence="Apache-2.0",
        source="trained by this project, see depthcast-nano.md",
        weights_sha256=weights_sha256,
        onnx_sha256="",
    )


def export_nano(weights: Path, out: Path, parity: Parity = FULL_PARITY) -> ModelSpec:
    """Write the trained network to `out`, its spec beside it. Raises ParityError where the file departs from torch."""
    network, spec = load(weights), nano_spec(sha256_of(weights))
    return save(traced(network), spec, out, lambda path: check(network, spec, path, parity))


def traced(network: NanoNetwork) -> onnx.ModelProto:
    """The graph of a network, for any input size, large weights in float16."""
    spec = nano_spec("")
    assert spec.window.slots == SLOTS
    inputs = example_step(spec.at(*SIZE), 1)
    free = {"image": {2: "height", 3: "width"}, **{cache.name: {1: f"cells_{cache.stride}"} for cache in spec.caches}}
    return store_half(trace(NanoStep(network), inputs, *step_names(spec), free))


def check(network: NanoNetwork, spec: ModelSpec, path: Path, parity: Parity) -> None:
    """Compare the file with the float32 network, at the default size and at a wide one."""
    limit = LIMITS["fp16"] if parity.limit is None else parity.limit
    for size in (SIZE, (128, 320)):
        oracle = TorchSession(network.forward_step, spec.at(*size))
        check_step(oracle, path, 1, Parity(parity.frames, limit), size)


def store_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large float32 weights as float16 behind a cast, which ONNX Runtime folds away when it loads the file."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_STORED_HALF:
            continue
        name, stored = tensor.name, f"{tensor.name}_fp16"
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model

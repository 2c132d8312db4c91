"""Arithmetic and traffic of one step, counted from its graph: no clock is involved."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, shape_inference

from engines.onnx import free_dimensions
from engines.spec import ModelSpec

Shapes = dict[str, tuple[int, ...]]

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
OF_EACH_ELEMENT = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Relu", "Clip", "Neg", "Sqrt", "Where", "Greater"), 1),
    **dict.fromkeys(("Softplus", "Sigmoid", "Erf", "Exp", "Tanh"), 4),
    **dict.fromkeys(("Softmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization"), 8),
    **dict.fromkeys(("Gelu", "Resize"), 8),
}
"""Operations for each element of the output, roughly; products and convolutions, which are nearly all, are exact."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one step of one stream.

    flops: a multiplication and an addition are two. weight_bytes: every weight once. cache_bytes: every cached feature
    read once, the new ones written. io_bytes: picture in, map out. activation_bytes: every intermediate result written
    once and read by each layer that takes it, had nothing been fused or kept in a cache of the processor.
    """

    flops: int
    weight_bytes: int
    cache_bytes: int
    io_bytes: int
    activation_bytes: int
    flops_by_operator: dict[str, int]

    @property
    def least_bytes(self) -> int:
        """What must move, whatever is fused."""
        return self.weight_bytes + self.cache_bytes + self.io_bytes


def count(path: Path, spec: ModelSpec) -> Cost:
    """Cost of the graph in `path` at the size of its spec."""
    model = onnx.load(path)
    shapes = all_shapes(model, spec)
    each = 2 if spec.precision == "fp16" else 4
    by_operator: Counter[str] = Counter()
    activations = 0
    weights = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        by_operator[node.op_type] += _flops(node, shapes)
        if not _is_bookkeeping(node, weights):
            touched = [name for name in (*node.input, *node.output) if name and name not in weights]
            activations += sum(each * prod(shapes.get(name, (0,))) for name in touched)
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type in FLOATS]
    height, width = spec.size
    features = sum(cache.cells(height, width) * cache.channels for cache in spec.caches)
    picture = prod(spec.image_shape(1)) * (1 if spec.pixels == "uint8" else 4)
    return Cost(
        flops=sum(by_operator.values()),
        weight_bytes=sum(each * prod(tensor.dims) for tensor in floats),
        cache_bytes=each * features * (spec.window.slots + 1),
        io_bytes=picture + 4 * prod(spec.map_size),
        activation_bytes=activations,
        flops_by_operator={name: flops for name, flops in by_operator.most_common() if flops},
    )


def _is_bookkeeping(node: onnx.NodeProto, weights: set[str]) -> bool:
    """Views and casts of weights, which move nothing when the graph runs."""
    views = {"Reshape", "Unsqueeze", "Squeeze", "Shape", "Constant", "Identity", "Flatten"}
    return node.op_type in views or all(name in weights for name in node.input)


def _flops(node: onnx.NodeProto, shapes: Shapes) -> int:
    out = prod(shapes[node.output[0]])
    if node.op_type == "Conv":
        return 2 * out * prod(shapes[node.input[1]][1:])
    if node.op_type == "ConvTranspose":
        return 2 * prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])
    if node.op_type in ("MatMul", "Gemm"):
        return 2 * out * shapes[node.input[0]][-1]
    if node.op_type in ("ReduceMean", "GlobalAveragePool"):
        return prod(shapes[node.input[0]])
    return OF_EACH_ELEMENT.get(node.op_type, 0) * out


def all_shapes(model: onnx.ModelProto, spec: ModelSpec) -> Shapes:
    """Shape of every tensor at the spec's size; those that inference leaves open are found by running the graph."""
    free = {**free_dimensions(spec), "batch": 1}
    for value in model.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = free[dim.dim_param]
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shape = value.type.tensor_type.shape
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in shape.dim):
            shapes[value.name] = tuple(dim.dim_value for dim in shape.dim)
    left = [name for node in model.graph.node for name in node.output if name and name not in shapes]
    return shapes | _run_for_shapes(model, left) if left else shapes


def _run_for_shapes(model: onnx.ModelProto, names: list[str]) -> Shapes:
    """Shapes of these tensors, by asking for them as outputs."""
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(asked.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {
        value.name: np.zeros(
            value.shape,
            {"tensor(int64)": np.int64, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(
                value.type, np.float32
            ),
        )
        for value in session.get_inputs()
    }
    found = session.run(names, inputs)
    return {name: np.shape(array) for name, array in zip(names, found, strict=True)}

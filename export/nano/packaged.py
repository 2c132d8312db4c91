"""The packaged weights as a network again, so that training can go on from them.

The exporter renames weights, transposes some and multiplies gains into others. What it did is seen by exporting a
network whose weights are known, and undone on the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor

from export.nano.encoder import imagenet_state, load_imagenet
from export.nano.model import NanoNetwork
from export.nano.to_onnx import traced

Array = NDArray[np.float32]


def packaged_network(path: Path) -> NanoNetwork:
    """The network in a file that `export.nano.to_onnx` has written; its weights are float16 there.

    Raises ValueError where the file is of another network.
    """
    model = onnx.load(path)
    network = _probe(capped(model))
    known, stored = _constants(traced(network)), _constants(model)
    buffers = dict(network.named_buffers())
    places = [(name, buffer) for name, buffer in buffers.items() if name.endswith(".pe")]
    with torch.no_grad():
        for name, value in [*network.named_parameters(), *places]:
            gain = buffers.get(name.removesuffix("weight") + "gain")
            value.copy_(_found(name, value, gain, known, stored))
    return network.eval()


def capped(model: onnx.ModelProto) -> bool:
    """Whether the last layer has ReLU6 before it, as in files of the third weights and older ones."""
    return not any(node.op_type == "LeakyRelu" for node in model.graph.node)


def _probe(with_cap: bool) -> NanoNetwork:
    """A network in which no two weights are alike, with the gains of ImageNet."""
    torch.manual_seed(0)
    network = NanoNetwork(capped=with_cap)
    load_imagenet(network.encoder, imagenet_state())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.5, 1.5)
    return network


def _constants(model: onnx.ModelProto) -> dict[str, Array]:
    return {each.name: numpy_helper.to_array(each).astype(np.float32) for each in model.graph.initializer}


def _found(
    name: str, value: Tensor, gain: Tensor | None, known: Mapping[str, Array], stored: Mapping[str, Array]
) -> Tensor:
    """What the file says of a weight. value: the probe's; gain: what may have been multiplied into it."""
    factors = [torch.ones(1)] if gain is None else [torch.ones(1), gain]
    for constant, made in known.items():
        if made.size != value.numel() or constant not in stored or stored[constant].shape != made.shape:
            continue
        for factor in factors:
            product = value * factor
            if np.allclose(made.ravel(), product.ravel(), rtol=1e-3):
                return torch.tensor(stored[constant]).reshape(value.shape) / factor
            if value.ndim == 2 and np.allclose(made.ravel(), product.T.ravel(), rtol=1e-3):
                return torch.tensor(stored[constant].T)
    raise ValueError(f"no constant of the file stands for {name}; was it written by another version of the exporter?")

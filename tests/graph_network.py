"""ONNX Runtime behind the interface of engines: a network that really computes, for the device made of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engines.compiled import Binding
from engines.device import Queue
from tests.fake_device import FakeDevice

ELEMENTS = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
}


class GraphNetwork:
    """See `engines.compiled.Compiled`. The graph's dimensions are fixed."""

    scratch_bytes = 0

    def __init__(self, graph: Path, device: FakeDevice) -> None:
        self._graph = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        self._device = device
        inputs = [self._binding(value, True) for value in self._graph.get_inputs()]
        self.bindings = [*inputs, *(self._binding(value, False) for value in self._graph.get_outputs())]
        self.batches = (inputs[0].shape[0], inputs[0].shape[0])

    def _binding(self, value: Any, is_input: bool) -> Binding:
        return Binding(value.name, is_input, ELEMENTS[value.type], tuple(value.shape))

    def execution(self, addresses: Mapping[str, int], batch: int) -> GraphExecution:
        assert batch == self.batches[0]
        return GraphExecution(self, addresses)

    def enqueue(self, addresses: Mapping[str, int], queue: Queue) -> None:
        self._device.launch(queue, lambda: self._run(addresses))

    def _run(self, addresses: Mapping[str, int]) -> None:
        arrays = {binding.name: self._array(binding, addresses[binding.name]) for binding in self.bindings}
        outputs = [binding.name for binding in self.bindings if not binding.is_input]
        inputs = {binding.name: arrays[binding.name] for binding in self.bindings if binding.is_input}
        for name, value in zip(outputs, self._graph.run(outputs, inputs), strict=True):
            np.copyto(arrays[name], value)

    def _array(self, binding: Binding, address: int) -> NDArray[Any]:
        memory = self._device.at(address, binding.nbytes(self.batches[0]))
        return memory.view(binding.dtype).reshape(binding.shape)


@dataclass(frozen=True, slots=True)
class GraphExecution:
    """See `engines.compiled.Execution`."""

    network: GraphNetwork
    addresses: Mapping[str, int]

    def enqueue(self, queue: Queue) -> None:
        self.network.enqueue(self.addresses, queue)

    def refuses_capture(self, queue: Queue) -> str | None:
        assert queue.value
        return None

"""A compiled network as its sessions see it, and the TensorRT engine that is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from engines.backend import Backend, Complaints
from engines.device import Block, Device, Queue
from engines.errors import EngineError, OutOfDeviceMemory, StepError
from engines.spec import ModelSpec

ELEMENTS = {"FLOAT": "float32", "HALF": "float16", "INT32": "int32", "INT64": "int64", "UINT8": "uint8"}
"""TensorRT's names of the element types that these networks use, and NumPy's."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output of a compiled network. dtype: NumPy's name; shape: -1 where the batch is free."""

    name: str
    is_input: bool
    dtype: str
    shape: tuple[int, ...]

    def nbytes(self, batch: int) -> int:
        """Size at a batch of `batch` streams."""
        return int(np.prod([batch if side < 0 else side for side in self.shape])) * np.dtype(self.dtype).itemsize


class Execution(Protocol):
    """A network tied to the addresses it reads and writes."""

    def enqueue(self, queue: Queue) -> None:
        """Ask for one run. Raises StepError."""
        ...

    def refuses_capture(self, queue: Queue) -> str | None:
        """Why runs on this queue must not be recorded in a graph; None where they may."""
        ...


class Compiled(Protocol):
    """A network that a device can run.

    bindings: its inputs and outputs; batches: smallest and largest number of streams a run takes;
    scratch_bytes: device memory of its intermediate results, shared by all executions, which so must share a queue.
    """

    @property
    def bindings(self) -> Sequence[Binding]: ...

    @property
    def batches(self) -> tuple[int, int]: ...

    @property
    def scratch_bytes(self) -> int: ...

    def execution(self, addresses: Mapping[str, int], batch: int) -> Execution:
        """The network tied to a device address for each binding. Raises EngineError."""
        ...


class TensorRtExecution:
    """One execution context with its addresses set. TensorRT wants a context of its own for each recorded graph."""

    __slots__ = ("_complaints", "_context")

    def __init__(self, context: Any, complaints: Complaints) -> None:
        self._context = context
        self._complaints = complaints

    def enqueue(self, queue: Queue) -> None:
        """See `Execution.enqueue`."""
        if not self._context.execute_async_v3(queue.value):
            raise StepError(f"execute_async_v3 failed: {self._complaints.take()}")

    def refuses_capture(self, queue: Queue) -> str | None:
        """Only TensorRT-RTX can tell beforehand."""
        if hasattr(self._context, "is_stream_capturable") and not self._context.is_stream_capturable(queue.value):
            return "the engine says that it cannot be captured"
        return None


class TensorRtNetwork:
    """A deserialised engine. See `Compiled`. Raises EngineError for bytes that are no engine for this machine."""

    def __init__(self, serialised: bytes, backend: Backend, device: Device) -> None:
        trt = backend.trt
        self._trt = trt
        self._complaints = Complaints(trt)
        self._runtime = trt.Runtime(self._complaints.sink)
        self._engine = self._runtime.deserialize_cuda_engine(serialised)
        if self._engine is None:
            raise EngineError(f"{backend.label} cannot load this engine: {self._complaints.take()}; build it again")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._bindings = tuple(self._binding(name) for name in names)
        self._new_context = context_maker(trt, self._engine)
        self._scratch_bytes = scratch_bytes(self._engine)
        self._scratch = _scratch(device, self._scratch_bytes)

    @property
    def bindings(self) -> Sequence[Binding]:
        """Inputs and outputs in the engine's order."""
        return self._bindings

    @property
    def batches(self) -> tuple[int, int]:
        """(smallest, largest)."""
        image = next(binding for binding in self._bindings if binding.is_input)
        if image.shape[0] >= 0:
            return image.shape[0], image.shape[0]
        smallest, _, largest = self._engine.get_tensor_profile_shape(image.name, 0)
        return int(smallest[0]), int(largest[0])

    @property
    def scratch_bytes(self) -> int:
        """Of all executions together."""
        return self._scratch_bytes

    def execution(self, addresses: Mapping[str, int], batch: int) -> TensorRtExecution:
        """See `Compiled.execution`."""
        context = self._new_context()
        if context is None:
            raise EngineError(f"no execution context: {self._complaints.take()}")
        give_scratch(context, self._scratch.value, self._scratch_bytes)
        for binding in self._bindings:
            accepted = bool(context.set_tensor_address(binding.name, addresses[binding.name]))
            if binding.is_input and -1 in binding.shape:
                accepted &= bool(context.set_input_shape(binding.name, (batch, *binding.shape[1:])))
            if not accepted:
                raise EngineError(f"{binding.name} of a batch of {batch} was refused: {self._complaints.take()}")
        return TensorRtExecution(context, self._complaints)

    def _binding(self, name: str) -> Binding:
        element = self._engine.get_tensor_dtype(name).name
        if element not in ELEMENTS:
            raise EngineError(f"{name} has elements of type {element}, known are {', '.join(ELEMENTS)}")
        is_input = self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT
        return Binding(
            name, is_input, ELEMENTS[element], tuple(int(side) for side in self._engine.get_tensor_shape(name))
        )


def _scratch(device: Device, nbytes: int) -> Block:
    try:
        return device.allocate(max(nbytes, 256))
    except OutOfDeviceMemory as error:
        free = device.memory().free_bytes
        raise OutOfDeviceMemory(
            f"the engine needs {nbytes / 1e6:.1f} MB for its intermediate results, {free / 1e6:.1f} MB of "
            f"{device.name} are free: close other programs, or build for fewer streams or a smaller size ({error})"
        ) from error


def scratch_bytes(engine: Any) -> int:
    """What a context needs; `device_memory_size` before TensorRT 10.1."""
    return int(engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size)


def context_maker(trt: Any, engine: Any) -> Callable[[], Any]:
    """A function that makes execution contexts without memory of their own, or None where the back end refuses."""
    if not hasattr(trt, "ExecutionContextAllocationStrategy"):  # TensorRT 8.6
        return cast(Callable[[], Any], engine.create_execution_context_without_device_memory)
    strategy = trt.ExecutionContextAllocationStrategy.USER_MANAGED
    if not hasattr(trt, "DynamicShapesKernelSpecializationStrategy"):
        return lambda: engine.create_execution_context(strategy)
    # TensorRT-RTX compiles kernels when a context is made: once for all contexts, and for a free batch not in the
    # background, where a graph recorded meanwhile would keep the slow ones.
    config = engine.create_runtime_config()
    config.set_execution_context_allocation_strategy(strategy)
    config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
    config.set_runtime_cache(config.create_runtime_cache())
    return lambda: engine.create_execution_context(config)


def give_scratch(context: Any, address: int, nbytes: int) -> None:
    """Hand a context its memory; `device_memory` before TensorRT 10.1."""
    if hasattr(context, "set_device_memory"):
        context.set_device_memory(address, nbytes)
    else:
        context.device_memory = address


Shaped = tuple[tuple[int, ...], tuple[str, ...]]
"""A shape, and the element types that will do."""


def check_step(bindings: Sequence[Binding], spec: ModelSpec) -> None:
    """Raises EngineError unless the bindings are those of a step graph of this spec."""
    height, width = spec.size
    slots = spec.window.slots
    half = "float16" if spec.precision == "fp16" else "float32"
    wanted: dict[str, Shaped] = {
        "image": (spec.image_shape(spec.batch or 1)[1:], (spec.pixels,)),
        "positions": ((slots + 1,), ("int64", "int32")),
        "mask": ((slots + 1,), ("float32",)),
        "depth": (spec.map_size, ("float32",)),
    }
    for cache in spec.caches:
        cells = cache.cells(height, width)
        wanted |= {
            cache.name: ((cells, slots, cache.channels), (half,)),
            cache.feature: ((cells, cache.channels), (half,)),
        }
    _compare({binding.name: (binding.shape[1:], binding.dtype) for binding in bindings}, wanted, spec)


def check_window(bindings: Sequence[Binding], spec: ModelSpec) -> None:
    """Raises EngineError unless the bindings are those of a window graph of this spec."""
    height, width = spec.size
    wanted: dict[str, Shaped] = {
        "images": ((spec.frames, 3, height, width), ("float32",)),
        "depth": ((spec.frames, *spec.map_size), ("float32",)),
    }
    _compare({binding.name: (binding.shape, binding.dtype) for binding in bindings}, wanted, spec)


def _compare(
    found: Mapping[str, tuple[tuple[int, ...], str]],
    wanted: Mapping[str, Shaped],
    spec: ModelSpec,
) -> None:
    if found.keys() != wanted.keys():
        odd = ", ".join(sorted(found.keys() ^ wanted.keys()))
        raise EngineError(f"the engine is not one of {spec.name}: it has or lacks {odd}; build it again")
    for name, (shape, dtypes) in wanted.items():
        if found[name][0] != shape or found[name][1] not in dtypes:
            raise EngineError(
                f"the engine is not one of {spec.name}: {name} is {found[name][1]} {list(found[name][0])}, "
                f"needed is {dtypes[0]} {list(shape)}; build it again"
            )

"""What is asked of TensorRT when an engine is loaded and run, for each generation of its interface."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from engines.backend import Backend
from engines.compiled import TensorRtNetwork
from engines.device import Queue
from engines.errors import EngineError, OutOfDeviceMemory, StepError
from tests.fake_device import FakeDevice
from tests.test_backend import Logger

TENSORS = {
    "image": ("INPUT", "FLOAT", (-1, 3, 4, 6)),
    "positions": ("INPUT", "INT32", (-1, 5)),
    "depth": ("OUTPUT", "FLOAT", (-1, 4, 6)),
}


class Context:
    """An execution context that notes what it is told."""

    def __init__(self, how: object) -> None:
        self.told: list[tuple[object, ...]] = [("created", how)]
        self.accepts = True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.told.append(("address", name, address))
        return self.accepts

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.told.append(("shape", name, shape))
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.told.append(("run", stream))
        return self.accepts


class ModernContext(Context):
    """Since TensorRT 10.1."""

    def set_device_memory(self, address: int, nbytes: int) -> None:
        self.told.append(("scratch", address, nbytes))


class Engine:
    """A deserialised engine of the old interface."""

    num_io_tensors = len(TENSORS)
    device_memory_size = 1000

    def __init__(self, context: type[Context] = Context) -> None:
        self.context = context
        self.made: list[Context] = []

    def get_tensor_name(self, index: int) -> str:
        return list(TENSORS)[index]

    def get_tensor_dtype(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(name=TENSORS[name][1])

    def get_tensor_mode(self, name: str) -> str:
        return TENSORS[name][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return TENSORS[name][2]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        assert (name, profile) == ("image", 0)
        return [(count, 3, 4, 6) for count in (1, 2, 8)]

    def create_execution_context_without_device_memory(self) -> Context:
        return self.make("without memory")

    def make(self, how: object) -> Context:
        self.made.append(self.context(how))
        return self.made[-1]


class ModernEngine(Engine):
    """Since TensorRT 10.1."""

    device_memory_size_v2 = 2000

    def create_execution_context(self, how: object) -> Context:
        return self.make(how)


class RtxConfig:
    """How a context of TensorRT-RTX is to be."""

    dynamic_shapes_kernel_specialization_strategy = "lazy"
    allocation = "static"

    cache: object = None

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.allocation = strategy

    def create_runtime_cache(self) -> object:
        return object()

    def set_runtime_cache(self, cache: object) -> None:
        self.cache = cache


class RtxEngine(ModernEngine):
    """Of TensorRT-RTX."""

    def create_runtime_config(self) -> RtxConfig:
        return RtxConfig()


def backend_with(engine: Engine | None, **more: object) -> Backend:
    runtime = SimpleNamespace(deserialize_cuda_engine=lambda _: engine)
    modes = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    trt = SimpleNamespace(ILogger=Logger, Runtime=lambda _: runtime, TensorIOMode=modes, **more)
    return Backend("tensorrt", "0", trt)


STRATEGY: dict[str, object] = {"ExecutionContextAllocationStrategy": SimpleNamespace(USER_MANAGED="ours")}
RTX = STRATEGY | {"DynamicShapesKernelSpecializationStrategy": SimpleNamespace(EAGER="eager")}
ADDRESSES = {"image": 256, "positions": 512, "depth": 768}
QUEUE = Queue(77, lambda _: None)


def bound(engine: Engine, device: FakeDevice, **more: object) -> tuple[TensorRtNetwork, list[tuple[Any, ...]]]:
    network = TensorRtNetwork(b"engine", backend_with(engine, **more), device)
    network.execution(ADDRESSES, 3).enqueue(QUEUE)
    return network, engine.made[0].told


def test_bindings_are_what_the_engine_says() -> None:
    network, _ = bound(ModernEngine(ModernContext), FakeDevice(), **STRATEGY)
    assert [(b.name, b.is_input, b.dtype, b.shape) for b in network.bindings] == [
        ("image", True, "float32", (-1, 3, 4, 6)),
        ("positions", True, "int32", (-1, 5)),
        ("depth", False, "float32", (-1, 4, 6)),
    ]
    assert network.batches == (1, 8)
    assert network.bindings[0].nbytes(3) == 3 * 3 * 4 * 6 * 4


@pytest.mark.parametrize("generation", ["8.6", "10", "RTX"])
def test_contexts_share_memory_of_ours(generation: str) -> None:
    device = FakeDevice()
    engine, more = {
        "8.6": (Engine(), {}),
        "10": (ModernEngine(ModernContext), STRATEGY),
        "RTX": (RtxEngine(ModernContext), RTX),
    }[generation]
    network, told = bound(engine, device, **more)
    network.execution(ADDRESSES, 3)
    scratch = next(iter(device._blocks))
    assert device.device_bytes == network.scratch_bytes == (1000 if generation == "8.6" else 2000)
    if generation == "8.6":
        assert [context.device_memory for context in engine.made] == [scratch] * 2  # type: ignore[attr-defined]
        assert told[0] == ("created", "without memory")
    else:
        assert [context.told[1] for context in engine.made] == [("scratch", scratch, 2000)] * 2
    if generation == "10":
        assert told[0] == ("created", "ours")
    if generation == "RTX":
        config = told[0][1]
        assert (config.allocation, config.dynamic_shapes_kernel_specialization_strategy) == ("ours", "eager")
        assert config.cache is not None
        assert engine.made[1].told[0] == ("created", config), "kernels are compiled once"


def test_addresses_and_the_batch_are_set_before_a_run() -> None:
    _, told = bound(ModernEngine(ModernContext), FakeDevice(), **STRATEGY)
    assert told[2:] == [
        ("address", "image", 256),
        ("shape", "image", (3, 3, 4, 6)),
        ("address", "positions", 512),
        ("shape", "positions", (3, 5)),
        ("address", "depth", 768),
        ("run", 77),
    ]


def test_a_run_that_is_refused_is_an_error() -> None:
    engine = ModernEngine(ModernContext)
    execution = TensorRtNetwork(b"", backend_with(engine, **STRATEGY), FakeDevice()).execution(ADDRESSES, 1)
    engine.made[0].accepts = False
    with pytest.raises(StepError, match="execute_async_v3 failed: no reason given"):
        execution.enqueue(QUEUE)


def test_a_refused_address_is_an_error() -> None:
    class Refusing(ModernContext):
        def set_tensor_address(self, name: str, address: int) -> bool:
            return not name or not address

    network = TensorRtNetwork(b"", backend_with(ModernEngine(Refusing), **STRATEGY), FakeDevice())
    with pytest.raises(EngineError, match="image of a batch of 2 was refused"):
        network.execution(ADDRESSES, 2)


def test_only_some_engines_can_say_that_they_must_not_be_recorded() -> None:
    class Shy(ModernContext):
        def is_stream_capturable(self, stream: int) -> bool:
            return stream != 77

    for context, wanted in ((ModernContext, None), (Shy, "the engine says that it cannot be captured")):
        network = TensorRtNetwork(b"", backend_with(ModernEngine(context), **STRATEGY), FakeDevice())
        assert network.execution(ADDRESSES, 1).refuses_capture(QUEUE) == wanted


def test_bytes_that_do_not_load_are_an_error() -> None:
    with pytest.raises(EngineError, match="TensorRT 0 cannot load this engine: no reason given; build it again"):
        TensorRtNetwork(b"", backend_with(None), FakeDevice())


def test_too_little_memory_for_the_engine_itself_says_how_much_it_needs() -> None:
    with pytest.raises(OutOfDeviceMemory, match=r"the engine needs 0\.0 MB .* of Fake GPU are free: close other"):
        TensorRtNetwork(b"", backend_with(ModernEngine(ModernContext), **STRATEGY), FakeDevice(capacity=100))


def test_an_element_type_that_numpy_lacks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TENSORS, "depth", ("OUTPUT", "BF16", (-1, 4, 6)))
    with pytest.raises(EngineError, match="depth has elements of type BF16, known are FLOAT, HALF"):
        TensorRtNetwork(b"", backend_with(ModernEngine(ModernContext), **STRATEGY), FakeDevice())

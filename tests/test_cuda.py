"""The CUDA runtime's front without a GPU: every call takes its arguments, and every refusal is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from engines.device import Event, Graph, Queue, Rows
from engines.errors import DeviceError, EngineUnavailable, OutOfDeviceMemory

runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")

if TYPE_CHECKING:
    from engines.cuda import CudaDevice

QUEUE, EVENT, GRAPH = Queue(16, id), Event(16, id), Graph(16, id)


@pytest.fixture
def device() -> CudaDevice:
    """A device object where there is none, so that every call reaches the driver and is refused."""
    from engines.cuda import CudaDevice

    status, count = runtime.cudaGetDeviceCount()
    if status == runtime.cudaError_t.cudaSuccess and count:
        pytest.skip("there is a GPU here: tests/gpu uses it")
    made = object.__new__(CudaDevice)
    made._nvtx = None
    return made


def test_without_a_gpu_the_device_says_why(device: CudaDevice) -> None:
    with pytest.raises(EngineUnavailable, match="no NVIDIA GPU can be used here"):
        type(device)()


@pytest.mark.parametrize(
    ("call", "act"),
    [
        ("cudaMalloc", lambda device: device.allocate(256)),
        ("cudaHostAlloc", lambda device: device.allocate_host(256)),
        ("cudaMemGetInfo", lambda device: device.memory()),
        ("cudaStreamCreateWithFlags", lambda device: device.queue()),
        ("cudaEventCreateWithFlags", lambda device: device.event()),
        ("cudaMemcpyAsync", lambda device: device.copy_in(QUEUE, 4096, 8192, 16)),
        ("cudaMemcpyAsync", lambda device: device.copy_out(QUEUE, 4096, 8192, 16)),
        ("cudaMemcpy2DAsync", lambda device: device.copy_rows(QUEUE, Rows(4096, 64, 8192, 16, 16, 4))),
        ("cudaMemsetAsync", lambda device: device.fill_zero(QUEUE, 4096, 16)),
        ("cudaEventRecord", lambda device: device.record(QUEUE, EVENT)),
        ("cudaStreamWaitEvent", lambda device: device.wait(QUEUE, EVENT)),
        ("cudaStreamSynchronize", lambda device: device.synchronise(QUEUE)),
        ("cudaEventSynchronize", lambda device: device.synchronise(EVENT)),
        ("cudaStreamBeginCapture", lambda device: device.capture(QUEUE, lambda: None)),
        ("cudaGraphLaunch", lambda device: device.replay(QUEUE, GRAPH)),
    ],
)
def test_a_refused_call_is_named_with_its_code(
    device: CudaDevice, call: str, act: Callable[[CudaDevice], object]
) -> None:
    with pytest.raises(DeviceError, match=rf"{call} failed: cudaError\w+ \(\d+\), [\w ]+"):
        act(device)


def test_out_of_memory_is_told_apart() -> None:
    from engines.cuda import failure

    error = failure("cudaMalloc", runtime.cudaError_t.cudaErrorMemoryAllocation)
    assert isinstance(error, OutOfDeviceMemory)
    assert str(error) == "cudaMalloc failed: cudaErrorMemoryAllocation (2), out of memory"


class Calls:
    """Functions of the runtime replaced by ones that succeed and note it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[object, ...]] = []
        self._monkeypatch = monkeypatch

    def succeed(self, name: str, *results: object) -> None:
        def called(*arguments: object) -> tuple[object, ...]:
            self.made.append((name, *arguments))
            return runtime.cudaError_t.cudaSuccess, *results

        self._monkeypatch.setattr(runtime, name, called)

    @property
    def names(self) -> list[object]:
        return [call[0] for call in self.made]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What a capture calls."""
    noted = Calls(monkeypatch)
    for name, *results in [
        ("cudaStreamBeginCapture",),
        ("cudaStreamEndCapture", 5),
        ("cudaGraphInstantiate", 6),
        ("cudaGraphDestroy",),
        ("cudaGraphExecDestroy",),
        ("cudaGetLastError",),
        ("cudaStreamSynchronize",),
    ]:
        noted.succeed(str(name), *results)
    return noted


def test_a_failing_capture_leaves_the_queue_usable(device: CudaDevice, calls: Calls) -> None:
    def fail() -> None:
        raise DeviceError("enqueue failed")

    with pytest.raises(DeviceError, match="enqueue failed"):
        device.capture(QUEUE, fail)
    assert calls.names == ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphDestroy", "cudaGetLastError"]


def test_a_capture_keeps_the_executable_graph_only(device: CudaDevice, calls: Calls) -> None:
    graph = device.capture(QUEUE, lambda: device.synchronise(QUEUE))
    assert graph.value == 6
    del graph
    assert calls.names == [
        *("cudaStreamBeginCapture", "cudaStreamSynchronize", "cudaStreamEndCapture", "cudaGraphInstantiate"),
        *("cudaGraphDestroy", "cudaGraphExecDestroy"),
    ]
    assert calls.made[-1] == ("cudaGraphExecDestroy", 6)

"""The first visible NVIDIA GPU, through the CUDA runtime (`CUDA_VISIBLE_DEVICES` chooses which that is)."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from cuda.bindings import runtime

from engines.device import Block, DeviceMemory, Event, Graph, HostBlock, Queue, Rows
from engines.errors import DeviceError, EngineUnavailable, OutOfDeviceMemory

SUCCESS = runtime.cudaError_t.cudaSuccess
OUT_OF_MEMORY = runtime.cudaError_t.cudaErrorMemoryAllocation
TO_DEVICE = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
TO_HOST = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
WITHIN = runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
# Relaxed: memory that the garbage collector frees meanwhile must not invalidate a capture.
CAPTURE_MODE = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
MAJOR = runtime.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
MINOR = runtime.cudaDeviceAttr.cudaDevAttrComputeCapabilityMinor


def call(name: str, *arguments: object) -> Any:
    """Result of a function of the CUDA runtime; a tuple where it has several. Raises DeviceError."""
    status, *results = getattr(runtime, name)(*arguments)
    if status != SUCCESS:
        raise failure(name, status)
    return results[0] if len(results) == 1 else tuple(results)


def failure(name: str, status: Any) -> DeviceError:
    """The exception for a failed call."""
    _, text = runtime.cudaGetErrorString(status)
    message = f"{name} failed: {status.name} ({int(status)}), {text.decode() if text else 'no description'}"
    return OutOfDeviceMemory(message) if status == OUT_OF_MEMORY else DeviceError(message)


def quietly(name: str) -> Callable[[int], None]:
    """A function that gives a handle back. A broken context has lost the handle already: failure means nothing."""
    function = getattr(runtime, name)

    def release(value: int) -> None:
        function(value)

    return release


class CudaDevice:
    """See `engines.device.Device`. Raises EngineUnavailable where there is no GPU or no driver."""

    def __init__(self) -> None:
        status, count = runtime.cudaGetDeviceCount()
        if status != SUCCESS or not count:
            why = "no GPU is visible" if status == SUCCESS else str(failure("cudaGetDeviceCount", status))
            raise EngineUnavailable(f"no NVIDIA GPU can be used here: {why}")
        call("cudaSetDevice", 0)
        self._name: str = call("cudaGetDeviceProperties", 0).name.decode()
        self._capability = tuple(int(call("cudaDeviceGetAttribute", part, 0)) for part in (MAJOR, MINOR))
        self._nvtx: Any = importlib.import_module("nvtx") if importlib.util.find_spec("nvtx") else None

    @property
    def name(self) -> str:
        """As NVIDIA calls it."""
        return self._name

    @property
    def capability(self) -> tuple[int, int]:
        """(major, minor)."""
        major, minor = self._capability
        return major, minor

    def memory(self) -> DeviceMemory:
        """Free and total."""
        free, total = call("cudaMemGetInfo")
        return DeviceMemory(int(free), int(total))

    def allocate(self, nbytes: int) -> Block:
        """See `engines.device.Device.allocate`; `cudaFree` waits for the device by itself."""
        return Block(int(call("cudaMalloc", nbytes)), quietly("cudaFree"))

    def allocate_host(self, nbytes: int) -> HostBlock:
        """See `engines.device.Device.allocate_host`."""
        address = int(call("cudaHostAlloc", nbytes, runtime.cudaHostAllocDefault))
        ctypes.memset(address, 0, nbytes)
        return HostBlock(address, nbytes, quietly("cudaFreeHost"))

    def queue(self) -> Queue:
        """A stream that does not synchronise with the legacy default stream."""
        return Queue(
            int(call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)), quietly("cudaStreamDestroy")
        )

    def event(self) -> Event:
        """An event without timing, the cheap kind."""
        return Event(int(call("cudaEventCreateWithFlags", runtime.cudaEventDisableTiming)), quietly("cudaEventDestroy"))

    def copy_in(self, queue: Queue, target: int, source: int, nbytes: int) -> None:
        """Host to device."""
        call("cudaMemcpyAsync", target, source, nbytes, TO_DEVICE, queue.value)

    def copy_out(self, queue: Queue, target: int, source: int, nbytes: int) -> None:
        """Device to host."""
        call("cudaMemcpyAsync", target, source, nbytes, TO_HOST, queue.value)

    def copy_rows(self, queue: Queue, rows: Rows) -> None:
        """Within the device."""
        call(
            "cudaMemcpy2DAsync",
            rows.target,
            rows.target_pitch,
            rows.source,
            rows.source_pitch,
            rows.width,
            rows.height,
            WITHIN,
            queue.value,
        )

    def fill_zero(self, queue: Queue, target: int, nbytes: int) -> None:
        """Clear device memory."""
        call("cudaMemsetAsync", target, 0, nbytes, queue.value)

    def record(self, queue: Queue, event: Event) -> None:
        """Mark what the queue has been asked for so far."""
        call("cudaEventRecord", event.value, queue.value)

    def wait(self, queue: Queue, event: Event) -> None:
        """Let what follows on the queue wait for the mark."""
        call("cudaStreamWaitEvent", queue.value, event.value, 0)

    def synchronise(self, what: Queue | Event) -> None:
        """Block until the queue is empty or the mark reached."""
        call("cudaStreamSynchronize" if isinstance(what, Queue) else "cudaEventSynchronize", what.value)

    def capture(self, queue: Queue, enqueue: Callable[[], None]) -> Graph:
        """See `engines.device.Device.capture`."""
        call("cudaStreamBeginCapture", queue.value, CAPTURE_MODE)
        try:
            enqueue()
        except BaseException:
            abandon_capture(queue)
            raise
        recorded = call("cudaStreamEndCapture", queue.value)
        try:
            executable = call("cudaGraphInstantiate", recorded, 0)
        finally:
            call("cudaGraphDestroy", recorded)
        return Graph(int(executable), quietly("cudaGraphExecDestroy"))

    def replay(self, queue: Queue, graph: Graph) -> None:
        """Run a recorded graph."""
        call("cudaGraphLaunch", graph.value, queue.value)

    def span(self, name: str) -> AbstractContextManager[None]:
        """An NVTX range, where the package `nvtx` is installed."""
        return nullcontext() if self._nvtx is None else nvtx_range(self._nvtx, name)


def abandon_capture(queue: Queue) -> None:
    """Bring a queue back from a capture that went wrong."""
    status, recorded = runtime.cudaStreamEndCapture(queue.value)
    if status == SUCCESS:
        runtime.cudaGraphDestroy(recorded)
    runtime.cudaGetLastError()


@contextmanager
def nvtx_range(nvtx: Any, name: str) -> Iterator[None]:
    """Push and pop one range."""
    nvtx.push_range(name)
    try:
        yield
    finally:
        nvtx.pop_range()

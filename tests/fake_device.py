"""A device made of NumPy arrays, and a network that runs on it.

Queues advance in a random order that respects only what was asked for: a missing wait shows as a wrong number for some
seed. Fresh memory is garbage. Every call is logged, in the order in which the host made it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.compiled import Binding
from engines.device import Block, DeviceMemory, Event, Graph, HostBlock, Queue, Rows
from engines.errors import DeviceError, OutOfDeviceMemory
from engines.spec import ModelSpec

Work = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Task:
    """Work on a queue; it may start once `ready` says so."""

    run: Work
    ready: Callable[[], bool] = lambda: True


class FakeDevice:
    """See `engines.device.Device`. log: (call, detail) of everything asked for; recorded work is logged as recorded."""

    name = "Fake GPU"
    capability = (9, 0)

    def __init__(self, capacity: int = 1 << 30, seed: int = 0) -> None:
        self.log: list[tuple[str, object]] = []
        self.failing: str | None = None
        self._capacity = capacity
        self._random = random.Random(seed)
        self._blocks: dict[int, NDArray[np.uint8]] = {}
        self._host: dict[int, NDArray[np.uint8]] = {}
        self._queues: dict[int, deque[Task]] = {}
        self._asked: dict[int, int] = {}
        self._reached: dict[int, int] = {}
        self._graphs: dict[int, list[Task]] = {}
        self._recording: list[Task] | None = None
        self._next = 1 << 40

    @property
    def device_bytes(self) -> int:
        return sum(block.nbytes for block in self._blocks.values())

    @property
    def host_blocks(self) -> int:
        return len(self._host)

    def memory(self) -> DeviceMemory:
        return DeviceMemory(self._capacity - self.device_bytes, self._capacity)

    def allocate(self, nbytes: int) -> Block:
        if nbytes > self._capacity - self.device_bytes:
            raise OutOfDeviceMemory("cudaMalloc failed: cudaErrorMemoryAllocation (2), out of memory")
        address = self._number(nbytes)
        self._blocks[address] = np.full(nbytes, 0xAB, np.uint8)
        return Block(address, self._free)

    def _free(self, address: int) -> None:
        for number in self._queues:
            while self._queues[number]:
                self._advance()
        del self._blocks[address]

    def allocate_host(self, nbytes: int) -> HostBlock:
        memory = np.zeros(nbytes, np.uint8)
        self._host[memory.ctypes.data] = memory
        return HostBlock(memory.ctypes.data, nbytes, self._host.pop)

    def queue(self) -> Queue:
        number = self._number()
        self._queues[number] = deque()
        return Queue(number, lambda _: None)

    def event(self) -> Event:
        number = self._number()
        self._asked[number] = self._reached[number] = 0
        return Event(number, lambda _: None)

    def copy_in(self, queue: Queue, target: int, source: int, nbytes: int) -> None:
        self._log("copy_in", nbytes)
        self.launch(queue, lambda: np.copyto(self.at(target, nbytes), self._host_at(source, nbytes)))

    def copy_out(self, queue: Queue, target: int, source: int, nbytes: int) -> None:
        self._log("copy_out", nbytes)
        self.launch(queue, lambda: np.copyto(self._host_at(target, nbytes), self.at(source, nbytes)))

    def copy_rows(self, queue: Queue, rows: Rows) -> None:
        self._log("copy_rows", rows)

        def copy() -> None:
            for row in range(rows.height):
                target = self.at(rows.target + row * rows.target_pitch, rows.width)
                np.copyto(target, self.at(rows.source + row * rows.source_pitch, rows.width))

        self.launch(queue, copy)

    def fill_zero(self, queue: Queue, target: int, nbytes: int) -> None:
        self._log("fill_zero", nbytes)
        self.launch(queue, lambda: self.at(target, nbytes).fill(0))

    def record(self, queue: Queue, event: Event) -> None:
        assert self._recording is None
        self._asked[event.value] = mark = self._asked[event.value] + 1
        self.launch(queue, lambda: self._reached.__setitem__(event.value, mark))

    def wait(self, queue: Queue, event: Event) -> None:
        assert self._recording is None
        mark = self._asked[event.value]
        self._put(queue, Task(lambda: None, lambda: self._reached[event.value] >= mark))

    def synchronise(self, what: Queue | Event) -> None:
        self._fail_if_told("synchronise")
        assert self._recording is None
        if isinstance(what, Queue):
            while self._queues[what.value]:
                self._advance()
        else:
            while self._reached[what.value] < self._asked[what.value]:
                self._advance()

    def capture(self, queue: Queue, enqueue: Callable[[], None]) -> Graph:
        self._log("capture", queue.value)
        assert self._recording is None
        tasks: list[Task] = []
        self._recording = tasks
        try:
            enqueue()
        finally:
            self._recording = None
        number = self._number()
        self._graphs[number] = tasks
        return Graph(number, self._graphs.pop)

    def replay(self, queue: Queue, graph: Graph) -> None:
        self._log("replay", len(self._graphs[graph.value]))
        for task in self._graphs[graph.value]:
            self._put(queue, task)

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        self.log.append(("span", name))
        yield

    def launch(self, queue: Queue, work: Work) -> None:
        """Ask a queue for any work."""
        self._put(queue, Task(work))

    def at(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        """Device memory; an error outside of what is allocated."""
        for start, block in self._blocks.items():
            if start <= address and address + nbytes <= start + block.nbytes:
                return block[address - start : address - start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {address:#x} are not allocated")

    def calls(self) -> list[str]:
        """Names of the logged calls since the last time, without spans; the log is emptied."""
        names = [name for name, _ in self.log if name != "span"]
        self.log.clear()
        return names

    def _host_at(self, address: int, nbytes: int) -> NDArray[np.uint8]:
        for start, block in self._host.items():
            if start <= address and address + nbytes <= start + block.nbytes:
                return block[address - start : address - start + nbytes]
        raise AssertionError(f"{nbytes} bytes at {address:#x} are not page-locked")

    def _number(self, nbytes: int = 1) -> int:
        number = self._next
        self._next += -(-nbytes // 256) * 256 + 256
        return number

    def _log(self, name: str, detail: object) -> None:
        self._fail_if_told(name)
        self.log.append((name, detail))

    def _fail_if_told(self, name: str) -> None:
        if name == self.failing:
            raise DeviceError(f"{name} failed: cudaErrorLaunchFailure (719), unspecified launch failure")

    def _put(self, queue: Queue, task: Task) -> None:
        if self._recording is not None:
            self._recording.append(task)
            return
        self._queues[queue.value].append(task)
        for _ in range(self._random.randrange(4)):
            self._advance(idle=True)

    def _advance(self, idle: bool = False) -> None:
        able = [tasks for tasks in self._queues.values() if tasks and tasks[0].ready()]
        if able:
            self._random.choice(able).popleft().run()
        else:
            assert idle, "the queues wait for each other"


class FakeNetwork:
    """See `engines.compiled.Compiled`.

    A frame is a number, the first value of its image. Its features are that number, plus k in cache k. Its map is
    everywhere Σ mask · (position + 1) · number over the slots of cache 0 and the new frame itself.
    """

    def __init__(
        self, spec: ModelSpec, device: FakeDevice, batches: tuple[int, int] = (1, 4), positions: str = "int64"
    ):
        self.batches = batches
        self.scratch_bytes = 0
        self.refusal: str | None = None
        self.runs = 0
        self._spec = spec
        self._device = device
        (height, width), slots = spec.size, spec.window.slots
        batch = batches[0] if batches[0] == batches[1] else -1
        half = "float16" if spec.precision == "fp16" else "float32"
        cells = {cache.name: cache.cells(height, width) for cache in spec.caches}
        self.bindings: Sequence[Binding] = [
            Binding("image", True, spec.pixels, (batch, *spec.image_shape(spec.batch or 1)[1:])),
            Binding("positions", True, positions, (batch, slots + 1)),
            Binding("mask", True, "float32", (batch, slots + 1)),
            *(Binding(c.name, True, half, (batch, cells[c.name], slots, c.channels)) for c in spec.caches),
            Binding("depth", False, "float32", (batch, *spec.map_size)),
            *(Binding(c.feature, False, half, (batch, cells[c.name], c.channels)) for c in spec.caches),
        ]

    def execution(self, addresses: Mapping[str, int], batch: int) -> FakeExecution:
        return FakeExecution(self, addresses, batch)

    def run(self, addresses: Mapping[str, int], batch: int) -> None:
        def array(name: str) -> NDArray[np.generic]:
            binding = next(binding for binding in self.bindings if binding.name == name)
            memory = self._device.at(addresses[name], binding.nbytes(batch))
            return memory.view(binding.dtype).reshape(batch, *binding.shape[1:])

        self.runs += 1
        numbers = np.asarray(array("image")[:, 0, 0, 0], np.float32)
        positions, mask = np.asarray(array("positions"), np.int64), np.asarray(array("mask"), np.float32)
        assert positions.min() >= 0
        assert positions.max() < len(self._spec.window.offsets), "positions index a table"
        cached = np.asarray(array(self._spec.caches[0].name)[:, 0, :, 0], np.float32)
        seen = np.concatenate([cached, numbers[:, None]], axis=1)
        assert np.isfinite(seen).all(), "a cache was never cleared"
        array("depth")[:] = (mask * (positions + 1) * seen).sum(axis=1)[:, None, None]
        for index, cache in enumerate(self._spec.caches):
            array(cache.feature)[:] = (numbers + index)[:, None, None]

    def enqueue(self, addresses: Mapping[str, int], batch: int, queue: Queue) -> None:
        self._device.launch(queue, lambda: self.run(addresses, batch))


@dataclass(frozen=True, slots=True)
class FakeExecution:
    """See `engines.compiled.Execution`."""

    network: FakeNetwork
    addresses: Mapping[str, int]
    batch: int

    def enqueue(self, queue: Queue) -> None:
        self.network.enqueue(self.addresses, self.batch, queue)

    def refuses_capture(self, queue: Queue) -> str | None:
        assert queue.value
        return self.network.refusal

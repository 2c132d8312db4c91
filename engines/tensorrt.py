"""TensorRT on a GPU. A stream's caches stay on the device: a frame costs one copy in and one copy of its map out.

The order of one frame, on three queues so that neighbouring frames overlap:

    upload    image, positions, mask → device
    compute   [after upload] the step; then, device to device, its features into their slots
    download  [after the step] the map → host
"""

from __future__ import annotations

import math
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engines.backend import Backend
from engines.closing import Closing
from engines.compiled import Compiled, Execution, TensorRtNetwork, check_step, check_window
from engines.device import Device, Graph, Queue
from engines.dlpack import CUDA, DeviceArray
from engines.errors import DeviceError, EngineError, SpecError, StepError
from engines.lanes import Lane, SlotWriter, allocate, cached_tensors, lay_out, layout_of, make_lanes
from engines.session import Cache, Image, StepPlan, closed_memory, still_open
from engines.spec import ModelSpec

Run = Callable[[Queue], None]
"""Asks a queue for one step."""


@dataclass(frozen=True, slots=True)
class Queues:
    """Of one session. All its steps run on `compute`, one after the other: they share their scratch memory."""

    upload: Queue
    compute: Queue
    download: Queue


@dataclass(slots=True)
class Memory:
    """What a cache holds, for as long as it is open."""

    lanes: tuple[Lane, ...]
    runs: list[Run | None]
    writer: SlotWriter
    block: object


class TensorRtCache(Closing):
    """The memory of B streams on the device. See `engines.session.Cache`.

    batch: B. how: how its steps run: recorded in a CUDA graph, or enqueued one by one and why.
    in_flight: lanes of the frames submitted and not collected, oldest first.
    """

    def __init__(self, network: Compiled, spec: ModelSpec, device: Device, queues: Queues, batch: int) -> None:
        bindings = {binding.name: binding for binding in network.bindings}
        layout = layout_of(bindings, spec, batch)
        block = allocate(device, layout, batch)
        lanes = make_lanes(device, layout, block.value, network, spec, batch)
        writer = SlotWriter(device, cached_tensors(layout, block.value, bindings, spec))
        self._memory: Memory | None = Memory(lanes, [None] * len(lanes), writer, block)
        self._cached = (block.value, layout.features[0].offset if spec.caches else 0)
        self._device = device
        self._queues = queues
        self._network = network
        self.batch = batch
        self.in_flight: deque[int] = deque()
        self.collected = 0
        """Number of the lane that holds the last collected map."""
        self.bytes_per_stream = layout.nbytes // batch
        # Everything: positions left over from someone else would index out of the network's tables.
        device.fill_zero(queues.compute, block.value, layout.nbytes)
        self.how = ""
        self.ready(0)

    @property
    def memory(self) -> Memory:
        """Raises EngineError once it or its session is closed."""
        if self._memory is None:
            raise closed_memory()
        return self._memory

    @property
    def free_lane(self) -> int:
        """Number of the lane that the next frame takes; ValueError where all are in flight."""
        for lane in range(len(self.memory.lanes)):
            if lane not in self.in_flight:
                return lane
        raise ValueError(f"{len(self.in_flight)} frames are in flight: collect one first")

    @property
    def image(self) -> Image:
        """In page-locked memory, to be filled before each step.

        Ask again after `submit`; who only calls `step` always gets the same array.
        """
        return self.memory.lanes[self.free_lane].image

    @property
    def device_depth(self) -> DeviceArray:
        """See `engines.dlpack.OnDevice`; who has frames in flight keeps it until the second `submit` from now."""
        memory = self.memory
        lane = memory.lanes[self.collected]
        return DeviceArray(lane.download.device, lane.depth.shape, (CUDA, 0), memory.block)

    def clear(self) -> None:
        """Forget frames in flight, zero all cached features."""
        self.in_flight.clear()
        for queue in (self._queues.upload, self._queues.compute, self._queues.download):
            self._device.synchronise(queue)
        address, nbytes = self._cached
        if nbytes:
            self._device.fill_zero(self._queues.compute, address, nbytes)

    def ready(self, number: int) -> Run:
        """How to run the step of a lane; the first time runs it once to warm up, then records it."""
        run = self.memory.runs[number]
        if run is None:
            lane, queue = self.memory.lanes[number], self._queues.compute
            execution = self._network.execution(lane.addresses, self.batch)
            execution.enqueue(queue)
            self._device.synchronise(queue)
            run, self.how = recorded(execution, self._device, queue)
            self.memory.runs[number] = run
        return run

    def close(self) -> None:
        """Give the memory back; arrays that callers still hold stay valid."""
        self.in_flight.clear()
        self._memory = None


def recorded(execution: Execution, device: Device, queue: Queue) -> tuple[Run, str]:
    """How to run an execution that has run once, and that in words."""
    why = execution.refuses_capture(queue)
    if why is None:
        try:
            graph = device.capture(queue, partial(execution.enqueue, queue))
        except (DeviceError, StepError) as error:
            why = str(error)
        else:
            # The execution goes with the graph: a graph uses memory that its context owns.
            return partial(_replay, device, graph, execution), "recorded in a CUDA graph"
    return execution.enqueue, f"enqueued one by one: {why}"


def _replay(device: Device, graph: Graph, _: Execution, queue: Queue) -> None:
    device.replay(queue, graph)


class TensorRtSession(Closing):
    """A streaming step on a GPU. See `engines.session.Session`.

    `step` is `submit` and `collect` in one. Who calls these two by himself may have two frames of a cache in flight:
    the upload of the newer and the download of the older then overlap with the step between them.
    """

    def __init__(self, network: Compiled, spec: ModelSpec, device: Device) -> None:
        spec.require("step", "this is the engine of a")
        check_step(network.bindings, spec)
        self._network: Compiled | None = network
        self._spec = spec
        self._device = device
        self._queues = Queues(device.queue(), device.queue(), device.queue())
        self._caches: weakref.WeakSet[TensorRtCache] = weakref.WeakSet()

    @classmethod
    def open(cls, engine: Path, backend: Backend, device: Device) -> Self:
        """Load an engine file, its spec beside it with suffix `.json`. Raises EngineError."""
        return cls(load_network(engine, backend, device), ModelSpec.load(engine.with_suffix(".json")), device)

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._spec

    @property
    def batches(self) -> tuple[int, int]:
        """Smallest and largest B that the engine was built for."""
        return self._open_network().batches

    @property
    def scratch_bytes(self) -> int:
        """Device memory of intermediate results, shared by all caches."""
        return self._open_network().scratch_bytes

    def new_cache(self, batch: int = 1) -> TensorRtCache:
        """Allocate the memory of `batch` streams.

        Raises OutOfDeviceMemory saying how many fit, SpecError where the engine was not built for so many.
        """
        network = self._open_network()
        smallest, largest = network.batches
        if not smallest <= batch <= largest:
            takes = f"{smallest}" if smallest == largest else f"{smallest} to {largest}"
            raise SpecError(
                f"this engine of {self._spec.name} steps {takes} streams at once, asked for {batch}: "
                f"run `depthcast build --batch {batch}`"
            )
        cache = TensorRtCache(network, self._spec, self._device, self._queues, batch)
        self._caches.add(cache)
        return cache

    def submit(self, cache: Cache, plans: Sequence[StepPlan | None]) -> None:
        """Start the step of the frames in `cache.image` and return at once.

        At most two frames of a cache are in flight: ValueError asks to collect one first. Otherwise as `step`.
        """
        assert isinstance(cache, TensorRtCache)
        if len(plans) != cache.batch:
            raise ValueError(f"this cache holds {cache.batch} streams, got {len(plans)} plans")
        number = cache.free_lane
        try:
            self._start(cache, number, plans)
        except DeviceError as error:
            raise StepError(f"a step of {self._spec.name} failed on {self._device.name}: {error}") from error
        cache.in_flight.append(number)

    def _start(self, cache: TensorRtCache, number: int, plans: Sequence[StepPlan | None]) -> None:
        device, queues = self._device, self._queues
        run, memory = cache.ready(number), cache.memory
        lane = memory.lanes[number]
        lane.plan(plans)
        with device.span("upload"):
            device.copy_in(queues.upload, lane.upload.device, lane.upload.host, lane.upload.nbytes)
            device.record(queues.upload, lane.uploaded)
        with device.span("step"):
            device.wait(queues.compute, lane.uploaded)
            run(queues.compute)
            device.record(queues.compute, lane.computed)
        with device.span("download"):
            device.wait(queues.download, lane.computed)
            device.copy_out(queues.download, lane.download.host, lane.download.device, lane.download.nbytes)
            device.record(queues.download, lane.downloaded)
        # Asked for last: the map need not wait for the slots, only the next step does.
        with device.span("slots"):
            memory.writer.write(queues.compute, plans)

    def collect(self, cache: Cache) -> NDArray[np.float32]:
        """Wait for the oldest frames in flight.

        Returns depth float32 [B, *spec.map_size], valid until the next submit or step.
        Raises StepError when the step failed; ValueError where nothing is in flight.
        """
        assert isinstance(cache, TensorRtCache)
        if not cache.in_flight:
            raise ValueError("nothing is in flight: submit a frame first")
        lane = cache.memory.lanes[cache.in_flight[0]]
        try:
            with self._device.span("collect"):
                self._device.synchronise(lane.downloaded)
        except DeviceError as error:
            raise StepError(f"a step of {self._spec.name} failed on {self._device.name}: {error}") from error
        cache.collected = cache.in_flight.popleft()
        return lane.depth

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run one frame of each stream; see `engines.session.Session.step`. ValueError while others are in flight."""
        assert isinstance(cache, TensorRtCache)
        if cache.in_flight:
            raise ValueError(f"{len(cache.in_flight)} frames are in flight: collect them first")
        self.submit(cache, plans)
        return self.collect(cache)

    def _open_network(self) -> Compiled:
        return still_open(self._network, self._spec)

    def close(self) -> None:
        """Free the engine and every cache."""
        for cache in self._caches:
            cache.close()
        self._network = None


class TensorRtWindowSession(Closing):
    """Whole windows on a GPU. See `engines.session.WindowSession`."""

    def __init__(self, network: Compiled, spec: ModelSpec, device: Device) -> None:
        spec.require("window", "this is the engine of a")
        check_window(network.bindings, spec)
        self._spec = spec
        self._device = device
        self._queue = device.queue()
        shapes = [(spec.frames, 3, *spec.size), (spec.frames, *spec.map_size)]
        images, depth = lay_out([4 * math.prod(shape) for shape in shapes])
        self._block = device.allocate(depth.end)
        self._host = device.allocate_host(depth.end)
        memory = self._host.as_bytes()
        self._images = memory[: images.end].view(np.float32).reshape(shapes[0])
        self._depth = memory[depth.offset :].view(np.float32).reshape(shapes[1])
        self._depth_offset = depth.offset
        address = self._block.value
        self._execution: Execution | None = network.execution(
            {"images": address, "depth": address + depth.offset}, spec.frames
        )

    @classmethod
    def open(cls, engine: Path, backend: Backend, device: Device) -> Self:
        """Load an engine file, its spec beside it with suffix `.json`. Raises EngineError."""
        return cls(load_network(engine, backend, device), ModelSpec.load(engine.with_suffix(".json")), device)

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._spec

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]."""
        execution = still_open(self._execution, self._spec)
        if images.shape != self._images.shape:
            raise ValueError(f"a window is {list(self._images.shape)}, got {list(images.shape)}")
        self._images[:] = images
        block, host, queue, device = self._block.value, self._host.value, self._queue, self._device
        try:
            device.copy_in(queue, block, host, self._images.nbytes)
            execution.enqueue(queue)
            device.copy_out(queue, host + self._depth_offset, block + self._depth_offset, self._depth.nbytes)
            device.synchronise(queue)
        except DeviceError as error:
            raise StepError(f"a window of {self._spec.name} failed on {device.name}: {error}") from error
        return self._depth.copy()

    def close(self) -> None:
        """Free the engine."""
        self._execution = None


def load_network(engine: Path, backend: Backend, device: Device) -> TensorRtNetwork:
    """Deserialise an engine file. Raises EngineError."""
    try:
        serialised = engine.read_bytes()
    except FileNotFoundError:
        raise EngineError(f"no engine at {engine}: run `depthcast build`") from None
    return TensorRtNetwork(serialised, backend, device)

"""The memory of B streams on a device: their caches, and two lanes so that neighbouring frames overlap.

A lane is what one frame in flight owns: its inputs in one page-locked block that mirrors one device block (so that a
frame costs one copy in), its map (one copy out), and the step recorded for exactly these addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.compiled import Binding, Compiled
from engines.device import Block, Device, Event, Graph, Queue, Rows
from engines.errors import OutOfDeviceMemory
from engines.session import Image, StepPlan
from engines.spec import ModelSpec

ALIGNMENT = 256
"""Bytes; what TensorRT asks of addresses, and what the driver gives whole allocations."""
LANES = 2
STAGED = ("image", "positions", "mask")


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a block."""

    offset: int
    nbytes: int

    @property
    def end(self) -> int:
        """One past the last byte."""
        return self.offset + self.nbytes


def lay_out(sizes: Sequence[int], start: int = 0) -> tuple[Span, ...]:
    """Aligned places for parts of the given sizes in bytes, one after the other from `start` (aligned) on."""
    spans = []
    for nbytes in sizes:
        spans.append(Span(start, nbytes))
        start += -(-nbytes // ALIGNMENT) * ALIGNMENT
    return tuple(spans)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything of B streams lies in one device block; the part from `staging` on is mirrored on the host.

    inputs: image, positions and mask of each lane; maps: depth of each lane.
    """

    caches: tuple[Span, ...]
    features: tuple[Span, ...]
    inputs: tuple[tuple[Span, ...], ...]
    maps: tuple[Span, ...]
    staging: int
    nbytes: int


def layout_of(bindings: dict[str, Binding], spec: ModelSpec, batch: int) -> Layout:
    """Sizes as the engine states them, for `batch` streams."""
    parts = [*(cache.name for cache in spec.caches), *(cache.feature for cache in spec.caches)]
    parts += [*STAGED, "depth"] * LANES
    # An empty part at the end stands where the block ends.
    spans = lay_out([*(bindings[name].nbytes(batch) for name in parts), 0])
    count, width = len(spec.caches), len(STAGED) + 1
    lanes = [spans[start : start + width] for start in range(2 * count, len(parts), width)]
    return Layout(
        caches=spans[:count],
        features=spans[count : 2 * count],
        inputs=tuple(lane[:-1] for lane in lanes),
        maps=tuple(lane[-1] for lane in lanes),
        staging=lanes[0][0].offset,
        nbytes=spans[-1].offset,
    )


@dataclass(frozen=True, slots=True)
class Copy:
    """One transfer between a lane's host and device memory."""

    device: int
    host: int
    nbytes: int


@dataclass(slots=True)
class Lane:
    """See the module."""

    image: Image
    positions: NDArray[Any]
    mask: NDArray[np.float32]
    depth: NDArray[np.float32]
    upload: Copy
    download: Copy
    addresses: dict[str, int]
    uploaded: Event
    computed: Event
    downloaded: Event

    def plan(self, plans: Sequence[StepPlan | None]) -> None:
        """Set positions and masks; a row without a plan sees only its own frame."""
        for row, plan in enumerate(plans):
            if plan is None:
                self.positions[row], self.mask[row] = 0, 0.0
                self.mask[row, -1] = 1.0
            else:
                self.positions[row], self.mask[row] = plan.positions, plan.mask


@dataclass(frozen=True, slots=True)
class CachedTensor:
    """A cache [B, P, S, C] and the new frame's features [B, P, C] on the device; `width` is C in bytes."""

    cache: int
    feature: int
    cells: int
    slots: int
    width: int

    def copy(self, row: int, slot: int) -> Rows:
        """The copy that puts the new features of a row into a slot."""
        pitch = self.slots * self.width
        return Rows(
            target=self.cache + row * self.cells * pitch + slot * self.width,
            target_pitch=pitch,
            source=self.feature + row * self.cells * self.width,
            source_pitch=self.width,
            width=self.width,
            height=self.cells,
        )


def cached_tensors(layout: Layout, block: int, bindings: dict[str, Binding], spec: ModelSpec) -> list[CachedTensor]:
    """One for each cache of the spec, in a device block at address `block`."""
    tensors = []
    for cache, place, feature in zip(spec.caches, layout.caches, layout.features, strict=True):
        _, cells, slots, channels = bindings[cache.name].shape
        width = channels * np.dtype(bindings[cache.name].dtype).itemsize
        tensors.append(CachedTensor(block + place.offset, block + feature.offset, cells, slots, width))
    return tensors


class SlotWriter:
    """Puts features into slots: for each (row, slot) all its copies in one graph, recorded at first use."""

    __slots__ = ("_device", "_graphs", "_tensors")

    def __init__(self, device: Device, tensors: Sequence[CachedTensor]) -> None:
        self._device = device
        self._tensors = tensors
        self._graphs: dict[tuple[int, int], Graph] = {}

    def write(self, queue: Queue, plans: Sequence[StepPlan | None]) -> None:
        """Ask for the copies of all planned slots; nothing else moves."""
        for row, plan in enumerate(plans):
            for slot in plan.write if plan is not None else ():
                self._device.replay(queue, self._graph(queue, row, slot))

    def _graph(self, queue: Queue, row: int, slot: int) -> Graph:
        graph = self._graphs.get((row, slot))
        if graph is None:
            graph = self._device.capture(queue, lambda: self._copy(queue, row, slot))
            self._graphs[row, slot] = graph
        return graph

    def _copy(self, queue: Queue, row: int, slot: int) -> None:
        for tensor in self._tensors:
            self._device.copy_rows(queue, tensor.copy(row, slot))


def allocate(device: Device, layout: Layout, batch: int) -> Block:
    """The device block, cleared memory not promised. Raises OutOfDeviceMemory saying how many streams fit."""
    try:
        return device.allocate(layout.nbytes)
    except OutOfDeviceMemory as error:
        free = device.memory().free_bytes
        fit = free * batch // layout.nbytes
        raise OutOfDeviceMemory(
            f"{batch} streams need {layout.nbytes / 1e6:.1f} MB for their caches, {free / 1e6:.1f} MB of {device.name} "
            f"are free: {fit} fit ({error})"
        ) from error


def make_lanes(
    device: Device, layout: Layout, block: int, network: Compiled, spec: ModelSpec, batch: int
) -> tuple[Lane, ...]:
    """The lanes in a device block at address `block`, with host memory of their own."""
    bindings = {binding.name: binding for binding in network.bindings}
    shared = {cache.name: block + span.offset for cache, span in zip(spec.caches, layout.caches, strict=True)}
    shared |= {cache.feature: block + span.offset for cache, span in zip(spec.caches, layout.features, strict=True)}
    host = device.allocate_host(layout.nbytes - layout.staging)
    memory = host.as_bytes()

    def view(name: str, span: Span) -> NDArray[Any]:
        start = span.offset - layout.staging
        shape = (batch, *bindings[name].shape[1:])
        return memory[start : start + span.nbytes].view(bindings[name].dtype).reshape(shape)

    def copy(first: Span, last: Span) -> Copy:
        return Copy(block + first.offset, host.value + first.offset - layout.staging, last.end - first.offset)

    def lane(inputs: tuple[Span, ...], depth: Span) -> Lane:
        image, positions, mask = (view(name, span) for name, span in zip(STAGED, inputs, strict=True))
        own = {name: block + span.offset for name, span in zip((*STAGED, "depth"), (*inputs, depth), strict=True)}
        return Lane(
            image,
            positions,
            mask,
            view("depth", depth),
            copy(inputs[0], inputs[-1]),
            copy(depth, depth),
            shared | own,
            device.event(),
            device.event(),
            device.event(),
        )

    return tuple(lane(inputs, depth) for inputs, depth in zip(layout.inputs, layout.maps, strict=True))

"""What a session needs of an accelerator: memory, queues, copies, events, graphs. Addresses are plain integers.

Work on one queue runs in the order it was asked for; queues run beside each other except where one waits for an event.
What a device hands out is given back when the last reference to it goes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Handle:
    """Something a device made. value: its address or the driver's handle, as an integer."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: int, release: Callable[[int], object]) -> None:
        self.value = value
        # At exit the driver may be gone before us, and takes everything back itself.
        weakref.finalize(self, release, value).atexit = False


class Block(Handle):
    """Device memory; `value` is its address."""

    __slots__ = ()


class Queue(Handle):
    """An ordered queue of work (a CUDA stream)."""

    __slots__ = ()


class Event(Handle):
    """A mark in a queue that another queue, or the host, can wait for."""

    __slots__ = ()


class Graph(Handle):
    """Work recorded once, replayed with one call."""

    __slots__ = ()


class HostBlock(Handle):
    """Page-locked host memory of `nbytes` bytes; arrays made from it by `as_bytes` keep it alive."""

    __slots__ = ("nbytes",)

    def __init__(self, value: int, nbytes: int, release: Callable[[int], object]) -> None:
        super().__init__(value, release)
        self.nbytes = nbytes

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """NumPy's array protocol, version 3."""
        return {"data": (self.value, False), "shape": (self.nbytes,), "typestr": "|u1", "version": 3}

    def as_bytes(self) -> NDArray[np.uint8]:
        """The memory itself as uint8 [nbytes], not a copy."""
        return np.asarray(self)


@dataclass(frozen=True, slots=True)
class Rows:
    """A strided copy within the device: `height` rows of `width` bytes; pitches are bytes from row to row."""

    target: int
    target_pitch: int
    source: int
    source_pitch: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Of the whole device, also what other processes use of it."""

    free_bytes: int
    total_bytes: int


class Device(Protocol):
    """One accelerator. Every method raises DeviceError where the driver refuses."""

    @property
    def name(self) -> str:
        """As its maker calls it."""
        ...

    @property
    def capability(self) -> tuple[int, int]:
        """CUDA compute capability (major, minor)."""
        ...

    def memory(self) -> DeviceMemory: ...

    def allocate(self, nbytes: int) -> Block:
        """Device memory, not cleared, aligned to 256 bytes; given back when all work asked for so far is done.

        Raises OutOfDeviceMemory.
        """
        ...

    def allocate_host(self, nbytes: int) -> HostBlock:
        """Page-locked host memory, cleared. Raises OutOfDeviceMemory."""
        ...

    def queue(self) -> Queue: ...

    def event(self) -> Event: ...

    def copy_in(self, queue: Queue, target: int, source: int, nbytes: int) -> None:
        """Host to device."""
        ...

    def copy_out(self, queue: Queue, target: int, source: int, nbytes: int) -> None:
        """Device to host."""
        ...

    def copy_rows(self, queue: Queue, rows: Rows) -> None:
        """Within the device."""
        ...

    def fill_zero(self, queue: Queue, target: int, nbytes: int) -> None: ...

    def record(self, queue: Queue, event: Event) -> None:
        """Mark what the queue has been asked for so far."""
        ...

    def wait(self, queue: Queue, event: Event) -> None:
        """Work asked of the queue from now on starts after the event's mark has been reached."""
        ...

    def synchronise(self, what: Queue | Event) -> None:
        """Block the host until a queue is empty or a mark has been reached."""
        ...

    def capture(self, queue: Queue, enqueue: Callable[[], None]) -> Graph:
        """Record, without running it, what `enqueue` asks of the queue. Raises DeviceError where it cannot be."""
        ...

    def replay(self, queue: Queue, graph: Graph) -> None: ...

    def span(self, name: str) -> AbstractContextManager[None]:
        """A named range on a profiler's time line."""
        ...

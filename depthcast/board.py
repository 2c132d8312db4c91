"""What the streams of a process are doing now: written by who runs them, read by who asks from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import count

from stream.stats import Stats


class State(StrEnum):
    """Where a stream stands."""

    OPENING = "opening"
    """Its source and network are being opened."""
    RUNNING = "running"
    WAITING = "waiting"
    """It has failed and is tried again soon."""
    ENDED = "ended"
    FAILED = "failed"
    """It has ended with an error."""


@dataclass(frozen=True, slots=True)
class Status:
    """One stream. stats: of its last run, if any; restarts: runs begun after a failure; error: the last, in a line."""

    name: str
    state: State = State.OPENING
    stats: Stats | None = None
    restarts: int = 0
    error: str = ""


class Board:
    """The latest status of each stream, by name. Threads may share it.

    told: called with each new status, by the thread that brings it.
    """

    __slots__ = ("_lock", "_statuses", "_told")

    def __init__(self, told: Callable[[Status], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._statuses: dict[str, Status] = {}
        self._told = told

    def put(self, status: Status) -> None:
        """Put a status in the place of the one of the same name."""
        with self._lock:
            self._statuses[status.name] = status
        if self._told is not None:
            self._told(status)

    def tell(self, name: str, stats: Stats) -> None:
        """The stream runs, with these figures so far."""
        self.put(replace(self.status(name), state=State.RUNNING, stats=stats))

    @contextmanager
    def place(self, kind: str) -> Iterator[Callable[[Stats], None]]:
        """A place for one of many streams without a name of their own, numbered from 1, for as long as the block lasts.

        Yields what is to be told its figures.
        """
        with self._lock:
            number = next(one for one in count(1) if f"{kind} {one}" not in self._statuses)
            name = f"{kind} {number}"
            self._statuses[name] = Status(name)
        try:
            yield lambda stats: self.tell(name, stats)
        finally:
            self.take_down(name)

    def take_down(self, name: str) -> None:
        """Forget a stream; harmless where there is none."""
        with self._lock:
            self._statuses.pop(name, None)

    def status(self, name: str) -> Status:
        """The latest one, that of a stream just being opened where there is none."""
        with self._lock:
            return self._statuses.get(name, Status(name))

    @property
    def statuses(self) -> tuple[Status, ...]:
        """Of all streams, in the order in which they came."""
        with self._lock:
            return tuple(self._statuses.values())

"""Connections over which nothing moves hold no place for long; those without a request none that somebody needs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class Waiting:
    """head_s: until the head of a request is there, from the connection or the last answer on.

    stuck_s: until a client takes more of its answer; a player that pauses asks again for the rest.
    connections: at a time; for a further one, that is left which has waited longest for a request.
    """

    head_s: float = 30.0
    stuck_s: float = 300.0
    connections: int = 512


class Connection(H11Protocol):
    """HTTP/1.1 of uvicorn, which waits for ever for the first request, and for the rest of a head."""

    def __init__(self, *given: Any, waiting: Waiting, **named: Any) -> None:
        super().__init__(*given, **named)
        self._waiting = waiting
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self.waits_since_s = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait; leave another where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._waiting.connections:
            _leave_longest(one for one in self.connections if isinstance(one, Connection) and one is not self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._move()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._move()
        self._stuck = self.loop.call_later(self._waiting.stuck_s, self.leave)

    def resume_writing(self) -> None:
        """The client has read."""
        self._move()
        super().resume_writing()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Wait no more: the connection is another protocol's."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Wait for the next request, and for the rest of this one where it was not read."""
        super().on_response_complete()
        self._wait()

    @property
    def is_idle(self) -> bool:
        """No request is being answered."""
        return self._late is not None and (self.cycle is None or self.cycle.response_complete)

    def leave(self) -> None:
        """Cut the connection."""
        self._stop_waiting()
        self.transport.abort()

    def _wait(self) -> None:
        self._stop_waiting()
        self.waits_since_s = self.loop.time()
        self._late = self.loop.call_later(self._waiting.head_s, self._end)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _move(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _end(self) -> None:
        if self.is_idle:
            self.leave()


def _leave_longest(connections: Iterable[Connection]) -> None:
    idle = [one for one in connections if one.is_idle and not one.transport.is_closing()]
    if idle:
        min(idle, key=lambda one: one.waits_since_s).leave()


def protocol_of(waiting: Waiting) -> Any:
    """What uvicorn is to make of each connection."""
    return partial(Connection, waiting=waiting)

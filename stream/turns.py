"""Streams that share a processor: each steps in its turn, so that a fast one takes no more than its share."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from engines.session import Cache, Session, StepPlan
from engines.spec import ModelSpec


class Turns:
    """A lock that is given in the order in which it was asked for.

    Who asks again at once stands behind all that wait, so each of N busy streams has every Nth turn.
    """

    __slots__ = ("_changed", "_queue")

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()

    @property
    def waiting(self) -> int:
        """Those who wait, and the one whose turn it is."""
        return len(self._queue)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for the turn, and keep it inside the block."""
        mine = object()
        try:
            with self._changed:
                self._queue.append(mine)
                self._changed.wait_for(lambda: self._queue[0] is mine)
            yield
        finally:
            with self._changed, suppress(ValueError):  # An interrupt may come before the turn is asked for.
                self._queue.remove(mine)
                self._changed.notify_all()


class TurnSession(Closing):
    """A session that may be stepped from many threads, one at a time. See `engines.session.Session`.

    session: closed by its maker. turns: shared with other sessions that use the same processor.
    """

    __slots__ = ("_session", "_turns")

    def __init__(self, session: Session, turns: Turns) -> None:
        self._session = session
        self._turns = turns

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._session.spec

    def new_cache(self, batch: int = 1) -> Cache:
        """Memory of one stream; see `engines.session.Session.new_cache`."""
        return self._session.new_cache(batch)

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Wait for the turn and run; see `engines.session.Session.step`."""
        with self._turns.taken():
            return self._session.step(cache, plans)

    def close(self) -> None:
        """Nothing: the session belongs to its maker."""

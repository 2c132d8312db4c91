"""One session for streams that come and go, each with a thread of its own: they step one after the other.

Where a network takes several rows at a time, `stream.batching` does more for streams that stay.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engines.session import Cache, Session, StepPlan
from engines.spec import ModelSpec


class TurnsSession:
    """A session that may be stepped from any number of threads. See `engines.session.Session`.

    They take turns in the order in which they asked, so each of n streams has its n-th part.
    session: closed with this one.
    """

    __slots__ = ("_changed", "_served", "_session", "_tickets")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._changed = threading.Condition()
        self._tickets = self._served = 0

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._session.spec

    def new_cache(self, batch: int = 1) -> Cache:
        """The memory of `batch` streams."""
        with self._turn():
            return self._session.new_cache(batch)

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """The session's step, when it is this thread's turn."""
        with self._turn():
            return self._session.step(cache, plans)

    def close(self) -> None:
        """Free what the engine holds, after the step that runs."""
        with self._turn():
            self._session.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._changed:
            ticket, self._tickets = self._tickets, self._tickets + 1
            self._changed.wait_for(lambda: self._served == ticket)
        try:
            yield
        finally:
            with self._changed:
                self._served += 1
                self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

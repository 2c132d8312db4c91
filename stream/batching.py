"""Several streams share each run of the network: their frames are gathered for a few milliseconds, then go together.

`BatchedSession` is a session like any other, so an estimator needs not know; it may be stepped from as many threads as
there are streams. Each stream has a row of the shared cache for as long as it lives.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from engines.errors import EngineError, StepError
from engines.session import Cache, Image, Session, StepPlan, closed_memory
from engines.spec import ModelSpec

_LOG = logging.getLogger(__name__)
Clock = Callable[[], int]
"""Monotonic time in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do now: run the waiting rows, or look again at `until_ns`, or (None) when something changes."""

    run: bool
    until_ns: int | None = None


def decide(
    waiting_since_ns: Mapping[int, int], last_seen_ns: Mapping[int, int], now_ns: int, gather_ns: int, idle_ns: int
) -> Verdict:
    """Whether the waiting frames go now or wait for company.

    waiting_since_ns: of each row with a frame. last_seen_ns: when each row that has a stream last had one.
    They go once every stream has come that is still alive (seen within `idle_ns`), and at the latest when the first of
    them has waited `gather_ns`. All that wait go together, so no stream can be passed over.
    """
    if not waiting_since_ns:
        return Verdict(run=False)
    deadline_ns = min(waiting_since_ns.values()) + gather_ns
    awaited = [row for row, seen_ns in last_seen_ns.items() if now_ns - seen_ns <= idle_ns]
    if now_ns >= deadline_ns or all(row in waiting_since_ns for row in awaited):
        return Verdict(run=True)
    return Verdict(run=False, until_ns=deadline_ns)


@dataclass(frozen=True, slots=True)
class _Request:
    plan: StepPlan
    arrived_ns: int
    depth: Future[NDArray[np.float32]]


class RowCache(Closing):
    """One stream's row of a shared cache. See `engines.session.Cache`. Closed, the row is another stream's to take.

    leave: gives the row back.
    """

    def __init__(self, image: Image, row: int, slots: int, leave: Callable[[int], None]) -> None:
        self._image: Image | None = image
        self._slots = slots
        self._leave = leave
        self._is_dirty = True
        self.row = row

    @property
    def image(self) -> Image:
        """To be filled before each step. Raises EngineError once this is closed."""
        if self._image is None:
            raise closed_memory()
        return self._image

    def clear(self) -> None:
        """The next frame overwrites every slot of this row; the rows of other streams are not touched."""
        self._is_dirty = True

    def planned(self, plan: StepPlan) -> StepPlan:
        """The plan, which also wipes the row where it holds what another stream or a failure has left.

        The first frame of a stream attends to no slot, so it may be written into all of them.
        """
        if not self._is_dirty:
            return plan
        self._is_dirty = False
        return replace(plan, write=tuple(range(self._slots)))

    def close(self) -> None:
        """Give the row back."""
        if self._image is not None:
            self._image = None
            self._leave(self.row)


class BatchedSession(Closing):
    """A session whose steps run together with those of other streams. See `engines.session.Session`.

    session: stepped by one thread of ours, closed by its maker. rows: most streams at a time.
    gather_s: longest that a frame waits for others (it may wait for the run before it as well).
    idle_s: a stream silent for longer is not waited for.
    """

    def __init__(
        self,
        session: Session,
        rows: int,
        gather_s: float = 0.003,
        idle_s: float = 0.5,
        clock: Clock = time.monotonic_ns,
    ) -> None:
        if rows < 1 or gather_s < 0 or idle_s < 0:
            raise ValueError(f"rows from 1, times from 0: got {rows} rows, {gather_s} s and {idle_s} s")
        self._session = session
        self._cache = session.new_cache(rows)
        # Asked for once: a stream may fill its row while others run, when the cache would point elsewhere.
        self._image = self._cache.image
        self._gather_ns, self._idle_ns = round(gather_s * 1e9), round(idle_s * 1e9)
        self._clock = clock
        self._changed = threading.Condition()
        self._free = list(reversed(range(rows)))
        self._rows = rows
        self._last_seen_ns: dict[int, int] = {}
        self._waiting: dict[int, _Request] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="batching", daemon=True)
        self._thread.start()

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._session.spec

    @property
    def streams(self) -> int:
        """Rows in use."""
        with self._changed:
            return len(self._last_seen_ns)

    def new_cache(self, batch: int = 1) -> RowCache:
        """A row of its own for one stream. Raises EngineError where all are taken."""
        if batch != 1:
            raise ValueError(f"a stream has one row, asked for {batch}")
        with self._changed:
            self._require_open()
            if not self._free:
                raise EngineError(f"all {self._rows} rows of this session are taken: end a stream, or build for more")
            row = self._free.pop()
            self._last_seen_ns[row] = self._clock()
        return RowCache(self._image[row : row + 1], row, self.spec.window.slots, self._leave)

    def _leave(self, row: int) -> None:
        """A stream has ended: the others need not wait for it."""
        with self._changed:
            waiting = self._waiting.pop(row, None)
            del self._last_seen_ns[row]
            self._free.append(row)
            self._changed.notify_all()
        if waiting is not None:
            _fail([waiting], EngineError("this stream was closed while its frame waited"))

    def _require_open(self) -> None:
        if self._closed:
            raise EngineError(f"the session of {self.spec.name} is closed: open another")

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run the frame in `cache.image` together with others; returns depth float32 [1, *map_size], the caller's own.

        Raises StepError when the run failed, ValueError for anything but one plan; other streams notice nothing.
        """
        assert isinstance(cache, RowCache)
        if len(plans) != 1 or plans[0] is None:
            raise ValueError(f"a stream has one row and steps when it has a frame, got {len(plans)} plans")
        self._require_fit(plans[0])
        with self._changed:
            self._require_open()
            assert cache.image is not None
            request = _Request(cache.planned(plans[0]), self._clock(), Future())
            if cache.row in self._waiting:
                raise ValueError("this stream's last frame is not done yet: a stream steps from one thread")
            self._waiting[cache.row] = request
            self._last_seen_ns[cache.row] = request.arrived_ns
            self._changed.notify_all()
        try:
            return request.depth.result()
        except StepError as error:
            raise StepError(f"in a run shared by streams: {error}") from error

    def _require_fit(self, plan: StepPlan) -> None:
        slots = self.spec.window.slots
        if plan.positions.shape != (slots + 1,) or plan.mask.shape != (slots + 1,) or plan.write[slots:]:
            raise ValueError(f"this network's window has {slots} slots, the plan is for {plan.positions.size - 1}")
        if not all(0 <= slot < slots for slot in plan.write):
            raise ValueError(f"slots are 0 to {slots - 1}, the plan writes {plan.write}")

    def _work(self) -> None:
        try:
            while requests := self._gather():
                self._run(requests)
        except BaseException as error:  # a thread's boundary: nobody may wait for a run that never comes
            _LOG.exception("the runs that streams share have ended")
            with self._changed:
                self._closed = True
                waiting, self._waiting = self._waiting, {}
            _fail(waiting.values(), error)

    def _gather(self) -> dict[int, _Request]:
        """The next frames to run together; none when the session has been closed."""
        with self._changed:
            while not self._closed:
                now_ns = self._clock()
                since = {row: request.arrived_ns for row, request in self._waiting.items()}
                verdict = decide(since, self._last_seen_ns, now_ns, self._gather_ns, self._idle_ns)
                if verdict.run:
                    requests, self._waiting = self._waiting, {}
                    return requests
                self._changed.wait(None if verdict.until_ns is None else (verdict.until_ns - now_ns) / 1e9)
            return {}

    def _run(self, requests: Mapping[int, _Request]) -> None:
        plans = [requests[row].plan if row in requests else None for row in range(self._rows)]
        try:
            depth = self._session.step(self._cache, plans)
            maps = {row: depth[row : row + 1].copy() for row in requests}
        except BaseException as error:  # a thread's boundary: each stream gets it
            _fail(requests.values(), error)
        else:
            for row, request in requests.items():
                request.depth.set_result(maps[row])

    def close(self) -> None:
        """Stop the thread and free the rows; frames that still wait end with EngineError."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, {}
            self._changed.notify_all()
        self._thread.join()
        self._cache.close()
        _fail(waiting.values(), EngineError("this session was closed while a frame waited"))


def _fail(requests: Collection[_Request], error: BaseException) -> None:
    for request in requests:
        request.depth.set_exception(error)

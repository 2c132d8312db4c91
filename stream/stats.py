"""Figures of a run: counts, and how long each stage took, in memory that does not grow with the run."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from math import exp, log

_FLOOR_MS = 1e-3
_STEP = 0.04
"""Natural logarithm of the ratio of two bins' edges: figures are good to ±2 %."""
_BINS = 520
"""Up to 1e-3 ms · e^(0.04 · 520), about a quarter of an hour; longer durations count as the last bin."""
EDGES_MS = (1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000, 10000)
"""Durations up to each of these are counted apart, for who watches a run from outside over weeks."""


@dataclass(frozen=True, slots=True)
class StageStats:
    """Durations of one stage over the whole run, milliseconds; quantiles are good to ±2 %.

    sum_ms: of all; within: how many were no longer than each of `EDGES_MS`.
    """

    name: str
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    sum_ms: float = 0.0
    within: tuple[int, ...] = (0,) * len(EDGES_MS)


@dataclass(frozen=True, slots=True)
class SinkStats:
    """One sink so far.

    name: as in `Stats.ages` and `Stats.stages`. waiting: frames that it has not taken yet; dropped: replaced by newer
    ones before it took them, or before it could send them.
    viewers, sent_bytes: of those that send to somebody, how many watch now, and encoded pictures sent; None: others.
    """

    name: str
    waiting: int
    dropped: int
    viewers: int | None = None
    sent_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Stats:
    """A run so far.

    frames_in: taken from the source; frames_out: given to the sinks; dropped: replaced by newer ones before inference.
    sink_dropped: replaced before a slow sink took them, all sinks together.
    waiting: frames taken from the source for which the network has not begun.
    resets: times the temporal window was restarted, the first frame included.
    held: times the last map was shown again, marked stale, while the source was away.
    failures: steps in which the engine failed.
    damaged, reconnects: packets and frames with errors, and times a live source came back.
    elapsed_s: since the run began.
    ages: from capture until written, for each sink.
    stages: every stage that ran, in order of first use; stages of different threads overlap.
    sinks: each sink, in the order given.
    flicker: how much depth changes from frame to frame where the picture does not, 0.01 for one per cent, over the
        last ten seconds or so; None while nothing stood still. See `stream.stability`.
    """

    frames_in: int
    frames_out: int
    dropped: int
    sink_dropped: int
    resets: int
    held: int
    failures: int
    damaged: int
    reconnects: int
    elapsed_s: float
    ages: tuple[StageStats, ...]
    stages: tuple[StageStats, ...]
    waiting: int = 0
    sinks: tuple[SinkStats, ...] = ()
    flicker: float | None = None

    @property
    def fps(self) -> float:
        """Depth frames per second over the whole run."""
        return self.frames_out / self.elapsed_s if self.elapsed_s > 0 else 0.0


class Durations:
    """A histogram with bins in constant ratio."""

    __slots__ = ("_between", "_bins", "_count", "_sum_ms")

    def __init__(self) -> None:
        self._bins = [0] * _BINS
        self._between = [0] * (len(EDGES_MS) + 1)
        self._count = 0
        self._sum_ms = 0.0

    def add(self, duration_ms: float) -> None:
        """Count one duration."""
        place = int(log(max(duration_ms, _FLOOR_MS) / _FLOOR_MS) / _STEP)
        self._bins[min(place, _BINS - 1)] += 1
        self._between[bisect_left(EDGES_MS, duration_ms)] += 1
        self._count += 1
        self._sum_ms += duration_ms

    def quantile_ms(self, share: float) -> float:
        """The duration that `share` (0..1) of all stay within; 0 when there are none."""
        return self._quantiles_ms((share,))[0]

    def _quantiles_ms(self, shares: Sequence[float]) -> list[float]:
        if not self._count:
            return [0.0] * len(shares)
        seen = list(accumulate(self._bins))
        # At least one: a share of nothing is the smallest that there is.
        places = [bisect_left(seen, max(share * self._count, 1)) for share in shares]
        return [_FLOOR_MS * exp((place + 0.5) * _STEP) for place in places]

    def summary(self, name: str) -> StageStats:
        """What has been counted so far."""
        p50, p95, p99 = self._quantiles_ms((0.5, 0.95, 0.99))
        within = tuple(accumulate(self._between[:-1]))
        return StageStats(name, self._count, p50, p95, p99, self._sum_ms, within)


class StageTimes:
    """Durations by stage name, in order of first use. Threads may share it."""

    __slots__ = ("_lock", "_stages")

    def __init__(self) -> None:
        self._stages: dict[str, Durations] = {}
        self._lock = threading.Lock()

    def add(self, stage: str, duration_ms: float) -> None:
        """Count one pass through a stage."""
        with self._lock:
            self._stages.setdefault(stage, Durations()).add(duration_ms)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the time spent inside the block, unless it raises."""
        began = time.perf_counter_ns()
        yield
        self.add(stage, (time.perf_counter_ns() - began) / 1e6)

    def summary(self) -> tuple[StageStats, ...]:
        """All stages so far."""
        with self._lock:
            return tuple(durations.summary(name) for name, durations in self._stages.items())

"""How a run ends: by itself or by a signal, and what is said then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from depthcast.job import Job
from stream.stats import Stats


class Stop:
    """Turns the first Ctrl-C or SIGTERM into a wish to finish; a second one ends the run at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.status = 0

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listens inside the block."""
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.event.is_set():
            raise KeyboardInterrupt
        self.status = 128 + number
        self.event.set()


def summary(job: Job, stats: Stats) -> str:
    """The closing line: what was written, how fast, and where the time went."""
    stages = ", ".join(f"{stage.name} {stage.p50_ms:.1f}/{stage.p95_ms:.1f}" for stage in stats.stages)
    written = ", ".join(str(uri) for uri in job.outputs) if stats.frames_out else "nothing written"
    lost = "".join(
        f", {count} {what}"
        for count, what in (
            (stats.dropped, "dropped"),
            (stats.sink_dropped, "dropped at slow outputs"),
            (stats.reconnects, "reconnects"),
        )
        if count
    )
    steady = "" if stats.flicker is None else f"; flicker {stats.flicker:.2%}"
    speed = f"{stats.frames_out} frames in {stats.elapsed_s:.1f} s ({stats.fps:.1f} fps{lost})"
    return f"{written}: {speed}; p50/p95 ms: {stages}{steady}"

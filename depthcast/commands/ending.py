"""How a run ends: by itself or by a signal, and what is said then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from depthcast.job import Job
from depthcast.signals import finishing_signals, is_hangup, leave_terminal
from stream.stats import Stats


class Stop:
    """Turns the first Ctrl-C, SIGTERM or SIGHUP into a wish to finish; a second Ctrl-C or SIGTERM ends the run at once.

    A hangup is no second one: shells and systems send it once more, or beside another signal.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self.status = 0
        self._is_urgent = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listens inside the block."""
        before = {number: signal.signal(number, self._note) for number in finishing_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if is_hangup(number):
            leave_terminal()
        elif self._is_urgent:
            raise KeyboardInterrupt
        else:
            self._is_urgent = True
        self.status = self.status or 128 + number
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

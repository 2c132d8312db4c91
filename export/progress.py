"""Progress of an engine build, which takes from seconds to many minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Progress = Callable[[str, int, int], None]
"""Told (phase, steps done, steps in all) of the outermost phase that is under way."""


class Reports:
    """What TensorRT reports of its phases, which nest, told on for the outermost ones only.

    interrupted: Control-C was pressed; TensorRT is asked to stop, since no exception may pass through it.
    """

    def __init__(self, tell: Progress | None) -> None:
        self._tell = tell
        self._steps: dict[str, int] = {}
        self.interrupted = False

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins; one within another is only a detail of it."""
        if parent is None:
            self._steps[phase] = steps
            self._say(phase, 0)

    def step(self, phase: str, done: int) -> bool:
        """Step number `done` of a phase, from 0 up, is complete; False asks TensorRT to stop."""
        self._say(phase, done + 1)
        return not self.interrupted

    def finish(self, phase: str) -> None:
        """A phase ends, perhaps without having reported every step."""
        self._say(phase, self._steps.get(phase, 0))
        self._steps.pop(phase, None)

    def _say(self, phase: str, done: int) -> None:
        if self._tell is None or phase not in self._steps:
            return
        try:
            self._tell(phase, done, self._steps[phase])
        except KeyboardInterrupt:
            self.interrupted = True


def monitor(trt: Any, tell: Progress | None) -> tuple[Reports, Any]:
    """(what is reported, the object to hand to the builder's configuration and to keep until the build is over)."""
    reports = Reports(tell)

    def phase_start(_: Any, phase: str, parent: str | None, steps: int) -> None:
        reports.start(phase, parent, steps)

    def step_complete(_: Any, phase: str, step: int) -> bool:
        return reports.step(phase, step)

    def phase_finish(_: Any, phase: str) -> None:
        reports.finish(phase)

    methods = {"phase_start": phase_start, "step_complete": step_complete, "phase_finish": phase_finish}
    return reports, type("Monitor", (trt.IProgressMonitor,), methods)()

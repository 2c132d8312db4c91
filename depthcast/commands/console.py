"""Where words for people go: results on standard output, everything else on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from stream.redact import redacted


def tell(line: str) -> None:
    """A remark on standard error; where that has gone (a closed terminal), none."""
    with suppress(OSError):
        print(f"depthcast: {redacted(line)}", file=sys.stderr, flush=True)


class _Told(logging.Handler):
    """Says what a log record says."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


@contextmanager
def told_logs() -> Iterator[None]:
    """Inside the block, what streaming and serving log from level INFO on is said on standard error."""
    handler = _Told()
    loggers = [logging.getLogger(name) for name in ("stream", "depthcast.service")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)


class FramesPerSecond(ProgressColumn):
    """Speed of a task that counts frames."""

    def render(self, task: Task) -> Text:
        """The speed, empty before it is known."""
        return Text("" if task.speed is None else f"{task.speed:.1f} fps")


@contextmanager
def frame_progress(title: str, frames: int | None) -> Iterator[Callable[[int], None]]:
    """A bar with frames done, frames per second and the time left; yields what is to be told the frames done."""
    columns = (MofNCompleteColumn(), FramesPerSecond(), TimeRemainingColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(title, total=frames)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def streams_progress(names: Sequence[str]) -> Iterator[Callable[[str, str, int], None]]:
    """A line for each stream; yields what is to be told (name, state, frames done)."""
    with _bar(TextColumn("{task.fields[state]}"), TextColumn("{task.completed} frames"), FramesPerSecond()) as bar:
        tasks = {name: bar.add_task(name, total=None, state="") for name in names}
        yield lambda name, state, done: bar.update(tasks[name], completed=done, state=state)


@contextmanager
def download_progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar with bytes done, bytes per second and the time left; yields what is to be told the bytes.

    It appears with the first byte, so that nothing is drawn where nothing is downloaded.
    """
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bar = _bar(*columns)
    task = bar.add_task(title, total=None)

    def show(done: int, total: int | None) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def share_progress() -> Iterator[Callable[[str, float | None], None]]:
    """A bar for work whose share is known at times; yields what is to be told (what is being done, 0..1 or None)."""
    with _bar(TaskProgressColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=None)
        yield lambda words, share: bar.update(task, description=words, completed=share or 0, total=share and 1)


@contextmanager
def phase_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for work in phases; yields what is to be told (phase, steps done, steps in all). Appears with the first."""
    bar = _bar(MofNCompleteColumn(), TimeRemainingColumn())
    task = bar.add_task("", total=None)

    def show(phase: str, done: int, steps: int) -> None:
        bar.start()
        bar.update(task, description=phase, completed=done, total=steps)

    try:
        yield show
    finally:
        bar.stop()


def _bar(*columns: ProgressColumn) -> Progress:
    """Gone when it is done, and never in a log."""
    console = Console(stderr=True)
    words = TextColumn("{task.description}")
    return Progress(words, BarColumn(), *columns, console=console, transient=True, disable=not console.is_terminal)

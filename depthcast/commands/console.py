"""Where words for people go: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text


def tell(line: str) -> None:
    """A remark on standard error."""
    print(f"depthcast: {line}", file=sys.stderr, flush=True)


class FramesPerSecond(ProgressColumn):
    """Speed of a task that counts frames."""

    def render(self, task: Task) -> Text:
        """The speed, empty before it is known."""
        return Text("" if task.speed is None else f"{task.speed:.1f} fps")


@contextmanager
def frame_progress(title: str) -> Iterator[Progress]:
    """A bar with frames done, frames per second and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        FramesPerSecond(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.add_task(title, total=None)
        yield progress


@contextmanager
def download_progress(title: str) -> Iterator[Progress]:
    """A bar with bytes done, bytes per second and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.add_task(title, total=None)
        yield progress

"""Files and scenes as if they were cameras: over and over, and at their own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from engines.closing import Closing
from stream.errors import SourceError
from stream.frame import Frame
from stream.pacing import Pace
from stream.sources import Source, SourceInfo
from stream.sources.file import FileSource
from stream.sources.pipe import is_pipe, name_of


class Looped(Closing):
    """A file from its start again whenever it ends; times go on rising. Raises SourceError, as for a pipe."""

    reconnects = 0
    __slots__ = ("_closing", "_file", "_path", "damaged")

    def __init__(self, path: Path) -> None:
        if is_pipe(path):
            raise SourceError(f"{name_of(path)} can be read once only: leave out loop=1, or give a file")
        self._path = path
        self._closing = threading.Event()
        self._file = FileSource(path)
        self.damaged = 0

    @property
    def info(self) -> SourceInfo:
        """The file's, without an end."""
        return replace(self._file.info, frames=None, duration_s=None, audio=False)

    def __iter__(self) -> Iterator[Frame]:
        index = begin = 0
        while not self._closing.is_set():
            last, step = begin, 1
            for frame in self._file:
                pts = begin + frame.pts
                step = max(1, pts - last)
                last = pts
                yield replace(frame, index=index, pts=pts)
                index += 1
            begin = last + step
            self.damaged += self._file.damaged
            self._file.close()
            self._file = FileSource(self._path)
            if self._closing.is_set():
                self._file.close()

    def close(self) -> None:
        """Close the file, which ends the iteration."""
        self._closing.set()
        self._file.close()


class Paced(Closing):
    """Frames of another source, which it owns, each when its time has come: a live source.

    now_s: monotonic clock; wait: sleeps so many seconds, or until the event is set. Both are replaced in tests.
    """

    __slots__ = ("_closing", "_now_s", "_source", "_wait")

    def __init__(
        self,
        source: Source,
        now_s: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._source = source
        self._closing = threading.Event()
        self._now_s = now_s
        self._wait = wait

    @property
    def info(self) -> SourceInfo:
        """The other source's, live; its sound does not keep the pace and is left out."""
        return replace(self._source.info, live=True, audio=False)

    @property
    def damaged(self) -> int:
        """The other source's."""
        return self._source.damaged

    @property
    def reconnects(self) -> int:
        """The other source's."""
        return self._source.reconnects

    def __iter__(self) -> Iterator[Frame]:
        pace = Pace()
        for frame in self._source:
            self._wait(self._closing, pace.delay_s(float(frame.pts * frame.time_base), self._now_s()))
            if self._closing.is_set():
                return
            yield replace(frame, captured_ns=round(self._now_s() * 1e9))

    def close(self) -> None:
        """End the iteration and close the other source, from any thread."""
        self._closing.set()
        self._source.close()

"""Streams that are watched while they run: what others may know of them, and what they may ask of them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from engines.spec import ModelSpec
from stream.controls import Controls
from stream.sinks.picture import Painter
from stream.sources import SourceInfo
from stream.stats import Stats

_LATELY_S = 2.0
_STATS_KEPT = 64
"""Figures come ten times a second at most."""


class LiveRun:
    """A run that is going on. spec: of its network; controls: heeded by the run."""

    __slots__ = ("_lately", "controls", "info", "spec")

    def __init__(self, info: SourceInfo, spec: ModelSpec, controls: Controls) -> None:
        self.info = info
        self.spec = spec
        self.controls = controls
        self._lately: deque[Stats] = deque(maxlen=_STATS_KEPT)

    def note(self, stats: Stats) -> None:
        """Take the figures so far; from the thread that runs."""
        self._lately.append(stats)
        while stats.elapsed_s - self._lately[0].elapsed_s > _LATELY_S:
            self._lately.popleft()

    def noting(self, progress: Callable[[Stats], None] | None) -> Callable[[Stats], None]:
        """What a run is to tell its figures to, so that `progress` is told them too."""

        def told(stats: Stats) -> None:
            self.note(stats)
            if progress is not None:
                progress(stats)

        return told

    @property
    def stats(self) -> Stats | None:
        """The latest figures; None before the first."""
        lately = tuple(self._lately)
        return lately[-1] if lately else None

    @property
    def fps(self) -> float:
        """Depth frames per second over the last two seconds."""
        lately = tuple(self._lately)
        if not lately:
            return 0.0
        first, last = lately[0], lately[-1]
        elapsed_s = last.elapsed_s - first.elapsed_s
        return (last.frames_out - first.frames_out) / elapsed_s if elapsed_s > 0 else last.fps


@dataclass(frozen=True, slots=True)
class LiveStream:
    """One output of a run that can be watched.

    watch: where, as a path relative to the page, WHEP is spoken; empty where it cannot be joined.
    viewers: how many watch now. token: what one must know to see it or to change it, if anything.
    """

    name: str
    run: LiveRun
    painter: Painter
    watch: str = ""
    viewers: Callable[[], int] = field(default=lambda: 0)
    token: str | None = field(default=None, repr=False)


class LiveStreams:
    """Those that run now, by name. Threads may share it."""

    __slots__ = ("_lock", "_streams")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._streams: dict[str, LiveStream] = {}

    @contextmanager
    def listed(self, stream: LiveStream) -> Iterator[None]:
        """Known under its name inside the block, in the place of any other of that name."""
        with self._lock:
            self._streams[stream.name] = stream
        try:
            yield
        finally:
            with self._lock:
                if self._streams.get(stream.name) is stream:
                    del self._streams[stream.name]

    def find(self, name: str) -> LiveStream | None:
        """The one of that name."""
        with self._lock:
            return self._streams.get(name)

    @property
    def all(self) -> tuple[LiveStream, ...]:
        """In order of their names."""
        with self._lock:
            return tuple(self._streams[name] for name in sorted(self._streams))

"""Times for those outside this program: nanoseconds since 1970."""

from __future__ import annotations

import time
from collections.abc import Callable

from stream.frame import Frame


class UnixClock:
    """Stamps frames: live ones with the moment of their capture, those of a file with their own time from zero on.

    The two clocks are compared once, so that a correction of the wall clock never reorders a stream.
    """

    __slots__ = ("_live", "_offset_ns")

    def __init__(
        self,
        live: bool,
        unix_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._live = live
        self._offset_ns = unix_ns() - monotonic_ns()

    def stamp_ns(self, frame: Frame) -> int:
        """Nanoseconds since 1970, or since the source's start."""
        if self._live:
            return frame.captured_ns + self._offset_ns
        return round(frame.pts * frame.time_base * 10**9)

"""More pictures a second than there are: each is shown again until the next one's time has come."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

from stream.frame import DepthFrame
from stream.sinks import Sink, kind_of
from stream.sources import SourceInfo


class Repeated:
    """Gives another sink, which it owns, exactly `rate` frames a second.

    source_rate: of the frames that come; the last one is shown for one of their periods.
    """

    __slots__ = ("_last", "_next", "_period_s", "_rate", "sink")

    def __init__(self, sink: Sink, rate: Fraction, source_rate: Fraction) -> None:
        self.sink = sink
        self._rate = rate
        self._period_s = 1 / source_rate
        self._last: DepthFrame | None = None
        self._next = 0

    @property
    def kind(self) -> str:
        """The other sink's."""
        return kind_of(self.sink)

    def write(self, depth_frame: DepthFrame) -> None:
        """Show the last frame up to this one's time."""
        if depth_frame.stale:
            return
        time_s = depth_frame.frame.pts * depth_frame.frame.time_base
        if self._last is None:
            self._next = ceil(time_s * self._rate)
        self._show_until(time_s)
        self._last = depth_frame

    def close(self) -> None:
        """Show the last frame for its time and finish the other sink."""
        if self._last is not None:
            frame = self._last.frame
            self._show_until(frame.pts * frame.time_base + self._period_s)
        self.sink.close()

    def abort(self) -> None:
        """Abort the other sink."""
        self.sink.abort()

    def _show_until(self, time_s: Fraction) -> None:
        while self._last is not None and self._next / self._rate < time_s:
            again = replace(self._last.frame, pts=self._next, time_base=1 / self._rate)
            self.sink.write(replace(self._last, frame=again))
            self._next += 1


def repeating(info: SourceInfo, rate: Fraction) -> SourceInfo:
    """What the other sink is to be told of the source."""
    return replace(info, rate=rate, time_base=1 / rate)

"""A source of which only a part is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from engines.closing import Closing
from stream.frame import Frame
from stream.sources import Source, SourceInfo
from stream.sources.thin import Thinner


class Limited(Closing):
    """Frames of another source, which it owns: at most `max_frames`, at most `output_fps` a second; None: all."""

    __slots__ = ("_max_frames", "_source", "_thinner")

    def __init__(self, source: Source, max_frames: int | None = None, output_fps: Fraction | None = None) -> None:
        self._source = source
        self._max_frames = max_frames
        self._thinner = Thinner(output_fps, source.info.rate)

    @property
    def info(self) -> SourceInfo:
        """The other source's, with the smaller rate."""
        info = self._source.info
        rates = [rate for rate in (info.rate, self._thinner.rate) if rate]
        return replace(info, rate=min(rates, default=None), frames=self._max_frames or info.frames, duration_s=None)

    @property
    def damaged(self) -> int:
        """The other source's."""
        return self._source.damaged

    @property
    def reconnects(self) -> int:
        """The other source's."""
        return self._source.reconnects

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        for frame in self._source:
            if self._thinner.keeps(frame.pts * frame.time_base):
                yield replace(frame, index=index)
                index += 1
            if index == self._max_frames:
                return

    def close(self) -> None:
        """Close the other source."""
        self._source.close()

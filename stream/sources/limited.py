"""A source of which only a part is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil

from engines.closing import Closing
from stream.frame import Frame
from stream.sources import Source, SourceInfo
from stream.sources.thin import Thinner


def limited(source: Source, max_frames: int | None, output_fps: Fraction | None) -> Source:
    """The source, thinned, and ended after so many frames unless it is live."""
    most = None if source.info.live else max_frames
    return source if most is None and output_fps is None else Limited(source, most, output_fps)


class Limited(Closing):
    """Frames of another source, which it owns: at most `max_frames`, at most `output_fps` a second; None: all."""

    __slots__ = ("_max_frames", "_source", "_thinner")

    def __init__(self, source: Source, max_frames: int | None = None, output_fps: Fraction | None = None) -> None:
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames starts at 1, got {max_frames}")
        if output_fps is not None and output_fps <= 0:
            raise ValueError(f"output_fps must be above zero, got {output_fps}")
        self._source = source
        self._max_frames = max_frames
        self._thinner = Thinner(output_fps, source.info.rate)

    @property
    def info(self) -> SourceInfo:
        """The other source's, with the smaller rate."""
        info = self._source.info
        rate = min((rate for rate in (info.rate, self._thinner.rate) if rate), default=None)
        frames = info.frames
        if frames is not None and rate and info.rate:
            frames = ceil(frames * rate / info.rate)
        if self._max_frames is not None:
            frames = min(self._max_frames, frames or self._max_frames)
        duration_s = float(frames / rate) if frames is not None and rate else None
        return replace(info, rate=rate, frames=frames, duration_s=duration_s)

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

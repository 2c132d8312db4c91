"""Times of decoded pictures: in order of presentation, strictly rising, whatever the container says."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import av

_REORDERED_STEPS = 10
"""Times that fall back by more frames than this belong to a clock that was restarted."""
_REORDERED = 16
"""Pictures that may follow another in the order of decoding and come before it in that of presentation (H.264)."""
_MOST_SENT = 256
"""Packets that no picture has come of, so far."""
_RESTARTED_STEPS = 2
"""Decoding times rise; where they fall by so many frames, another recording was joined on."""


class FileClock:
    """Makes presentation times rise strictly: fills in missing ones, moves repeated ones, bridges leaps.

    origin: where the track's clock starts; step: of one frame; longest: a longer leap belongs to a damaged clock. All
    in units of the track's time base.
    """

    __slots__ = ("_last", "_longest", "_part", "_step", "origins", "parts")

    def __init__(self, origin: int, step: int, longest: int) -> None:
        self.origins: tuple[int, ...] = (origin,)
        """What has been taken from the track's times, first to last: a further one for each restart of its clock."""
        self.parts: tuple[int, ...] = (0,)
        """Of each part that has come, the place of its first origin among those."""
        self._step = step
        self._longest = longest
        self._part = 0
        self._last: int | None = None

    def mended(self, pts: int | None, part: int = 0) -> int:
        """The next frame's time, counted from the start of the track. part: another one has a clock of its own."""
        last, step = self._last, self._step
        restarted, self._part = part != self._part, part
        if last is None:
            now = 0 if pts is None else max(0, pts - self.origins[-1])
        elif pts is None:
            now = last + step
        else:
            now = pts - self.origins[-1]
            if restarted or not last - _REORDERED_STEPS * step <= now <= last + self._longest:
                # A new value each time: another thread may be looking at the one before.
                self.origins = (*self.origins, pts - (last + step))
                now = last + step
                if restarted:
                    self.parts += (len(self.origins) - 1,) * (part + 1 - len(self.parts))
            now = max(now, last + 1)
        self._last = now
        return now


@dataclass(frozen=True, slots=True)
class Shown:
    """A decoded picture with the time that its container meant for it, None where it says none.

    part: 0, and one more for each recording that was joined on.
    """

    picture: av.VideoFrame
    pts: int | None
    part: int


@dataclass(frozen=True, slots=True, order=True)
class _Sent:
    """A packet whose picture has not come yet."""

    part: int
    pts: int
    number: int


class Presentation:
    """Gives pictures, which a decoder puts into the order of presentation, their times in the same order.

    Most containers number packets by presentation, some (AVI, an MP4 without `ctts`) by decoding. Sorted, the numbers
    are right in either case: a picture is held back while a packet with a smaller one is in the decoder.
    step: of one frame, in units of the time base; most_held: pictures to hold back, for the sake of memory.
    by_decoding: the container has decoding times only; presentation times are FFmpeg's guess then.
    """

    __slots__ = (
        "_has_pts",
        "_held",
        "_last_dts",
        "_most_held",
        "_number",
        "_sent",
        "_shown_part",
        "_step",
        "_times",
        "by_decoding",
        "first",
        "part",
    )

    def __init__(self, step: int, most_held: int, by_decoding: bool = False) -> None:
        self._step = step
        self.by_decoding = by_decoding
        self._most_held = most_held
        self._has_pts = False
        self._last_dts: int | None = None
        self._shown_part = self._number = 0
        self.part = 0
        """Of the packet that was sent last."""
        self._sent: list[_Sent] = []
        self._held: deque[Shown] = deque()
        self._times: list[tuple[int, int]] = []
        """(part, pts) of pictures that came and of which none was given away yet, smallest first."""
        self.first: int | None = None
        """The smallest number seen."""

    def sending(self, packet: av.Packet[Any]) -> None:
        """Note a packet before it is decoded; one without a presentation time gets its decoding time."""
        self._has_pts |= packet.pts is not None
        if self.by_decoding or (packet.pts is None and not self._has_pts):
            packet.pts = packet.dts
        if packet.dts is not None:
            if self._last_dts is not None and packet.dts <= self._last_dts - _RESTARTED_STEPS * self._step:
                self.part += 1
            self._last_dts = packet.dts
        self._number += 1
        if packet.pts is not None and not packet.is_discard:
            if not self.part:
                self.first = packet.pts if self.first is None else min(self.first, packet.pts)
            insort(self._sent, _Sent(self.part, packet.pts, self._number))
            del self._sent[:-_MOST_SENT]

    def shown(self, picture: av.VideoFrame, may_reorder: bool) -> Iterator[Shown]:
        """The pictures whose time is known now that this one has come.

        may_reorder: the codec shows pictures in another order than it codes them.
        """
        sent = next((sent for sent in self._sent if sent.pts == picture.pts), None)
        if sent is not None:
            self._sent.remove(sent)
            self._sent = [other for other in self._sent if other.number >= sent.number - _REORDERED]
            self._shown_part = sent.part
        if picture.pts is not None:
            heappush(self._times, (self._shown_part, picture.pts))
        self._held.append(Shown(picture, picture.pts, self._shown_part))
        while self._held and not (may_reorder and self._waits()):
            yield self._next()

    def rest(self) -> Iterator[Shown]:
        """What is held back at the end."""
        while self._held:
            yield self._next()

    def _waits(self) -> bool:
        """A packet in the decoder has a smaller number than any picture that came."""
        if self._held[0].pts is None or len(self._held) > self._most_held:
            return False
        return bool(self._sent) and (self._sent[0].part, self._sent[0].pts) < self._times[0]

    def _next(self) -> Shown:
        held = self._held.popleft()
        if held.pts is None:
            return held
        part, pts = heappop(self._times)
        return Shown(held.picture, pts, part)

"""Encoded once, sent to all: pictures go to each viewer through a queue of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import av
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from stream.webrtc.coding import Codec, Coded
from stream.webrtc.corrections import Peer
from stream.webrtc.loop import LoopThread

_PENDING = 8
"""Pictures on their way to the event loop; a further one is dropped, and a key picture asked for."""
_PLACES = 8
"""Pictures that wait for one viewer; more, and it is given none until the next key picture."""
_UNSENT_LIMIT = 1 << 20
_JOIN_GAP_S = 0.25
_REPAIR_GAP_S = 1.0
"""At least between two key pictures: viewers on bad links, who need them often, must not spoil all others' pictures."""


@dataclass(frozen=True, slots=True)
class Audience:
    """viewers: who watch now; bitrate_bps: of one viewer's stream over the last seconds.

    encoded: pictures so far; dropped: of those, how often one was not sent to a viewer that was to have it.
    """

    viewers: int
    bitrate_bps: float
    encoded: int
    dropped: int


class ViewerTrack(MediaStreamTrack):
    """One viewer's share of a broadcast, from its first key picture on. Lives on the event loop.

    sent: told each picture that has gone out.
    """

    kind = "video"

    def __init__(self, codec: Codec, peer: Peer, broadcast: Broadcast) -> None:
        super().__init__()
        self.codec = codec
        self.dropped = 0
        self.sent: Callable[[Coded], None] = lambda _: None
        self._last: Coded | None = None
        self._peer = peer
        self._broadcast = broadcast
        self._pictures: deque[Coded] = deque()
        self._arrived = asyncio.Event()
        self._waits_for_key = True
        self._has_begun = False

    def give(self, coded: Coded) -> None:
        """Take one picture to be sent, if the viewer can use it; never waits."""
        if self._waits_for_key and not coded.is_key:
            self.dropped += self._has_begun
            return
        if len(self._pictures) >= _PLACES or self._peer.unsent_bytes > _UNSENT_LIMIT:
            self.dropped += len(self._pictures) + 1
            self._pictures.clear()
            self._waits_for_key = True
            self._broadcast.want_key(self.codec)
            return
        self._waits_for_key, self._has_begun = False, True
        self._pictures.append(coded)
        self._broadcast.sent_bytes += coded.packet.size
        self._arrived.set()

    async def recv(self) -> av.Packet[Any]:
        """The next picture, when it is there. Whoever asks is connected, and is counted as a viewer from now on."""
        if self.readyState == "live":
            self._broadcast.join(self)
        # aiortc comes for the next one when it has sent the one before.
        if self._last is not None:
            self.sent(self._last)
        while not self._pictures:
            if self.readyState != "live":
                raise MediaStreamError
            self._arrived.clear()
            await self._arrived.wait()
        self._last = self._pictures.popleft()
        return self._last.packet

    def stop(self) -> None:
        """No more of it; whoever waits in `recv` is told."""
        super().stop()
        self._arrived.set()


class Broadcast:
    """Who watches what, and how it gets there. Pictures come from one thread, viewers live on the loop."""

    def __init__(self, loop: LoopThread, now_s: Callable[[], float] = time.monotonic) -> None:
        self.sent_bytes = 0
        """Of encoded pictures, to all viewers together, so far."""
        self._loop = loop
        self._now_s = now_s
        self._viewers: set[ViewerTrack] = set()
        self._room = threading.BoundedSemaphore(_PENDING)
        self._wanted: dict[Codec, float] = {}
        """And how long after the one before."""
        self._wishing = threading.Lock()
        self._key_at_s: dict[Codec, float] = {}
        self._rate = Rate()
        self._encoded = self._dropped = 0

    @property
    def watched(self) -> frozenset[Codec]:
        """What there is to encode."""
        return frozenset(viewer.codec for viewer in tuple(self._viewers))

    @property
    def audience(self) -> Audience:
        """At the moment."""
        viewers = tuple(self._viewers)
        dropped = self._dropped + sum(viewer.dropped for viewer in viewers)
        return Audience(len(viewers), self._rate.bits_per_s(self._now_s()), self._encoded, dropped)

    def join(self, viewer: ViewerTrack) -> None:
        """On the loop; harmless when repeated."""
        if viewer not in self._viewers:
            self._viewers.add(viewer)
            self.want_key(viewer.codec, _JOIN_GAP_S)

    def leave(self, viewer: ViewerTrack) -> None:
        """On the loop; harmless when repeated."""
        if viewer in self._viewers:
            self._viewers.discard(viewer)
            self._dropped += viewer.dropped
        viewer.stop()

    def want_key(self, codec: Codec, gap_s: float = _REPAIR_GAP_S) -> None:
        """Somebody can go on only from a key picture, to be made at least gap_s after the one before."""
        with self._wishing:
            self._wanted[codec] = min(gap_s, self._wanted.get(codec, gap_s))

    def wants_key(self, codec: Codec) -> bool:
        """The next picture is to be a key picture."""
        now_s = self._now_s()
        with self._wishing:
            gap_s = self._wanted.get(codec)
            return gap_s is not None and now_s - self._key_at_s.get(codec, -inf) >= gap_s

    def send(self, codec: Codec, coded: Coded) -> None:
        """Hand over one picture; never waits."""
        self._encoded += 1
        self._rate.add(self._now_s(), coded.packet.size)
        if coded.is_key:
            self._key_sent(codec)
        if not self._room.acquire(blocking=False):
            self._dropped += 1
            self.want_key(codec)
            return
        self._loop.call(lambda: self._distribute(codec, coded))

    def _key_sent(self, codec: Codec) -> None:
        """It serves whoever has joined by now, for it is distributed after that."""
        with self._wishing:
            self._wanted.pop(codec, None)
            self._key_at_s[codec] = self._now_s()

    def _distribute(self, codec: Codec, coded: Coded) -> None:
        self._room.release()
        for viewer in tuple(self._viewers):
            if viewer.codec is codec:
                viewer.give(coded)


class Rate:
    """Bits per second over about the last two seconds."""

    __slots__ = ("_since_s", "_sizes")

    _SPAN_S = 2.0

    def __init__(self) -> None:
        self._sizes: deque[tuple[float, int]] = deque(maxlen=1000)

    def add(self, now_s: float, size: int) -> None:
        """One picture's bytes."""
        self._sizes.append((now_s, size))
        while self._sizes[0][0] < now_s - self._SPAN_S:
            self._sizes.popleft()

    def bits_per_s(self, now_s: float) -> float:
        """0 where nothing has been sent lately."""
        recent = [size for at_s, size in tuple(self._sizes) if at_s >= now_s - self._SPAN_S]
        return 8 * sum(recent) / self._SPAN_S

"""Pictures that a publisher brings to us over WebRTC."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import suppress

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engines.closing import Closing
from stream.errors import SourceError
from stream.frame import Frame
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.pacing import LIVE_TIME_BASE, LiveClock
from stream.sources import SourceInfo
from stream.webrtc.corrections import Ice, Peer
from stream.webrtc.door import Door, OfferRefused
from stream.webrtc.loop import LoopEnded, LoopThread

_LOG = logging.getLogger(__name__)
_LEAVE_S = 3.0


class Reception:
    """Where publishers are received: `door` takes their offers. The latest to come is the one that is heard.

    name: for people.
    """

    def __init__(self, name: str, ice: Ice) -> None:
        self.name = name
        self.frames: Mailbox[Frame] = Mailbox(1, Overflow.REPLACE)
        self.damaged = 0
        """Pictures that were decoded with errors, so far."""
        self.reconnects = 0
        """Times a publisher came after another, or again."""
        self._clock = LiveClock()
        self._index = 0
        self._heard: Publisher | None = None
        self._loop = LoopThread("webrtc publisher")
        self.door = Door(self._loop, ice, 1, lambda: Publisher(self), newest_only=True)

    def take(self, picture: av.VideoFrame, publisher: Publisher) -> None:
        """One picture, on the loop. Raises MailboxClosed when nobody wants any more."""
        if publisher is not self._heard:
            if self._heard is not None:
                self.reconnects += 1
                self._clock.restart()
            _LOG.info("%s: a publisher has come", self.name)
            self._heard = publisher
        self.damaged += picture.is_corrupt
        now_ns = time.monotonic_ns()
        sent_s = None if picture.pts is None or picture.time_base is None else float(picture.pts * picture.time_base)
        pts = self._clock.pts(sent_s, now_ns / 1e9)
        self.frames.put(Frame(picture, self._index, pts, LIVE_TIME_BASE, now_ns))
        self._index += 1

    def close(self) -> None:
        """Leave the publisher and take no other, from any thread; harmless when repeated."""
        self.frames.close()
        with suppress(LoopEnded, TimeoutError, CancelledError):
            self._loop.submit(self.door.leave_all()).result(_LEAVE_S)
        self._loop.close()


class Publisher:
    """A peer that sends us its pictures."""

    directions = frozenset({"sendonly", "sendrecv"})

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._pump: asyncio.Task[None] | None = None

    def meet(self, peer: Peer) -> None:
        """Take its first video; sound and the like are declined."""
        track: MediaStreamTrack | None = None
        for transceiver in peer.getTransceivers():
            if track is None and transceiver.kind == "video" and transceiver.receiver.track is not None:
                track = transceiver.receiver.track
                transceiver.direction = "recvonly"
            else:
                transceiver.direction = "inactive"
        if track is None:
            raise OfferRefused("the offer sends no video: its direction must be sendonly or sendrecv")
        self._pump = asyncio.get_running_loop().create_task(self._take_from(track, peer))

    def wants_key(self) -> None:
        """It is sent nothing."""

    def leave(self) -> None:
        """It is not heard any longer."""
        if self._pump is not None:
            self._pump.cancel()

    async def _take_from(self, track: MediaStreamTrack, peer: Peer) -> None:
        try:
            while True:
                picture = await track.recv()
                if isinstance(picture, av.VideoFrame):
                    self._reception.take(picture, self)
        except (MediaStreamError, MailboxClosed):
            pass
        except Exception:  # a task's boundary: the publisher is left, and may come again
            _LOG.exception("%s: a publisher is left", self._reception.name)
            await peer.close()


class PublishedSource(Closing):
    """A publisher's pictures, newest first, until `close`; a publisher that goes is waited for.

    Waits for the first picture. timeout_s: None waits for ever; else SourceError is raised.
    """

    __slots__ = ("_info", "_reception")

    def __init__(self, reception: Reception, timeout_s: float | None = None) -> None:
        self._reception = reception
        try:
            first = reception.frames.take(timeout_s)
        except TimeoutError:
            raise SourceError(f"no publisher came to {reception.name} in {timeout_s:g} s") from None
        self._info = SourceInfo(
            height=first.height,
            width=first.width,
            rate=None,
            time_base=LIVE_TIME_BASE,
            frames=None,
            duration_s=None,
            live=True,
            audio=False,
            name=reception.name,
        )

    @property
    def info(self) -> SourceInfo:
        """Of the first picture; later ones may have another size."""
        return self._info

    @property
    def damaged(self) -> int:
        """Pictures that were decoded with errors, so far."""
        return self._reception.damaged

    @property
    def reconnects(self) -> int:
        """Times a publisher came after another, or again."""
        return self._reception.reconnects

    def __iter__(self) -> Iterator[Frame]:
        yield from self._reception.frames

    def close(self) -> None:
        """End the iteration and leave the publisher, from any thread."""
        self._reception.close()

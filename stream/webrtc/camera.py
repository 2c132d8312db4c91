"""A peer's pictures, and the way back for what becomes of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator

import av
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from engines.closing import Closing
from stream.errors import SourceError
from stream.frame import Frame
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.pacing import LIVE_TIME_BASE, LiveClock
from stream.sources import SourceInfo
from stream.webrtc.broadcast import Broadcast, ViewerTrack
from stream.webrtc.coding import Codec
from stream.webrtc.corrections import Peer, SenderClock, agree_on, wanted_codecs
from stream.webrtc.door import OfferRefused
from stream.webrtc.loop import LoopThread
from stream.webrtc.notes import Notes

_REMEMBERED = 64
"""Pictures whose time of capture is known while their depth is on its way."""


class Camera(Closing):
    """A peer that sends its pictures and is sent pictures in return: a guest, and a source of frames.

    loop: on which it is met. preferred: codecs for both directions.
    """

    reconnects = 0
    directions = frozenset({"sendrecv"})

    def __init__(self, loop: LoopThread, preferred: tuple[Codec, ...]) -> None:
        self.broadcast = Broadcast(loop)
        """What is sent back."""
        self.damaged = 0
        """Pictures that were decoded with errors, so far."""
        self.gone: Callable[[], None] = lambda: None
        """Called on the loop when it has left."""
        self._preferred = preferred
        self._frames: Mailbox[Frame] = Mailbox(1, Overflow.REPLACE)
        self._clock = LiveClock()
        self._captured: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)
        self._index = 0
        self._info: SourceInfo | None = None
        self._track: ViewerTrack | None = None
        self._notes: Notes | None = None
        self._pump: asyncio.Task[None] | None = None

    def meet(self, peer: Peer) -> None:
        """Agree on one codec for there and back; sound and the like are declined."""
        met = None
        for transceiver in peer.getTransceivers():
            codecs = wanted_codecs(transceiver)
            codec = next((one for one in self._preferred if one in codecs), None)
            if met is None and codec is not None and transceiver.receiver.track is not None:
                met = transceiver, codec, transceiver.receiver.track
            else:
                transceiver.direction = "inactive"
        if met is None:
            raise OfferRefused(f"the offer must send and take video (sendrecv) in {' or '.join(self._preferred)}")
        transceiver, codec, pictures = met
        agree_on(transceiver, codec)
        sender_clock = SenderClock(transceiver.receiver)
        self._track = ViewerTrack(codec, peer, self.broadcast)
        sender, notes = transceiver.sender, Notes(peer, self._captured_ms)
        sender.replaceTrack(self._track)
        transceiver.direction = "sendrecv"
        self._track.sent = lambda coded: notes.sent(coded, sender)
        self._notes = notes
        self._pump = asyncio.get_running_loop().create_task(self._take_from(pictures, sender_clock))

    def wants_key(self) -> None:
        """It has lost something."""
        if self._track is not None:
            self.broadcast.want_key(self._track.codec)

    def leave(self) -> None:
        """It has gone."""
        if self._pump is not None:
            self._pump.cancel()
        if self._track is not None:
            self.broadcast.leave(self._track)
        self._frames.close()
        self.gone()

    def end(self, reason: str) -> None:
        """Tell it, on the loop, why there will be nothing more."""
        if self._notes is not None:
            self._notes.end(reason)

    def wait(self, timeout_s: float) -> SourceInfo:
        """Take the first picture, from the thread that will read the rest. SourceError when none comes."""
        try:
            first = self._frames.take(timeout_s)
        except (TimeoutError, MailboxClosed):
            raise SourceError("the camera sent no picture") from None
        self._info = SourceInfo(first.height, first.width, None, LIVE_TIME_BASE, None, None, True, False, "camera")
        return self._info

    @property
    def info(self) -> SourceInfo:
        """Of the first picture; later ones may have another size."""
        assert self._info is not None, "there is none before `wait`"
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        yield from self._frames

    def close(self) -> None:
        """End the iteration, from any thread; the peer is left by who has met it."""
        self._frames.close()

    async def _take_from(self, pictures: MediaStreamTrack, sender_clock: SenderClock) -> None:
        try:
            while True:
                picture = await pictures.recv()
                if isinstance(picture, av.VideoFrame):
                    self._take(picture, sender_clock)
        except (MediaStreamError, MailboxClosed):
            pass
        except Exception as error:  # a task's boundary: who reads the frames is told
            self._frames.close(error)

    def _take(self, picture: av.VideoFrame, sender_clock: SenderClock) -> None:
        now_ns = time.monotonic_ns()
        sent_s = None
        if picture.pts is not None and picture.time_base is not None:
            sent_s = float(picture.pts * picture.time_base)
            captured_ms = sender_clock.captured_ms(picture.pts)
            if captured_ms is not None:
                self._captured.append((now_ns, captured_ms))
        self.damaged += picture.is_corrupt
        pts = self._clock.pts(sent_s, now_ns / 1e9)
        self._frames.put(Frame(picture, self._index, pts, LIVE_TIME_BASE, now_ns))
        self._index += 1

    def _captured_ms(self, captured_ns: int) -> float | None:
        """When the peer's own clock saw what reached us then."""
        return next((there_ms for here_ns, there_ms in self._captured if here_ns == captured_ns), None)

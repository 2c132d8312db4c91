"""Coloured depth over WebRTC: to any number of viewers, each of whom brings an offer."""

from __future__ import annotations

import logging
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass

from stream.sinks.picture import Painter
from stream.sources import SourceInfo
from stream.webrtc.broadcast import Broadcast, ViewerTrack
from stream.webrtc.coding import Codecs, choose_codecs
from stream.webrtc.corrections import Ice, Peer, agree_on, wanted_codecs
from stream.webrtc.door import Door, OfferRefused
from stream.webrtc.encoding import BroadcastSink
from stream.webrtc.loop import LoopEnded, LoopThread
from stream.webrtc.notes import Notes

_LOG = logging.getLogger(__name__)
_LEAVE_S = 3.0


@dataclass(frozen=True, slots=True)
class Viewing:
    """viewers: at most at a time; bitrate: bits per second at most, for each of them."""

    viewers: int = 16
    bitrate: int = 4_000_000


class WebRtcSink(BroadcastSink):
    """Encodes each picture once, while anybody watches, and sends it to all. `door` takes the viewers' offers.

    Raises SinkError when there is no encoder.
    """

    kind = "webrtc"

    def __init__(self, info: SourceInfo, painter: Painter, ice: Ice, viewing: Viewing) -> None:
        codecs = choose_codecs(painter, info.rate, viewing.bitrate)
        self._loop = LoopThread("webrtc")
        broadcast = Broadcast(self._loop)
        super().__init__(codecs, painter, info.rate, broadcast)
        self.door = Door(self._loop, ice, viewing.viewers, lambda: Viewer(broadcast, codecs))

    def close(self) -> None:
        """Leave the viewers; harmless when repeated."""
        with suppress(LoopEnded, TimeoutError, CancelledError):
            self._loop.submit(self.door.leave_all()).result(_LEAVE_S)
        self._loop.close()


class Viewer:
    """A peer that watches."""

    directions = frozenset({"recvonly", "sendrecv"})

    def __init__(self, broadcast: Broadcast, codecs: Codecs) -> None:
        self._broadcast = broadcast
        self._codecs = codecs
        self._track: ViewerTrack | None = None

    def meet(self, peer: Peer) -> None:
        """Send it the first codec of ours that it knows."""
        known = {one: wanted_codecs(one) for one in peer.getTransceivers()}
        transceiver = next((one for one, codecs in known.items() if codecs), None)
        if transceiver is None:
            raise OfferRefused("the offer wants no video: its direction must be recvonly or sendrecv")
        codec = next((one for one in self._codecs.preferred if one in known[transceiver]), None)
        if codec is None:
            raise OfferRefused(f"the offer knows no codec of {', '.join(self._codecs.preferred)}")
        agree_on(transceiver, codec)
        self._track = ViewerTrack(codec, peer, self._broadcast)
        notes, sender = Notes(peer), transceiver.sender
        sender.replaceTrack(self._track)
        for one in known:
            one.direction = "sendonly" if one is transceiver else "inactive"
        self._track.sent = lambda coded: notes.sent(coded, sender)

    def wants_key(self) -> None:
        """It has lost something."""
        if self._track is not None:
            self._broadcast.want_key(self._track.codec)

    def leave(self) -> None:
        """It is sent nothing more."""
        if self._track is not None:
            self._broadcast.leave(self._track)

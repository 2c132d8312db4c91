"""From depth to what a broadcast sends: painted, and encoded once for each codec that is watched."""

from __future__ import annotations

from fractions import Fraction

from stream.frame import DepthFrame
from stream.sinks.picture import Painter
from stream.webrtc.broadcast import Broadcast
from stream.webrtc.coding import Codec, Codecs, PictureEncoder


class Encoding:
    """The encoders of one broadcast, opened when somebody watches."""

    __slots__ = ("_broadcast", "_codecs", "_encoders", "_painter", "_rate")

    def __init__(self, codecs: Codecs, painter: Painter, rate: Fraction | None, broadcast: Broadcast) -> None:
        self._codecs = codecs
        self._painter = painter
        self._rate = rate
        self._broadcast = broadcast
        self._encoders: dict[Codec, PictureEncoder] = {}

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode and send one picture, where it is watched; never waits for viewers. Raises SinkError."""
        for codec in self._broadcast.watched:
            if codec not in self._encoders:
                self._encoders[codec] = self._codecs.encoder(codec, self._painter, self._rate)
            coded = self._encoders[codec].coded(depth_frame, self._broadcast.wants_key(codec))
            self._broadcast.send(codec, coded)

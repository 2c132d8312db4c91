"""From depth to what a broadcast sends: painted, and encoded once for each codec that is watched."""

from __future__ import annotations

from fractions import Fraction

from stream.frame import DepthFrame
from stream.sinks.picture import Painter
from stream.webrtc.broadcast import Audience, Broadcast
from stream.webrtc.coding import Codec, Codecs, PictureEncoder


class BroadcastSink:
    """Sends depth to whoever watches a broadcast, with encoders that are opened when somebody does.

    The peers are left by who has met them.
    """

    kind = "browser"

    def __init__(self, codecs: Codecs, painter: Painter, rate: Fraction | None, broadcast: Broadcast) -> None:
        self._codecs = codecs
        self._painter = painter
        self._rate = rate
        self._broadcast = broadcast
        self._encoders: dict[Codec, PictureEncoder] = {}

    @property
    def audience(self) -> Audience:
        """Who watches at the moment, and what became of the pictures so far."""
        return self._broadcast.audience

    @property
    def viewers(self) -> int:
        """Who watch at the moment."""
        return self.audience.viewers

    @property
    def sent_bytes(self) -> int:
        """Of encoded pictures, to all viewers together, so far."""
        return self._broadcast.sent_bytes

    @property
    def dropped(self) -> int:
        """How often a picture was not sent to a viewer that was to have it."""
        return self.audience.dropped

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode and send one picture, where it is watched; never waits for viewers. Raises SinkError."""
        for codec in self._broadcast.watched:
            if codec not in self._encoders:
                self._encoders[codec] = self._codecs.encoder(codec, self._painter, self._rate)
            coded = self._encoders[codec].coded(depth_frame, self._broadcast.wants_key(codec))
            self._broadcast.send(codec, coded)

    def close(self) -> None:
        """Nothing to finish."""

    def abort(self) -> None:
        """As `close`: what was sent is sent."""
        self.close()

"""What a viewer is told beside the pictures: when they were captured, so that it can tell how old they are.

Over a data channel named `frames` that the viewer opens; messages are JSON.
    {"rtp": n, "captured_ms": t, "clock": "server" | "browser"}   of a picture that has been sent under RTP time stamp n
    {"ping_ms": x}  →  {"ping_ms": x, "server_ms": t}             for comparing clocks
    {"ended": "…"}                                                why there is nothing more
Times are milliseconds since 1970; `clock` says whose.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from aiortc import RTCDataChannel, RTCRtpSender

from stream.webrtc.coding import Coded
from stream.webrtc.corrections import Peer, sent_timestamp

CHANNEL = "frames"
_EVERY_NS = 150_000_000
"""A channel is carried by Python throughout: a few notes a second are enough for a median, thirty cost too much."""
_LONGEST = 200
_MOST_WAITING = 16_384


class Notes:
    """Those of one viewer. Lives on the event loop.

    captured_ms: of a picture captured at so many ns of our monotonic clock, where the viewer's clock is known to have
        seen it; None: our own clock is told.
    """

    def __init__(self, peer: Peer, captured_ms: Callable[[int], float | None] | None = None) -> None:
        self._captured_ms = captured_ms
        self._channel: RTCDataChannel | None = None
        self._told_ns = 0
        peer.on("datachannel", self._take)

    def sent(self, coded: Coded, sender: RTCRtpSender) -> None:
        """This picture was the last that went out."""
        now_ns = time.monotonic_ns()
        if self._channel is None or now_ns - self._told_ns < _EVERY_NS:
            return
        if self._captured_ms is None:
            captured_ms, clock = wall_ms(coded.captured_ns), "server"
        else:
            captured, clock = self._captured_ms(coded.captured_ns), "browser"
            if captured is None:
                return
            captured_ms = captured
        self._told_ns = now_ns
        self._say({"rtp": sent_timestamp(sender), "captured_ms": round(captured_ms, 2), "clock": clock})

    def end(self, reason: str) -> None:
        """There will be nothing more."""
        self._say({"ended": reason})

    def _take(self, channel: RTCDataChannel) -> None:
        if channel.label == CHANNEL and self._channel is None:
            self._channel = channel
            channel.on("message", self._answer)

    def _answer(self, message: str | bytes) -> None:
        try:
            asked = json.loads(message) if len(message) <= _LONGEST else None
        except ValueError:
            return
        if isinstance(asked, dict) and isinstance(asked.get("ping_ms"), int | float):
            self._say({"ping_ms": asked["ping_ms"], "server_ms": round(wall_ms(time.monotonic_ns()), 2)})

    def _say(self, words: dict[str, object]) -> None:
        channel = self._channel
        if channel is not None and channel.readyState == "open" and channel.bufferedAmount < _MOST_WAITING:
            channel.send(json.dumps(words))


def wall_ms(monotonic_ns: int) -> float:
    """Milliseconds since 1970, by the wall clock as it stands now, of a moment of the monotonic one."""
    return (time.time_ns() - (time.monotonic_ns() - monotonic_ns)) / 1e6

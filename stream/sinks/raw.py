"""Raw depth for any number of subscribers: encoded once, the newest wins. No transport is known here."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stream.clock import UnixClock
from stream.frame import DepthFrame
from stream.raw.codec import Encoder
from stream.raw.header import Kind
from stream.sources import SourceInfo


class Subscription:
    """One subscriber's place for the newest message.

    told: called from the sink's thread when a message has come or the sink has closed; it must not wait.
    """

    __slots__ = ("_lock", "_message", "_sink", "_told", "dropped", "ended", "sent_bytes")

    def __init__(self, sink: RawSink, told: Callable[[], None]) -> None:
        self._sink = sink
        self._told = told
        self._lock = threading.Lock()
        self._message: bytes | None = None
        self.dropped = 0
        """Messages replaced by newer ones before they were taken."""
        self.sent_bytes = 0
        """Of the messages that were taken."""
        self.ended = False
        """Nothing more will come."""

    def take(self) -> bytes | None:
        """The newest message that has not been taken, if there is one."""
        with self._lock:
            message, self._message = self._message, None
            self.sent_bytes += len(message or b"")
        return message

    def put(self, message: bytes) -> None:
        """Replace what waits."""
        with self._lock:
            self.dropped += self._message is not None
            self._message = message
        self._told()

    def end(self) -> None:
        """Tell that nothing more will come."""
        self.ended = True
        self._told()

    def close(self) -> None:
        """Take nothing more; harmless when repeated."""
        self._sink.leave(self)


class RawSink:
    """Encodes each frame once, while anybody listens. `write` waits for nobody.

    kind: of the values; limits: (near, far) in metres, told in every header.
    """

    kind = "raw"

    __slots__ = ("_clock", "_closed", "_encoder", "_lock", "_past_bytes", "_past_dropped", "_subscriptions")

    def __init__(
        self, info: SourceInfo, kind: Kind = Kind.UINT16, limits: tuple[float, float] = (0.0, float("inf"))
    ) -> None:
        self._encoder = Encoder(kind, limits)
        self._clock = UnixClock(info.live)
        self._lock = threading.Lock()
        self._subscriptions: list[Subscription] = []
        self._past_dropped = self._past_bytes = 0
        self._closed = False

    @property
    def viewers(self) -> int:
        """Who listen at the moment."""
        return len(self._subscriptions)

    @property
    def sent_bytes(self) -> int:
        """Of all messages that were taken, so far."""
        with self._lock:
            return self._past_bytes + sum(one.sent_bytes for one in self._subscriptions)

    @property
    def dropped(self) -> int:
        """Messages replaced before they were taken, all subscribers together, those that left included."""
        with self._lock:
            return self._past_dropped + sum(one.dropped for one in self._subscriptions)

    def subscribe(self, told: Callable[[], None]) -> Subscription:
        """Listen from the next frame on, from any thread. See `Subscription`."""
        subscription = Subscription(self, told)
        with self._lock:
            if not self._closed:
                self._subscriptions.append(subscription)
                return subscription
        subscription.end()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forget a subscriber."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
                self._past_dropped += subscription.dropped
                self._past_bytes += subscription.sent_bytes

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode one map and put it into every subscriber's place."""
        with self._lock:
            listening = tuple(self._subscriptions)
        if not listening:
            self._encoder.skip()
            return
        message = self._encoder.encode(depth_frame, self._clock.stamp_ns(depth_frame.frame))
        for subscription in listening:
            subscription.put(message)

    def close(self) -> None:
        """Tell the subscribers that this is the end."""
        with self._lock:
            self._closed = True
            listening = tuple(self._subscriptions)
        for subscription in listening:
            subscription.end()

    def abort(self) -> None:
        """As `close`."""
        self.close()

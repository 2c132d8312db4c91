"""Coloured depth to somebody else's WHIP server, connected to again whenever it is lost.

FFmpeg's own muxer is not used: PyAV holds the interpreter's lock while it waits for the server.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any, TypeVar

from aiortc import RTCSessionDescription

from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.pacing import wait_before_try_s
from stream.sinks.picture import Painter
from stream.sources import SourceInfo
from stream.webrtc.broadcast import Broadcast, ViewerTrack
from stream.webrtc.coding import Codec, capabilities, choose_codecs
from stream.webrtc.corrections import Ice, Peer, agreed_codec
from stream.webrtc.encoding import BroadcastSink
from stream.webrtc.loop import LoopThread
from stream.webrtc.signalling import Refused, Session, begin, leave
from stream.webrtcuris import WhipPublish

_LOG = logging.getLogger(__name__)
_LEAVE_S = 2.0

T = TypeVar("T")


class WhipPublishSink(BroadcastSink):
    """Encodes while a server takes it; `write` never waits for one. An absent server is asked again, later and later.

    bitrate: bits per second at most; timeout_s: of every wait for the server.
    wait: sleeps so many seconds; replaced in tests. Raises SinkError when there is no encoder.
    """

    kind = "whip"

    def __init__(
        self,
        uri: WhipPublish,
        info: SourceInfo,
        painter: Painter,
        ice: Ice,
        bitrate: int,
        timeout_s: float = 5.0,
        wait: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        codecs = choose_codecs(painter, info.rate, bitrate)
        self._loop = LoopThread("whip publisher")
        super().__init__(codecs, painter, info.rate, Broadcast(self._loop))
        self._uri = uri
        self._ice = ice
        self._timeout_s = timeout_s
        self._wait = wait
        self.connections = 0
        """Times that the server took our stream, so far."""
        self._ending = asyncio.Event()
        self._life = self._loop.submit(self._live())

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode and send one picture. Raises SinkError, also where nothing is sent any more."""
        if self._life.done() and not self._life.cancelled() and (error := self._life.exception()) is not None:
            raise SinkError(f"cannot publish to {self._uri}: {error}") from error
        super().write(depth_frame)

    def close(self) -> None:
        """Leave the server, if that is heard at once; harmless when repeated."""
        self._loop.call(self._ending.set)
        try:
            with suppress(TimeoutError, CancelledError):
                self._life.exception(_LEAVE_S)
        finally:
            self._loop.close()

    async def _live(self) -> None:
        """Connection after connection."""
        failures = 0
        ending = asyncio.create_task(self._ending.wait())
        while not ending.done():
            was_open = self.connections
            living = asyncio.create_task(self._connected_once(ending))
            reason = await living
            if ending.done():
                break
            has_been = self.connections > was_open
            if has_been or not failures:
                _LOG.warning("%s does not take our stream (%s), trying again", self._uri, reason)
            failures = 1 if has_been else failures + 1
            waiting = asyncio.create_task(self._wait(wait_before_try_s(failures)))
            await asyncio.wait((waiting, ending), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()

    async def _connected_once(self, ending: asyncio.Task[Any]) -> str:
        """Connect and stay until either side leaves; says why it did not come to that, or ended."""
        track: ViewerTrack | None = None
        session: Session | None = None
        peer = Peer(self._ice, lambda: self._broadcast.want_key(track.codec) if track is not None else None)
        try:
            track = ViewerTrack(self._codecs.preferred[0], peer, self._broadcast)
            transceiver = peer.addTransceiver(track, direction="sendonly")
            transceiver.setCodecPreferences(capabilities(self._codecs.preferred))
            await peer.setLocalDescription()
            session = await _aside(
                lambda: begin(self._uri.url, peer.localDescription.sdp, self._uri.token, self._timeout_s)
            )
            changed = asyncio.Event()
            peer.on("connectionstatechange", changed.set)
            await peer.setRemoteDescription(RTCSessionDescription(session.sdp, "answer"))
            track.codec = Codec(agreed_codec(transceiver))
            return await self._sent(peer, changed, ending)
        except (OSError, Refused) as error:
            return str(error)
        except Exception as error:
            # aiortc raises whatever its parser stumbles over: the answer is a stranger's.
            _LOG.debug("an answer cannot be used", exc_info=True)
            return f"its answer cannot be used: {type(error).__name__}"
        finally:
            if track is not None:
                self._broadcast.leave(track)
            if session is not None:
                there = session
                await _aside(lambda: leave(there, _LEAVE_S / 2))
            await peer.close()

    async def _sent(self, peer: Peer, changed: asyncio.Event, ending: asyncio.Task[Any]) -> str:
        """Send from being connected until not being it any longer; says why."""
        heard: Heard | None = None
        while peer.connectionState not in ("failed", "closed"):
            if peer.connectionState == "connected" and heard is None:
                heard = Heard(peer.received_packets)
                self.connections += 1
                _LOG.info("publishing to %s", self._uri)
            change = asyncio.create_task(changed.wait())
            done, _ = await asyncio.wait((change, ending), timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
            changed.clear()
            if ending in done:
                return "we left"
            if not done and heard is None:
                break
            if not done and heard is not None and heard.is_silent(peer.received_packets):
                return "it is silent"
        return "no connection came about" if heard is None else "it left"


class Heard:
    """Whether a server that takes our stream is still there, judged by its reports: ICE knows after half a minute only.

    at_first: packets received before it could report on anything.
    """

    __slots__ = ("_at_first", "_last", "_silences")

    def __init__(self, at_first: int) -> None:
        self._at_first = self._last = at_first
        self._silences = 0

    def is_silent(self, received: int) -> bool:
        """It has reported, and twice in a row nothing has come since this was last asked."""
        self._silences = self._silences + 1 if received == self._last > self._at_first else 0
        self._last = received
        return self._silences == 2


async def _aside(work: Callable[[], T]) -> T:
    """Work that blocks, in a thread that nobody has to wait for: a server may let us wait longer than we want to."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="whip request", daemon=True).start()
    return await asyncio.wrap_future(future)

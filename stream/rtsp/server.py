"""The server: a thread with an event loop of its own. Pictures are handed to it, viewers come and go."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from stream.errors import SinkError
from stream.rtsp.messages import HEAD_LIMIT, answer, plain_path
from stream.rtsp.ports import PortPair
from stream.rtsp.rtp import AccessUnit, Sender
from stream.rtsp.sdp import describe
from stream.rtsp.viewer import Viewer
from stream.uris import Login, RtspServe

_LOG = logging.getLogger(__name__)
_REPORT_EVERY_S = 5.0
_PENDING = 8
"""Access units on their way to the event loop; a further one is dropped, and a key picture asked for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """connections: at the same time; session_s: without a sign of life from a viewer; login_s: until its session."""

    connections: int = 16
    session_s: float = 60.0
    login_s: float = 30.0


DEFAULT_LIMITS = Limits()


class RtspServer:
    """Serves one H.264 stream until `close`.

    parameter_sets: SPS and PPS units; now_s: monotonic clock; about: see `describe`.
    Raises SinkError when it cannot listen where it is to.
    """

    def __init__(
        self,
        uri: RtspServe,
        parameter_sets: tuple[bytes, ...],
        limits: Limits = DEFAULT_LIMITS,
        now_s: Callable[[], float] = time.monotonic,
        about: str = "",
    ) -> None:
        self.path = plain_path(uri.path)
        self.login: Login | None = uri.login
        self._parameter_sets, self._about = parameter_sets, about
        self.session_s = limits.session_s
        self.slow = 0
        """Viewers that were left because they did not keep up, so far."""
        self.dropped = 0
        """Access units that the event loop was too busy to take, so far."""
        self.sent_bytes = 0
        """Of RTP, to all viewers together, so far."""
        self._uri, self._limits, self._now_s = uri, limits, now_s
        self._sender = Sender(*(secrets.randbits(bits) for bits in (32, 16, 32)))
        self._viewers: dict[Viewer, asyncio.Task[None] | None] = {}
        self._pairs: dict[str, PortPair] = {}
        self._playing = 0
        self._error: BaseException | None = None
        self._captured_s = self._reported_s = 0.0
        self._room = threading.BoundedSemaphore(_PENDING)
        self._key_wanted = threading.Event()
        self._watched = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        listening: Future[int] = Future()
        self._thread = threading.Thread(target=self._run, args=(listening,), name="rtsp server")
        self._thread.start()
        self.port = self._listened(listening)

    def _listened(self, listening: Future[int]) -> int:
        """The port that is listened on."""
        try:
            return listening.result()
        except Exception as error:
            self._thread.join()
            reason = error.strerror or error if isinstance(error, OSError) else error
            hint = "choose another port, or end what listens there"
            raise SinkError(f"cannot listen at {self._uri}: {reason}; {hint}") from error

    @property
    def is_watched(self) -> bool:
        """Somebody plays the stream; else there is no need to encode."""
        return self._watched.is_set()

    @property
    def connections(self) -> int:
        """Open at the moment, playing or not."""
        return len(self._viewers)

    @property
    def viewers(self) -> int:
        """Those who play at the moment."""
        return self._playing

    def takes_key(self) -> bool:
        """Whether the next picture is to be one that can be decoded alone; asking clears the wish."""
        wanted = self._key_wanted.is_set()
        self._key_wanted.clear()
        return wanted

    def send(self, unit: AccessUnit, captured_ns: int) -> None:
        """Hand over one picture, from any one thread; never waits. Raises SinkError where nobody is served any more."""
        if self._error is not None:
            raise SinkError(f"{self._uri} is not served any more: {self._error}") from self._error
        if not self._room.acquire(blocking=False):
            self.dropped += 1
            self._key_wanted.set()
            return
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._distribute, unit, captured_ns / 1e9)

    def close(self) -> None:
        """Leave all viewers and free the port; harmless when repeated."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def description(self, address: str) -> bytes:
        """The stream as SDP, for a viewer that reached us at this address of ours."""
        return describe(self._parameter_sets, address, self._about)

    def ports(self, host: str, family: socket.AddressFamily) -> PortPair:
        """The UDP ports at one of our addresses."""
        if host not in self._pairs:
            self._pairs[host] = PortPair(host, family, self._heard)
        return self._pairs[host]

    def next_sequence(self) -> int:
        """Number of the RTP packet that is sent next."""
        return self._sender.sequence

    def changed(self) -> None:
        """A viewer began or ceased to play."""
        playing = [viewer for viewer in self._viewers if viewer.is_playing]
        self._playing = len(playing)
        if any(viewer.waits_for_key for viewer in playing):
            self._key_wanted.set()
        if playing:
            self._watched.set()
        else:
            self._watched.clear()

    def _run(self, listening: Future[int]) -> None:
        try:
            self._loop.run_until_complete(self._serve(listening))
        finally:
            self._loop.close()

    async def _serve(self, listening: Future[int]) -> None:
        try:
            server = await asyncio.start_server(
                self._welcome,
                self._uri.host or None,
                self._uri.port,
                limit=HEAD_LIMIT,
                backlog=self._limits.connections,
            )
        except Exception as error:  # a thread's boundary: who waits for it is told
            listening.set_exception(error)
            return
        listening.set_result(int(server.sockets[0].getsockname()[1]))
        looking = asyncio.create_task(self._look_after())
        looking.add_done_callback(self._heed)
        await self._ended.wait()
        looking.cancel()
        server.close()
        tasks = [task for task in self._viewers.values() if task is not None]
        for viewer in self._viewers:
            viewer.leave()
        await asyncio.gather(looking, *tasks, return_exceptions=True)
        for pair in self._pairs.values():
            pair.close()

    def _heed(self, looking: asyncio.Task[None]) -> None:
        """End where nobody looks after the viewers any more."""
        if not looking.cancelled():
            self._fail(looking.exception())

    def _fail(self, error: BaseException | None) -> None:
        """Leave the viewers; whoever sends the next picture is told."""
        self._error = self._error or error
        self._ended.set()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._has_place():
            writer.write(answer(503, "0"))
            writer.close()
            return
        viewer = Viewer(self, reader, writer, self._now_s)
        self._viewers[viewer] = asyncio.current_task()
        try:
            await viewer.converse()
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            pass
        finally:
            del self._viewers[viewer]
            self.changed()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _has_place(self) -> bool:
        """Whether one more may come; the oldest that only holds a place is left for it."""
        there = [viewer for viewer in self._viewers if not viewer.is_left]
        if len(there) < self._limits.connections:
            return True
        idle = [viewer for viewer in there if not viewer.has_session]
        if self.login is None:
            # Without a login a session is as cheap as a connection.
            idle += [viewer for viewer in there if viewer.has_session and not viewer.is_playing]
        if idle:
            idle[0].leave()
        return bool(idle)

    def _distribute(self, unit: AccessUnit, captured_s: float) -> None:
        self._room.release()
        try:
            self._send_to_all(unit, captured_s)
        except Exception as error:  # a callback's boundary
            self._fail(error)

    def _send_to_all(self, unit: AccessUnit, captured_s: float) -> None:
        self._captured_s = captured_s
        packets = self._sender.packets(unit)
        size = sum(map(len, packets))
        for viewer in list(self._viewers):
            if not viewer.send_rtp(packets, unit.is_key):
                self.slow += 1
                _LOG.warning("viewer %s of %s is too slow and was left", viewer.peer, self._uri)
                viewer.leave()
            elif viewer.is_playing and not viewer.waits_for_key:
                self.sent_bytes += size

    def _heard(self, sender: tuple[str, int]) -> None:
        for viewer in self._viewers:
            if viewer.hears(sender):
                viewer.seen_s = self._now_s()

    async def _look_after(self) -> None:
        """Reports for those who play, and an end for those who have gone without a word."""
        while True:
            await asyncio.sleep(min(1.0, self._limits.session_s / 4, self._limits.login_s / 4))
            now_s = self._now_s()
            for viewer in list(self._viewers):
                is_late = not viewer.has_session and now_s - viewer.came_s > self._limits.login_s
                if is_late or now_s - viewer.seen_s > self._limits.session_s:
                    viewer.leave()
            if now_s - self._reported_s >= _REPORT_EVERY_S and self._captured_s:
                self._reported_s = now_s
                report = self._sender.report(time.time(), time.monotonic() - self._captured_s)
                for viewer in self._viewers:
                    if viewer.is_playing:
                        viewer.send_rtcp(report)

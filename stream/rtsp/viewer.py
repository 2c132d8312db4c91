"""One viewer's connection: answers its requests and sends it packets for as long as it keeps up."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Protocol

from stream.rtsp.auth import challenges, is_allowed
from stream.rtsp.messages import (
    HEAD_LIMIT,
    BadRequest,
    Datagrams,
    Interleaved,
    Request,
    answer,
    parse_request,
    parse_transport,
)
from stream.rtsp.ports import PortPair
from stream.rtsp.sdp import TRACK
from stream.uris import Login

_METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"
_GUESSES = 3
_BEHIND_S = 2.0
_BACKLOG_BYTES = 4 << 20
_SEND_BUFFER_BYTES = 128 << 10
"""Of the system: what waits there is late already, and we cannot see it."""
_Headers = tuple[tuple[str, str], ...]


class Stage(Protocol):
    """What a viewer needs of the server."""

    path: str
    login: Login | None
    session_s: float

    def description(self, address: str) -> bytes:
        """The stream as SDP, for a viewer that reached us at this address of ours."""
        ...

    def ports(self, host: str, family: socket.AddressFamily) -> PortPair:
        """The UDP ports at one of our addresses. Raises OSError."""
        ...

    def next_sequence(self) -> int:
        """Number of the RTP packet that is sent next."""
        ...

    def changed(self) -> None:
        """A viewer began or ceased to play."""
        ...


class Viewer:
    """A connection and, after SETUP, its session.

    now_s: monotonic clock.
    """

    def __init__(
        self, stage: Stage, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, now_s: Callable[[], float]
    ) -> None:
        self._stage = stage
        self._reader, self._writer = reader, writer
        self._now_s = now_s
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._family = connection.family
        self._local, self.peer = str(writer.get_extra_info("sockname")[0]), str(writer.get_extra_info("peername")[0])
        self._nonce = secrets.token_hex(16)
        self._guesses = 0
        self._session: str | None = None
        self._transport: Interleaved | Datagrams | None = None
        self._ports: PortPair | None = None
        self._behind_since_s: float | None = None
        self.came_s = self.seen_s = now_s()
        """When it came, and when it was last heard of."""
        self.is_left = False
        self.is_playing = False
        self.waits_for_key = True

    @property
    def has_session(self) -> bool:
        """It has logged in, where that is asked for, and set up its transport."""
        return self._session is not None

    def hears(self, sender: tuple[str, int]) -> bool:
        """Whether a datagram from there is this viewer's."""
        ports = (self._transport.rtp, self._transport.rtcp) if isinstance(self._transport, Datagrams) else ()
        return sender[0] == self.peer and sender[1] in ports

    def send_rtp(self, packets: Sequence[bytes], is_key: bool) -> bool:
        """Send one access unit. False when the viewer is too slow: it is to be left."""
        if not self.is_playing or (self.waits_for_key and not is_key):
            return True
        self.waits_for_key = False
        if isinstance(self._transport, Datagrams):
            assert self._ports is not None
            for packet in packets:
                self._ports.send_rtp(packet, (self.peer, self._transport.rtp))
            return True
        assert self._transport is not None
        self._write(b"".join(_framed(self._transport.rtp, packet) for packet in packets))
        return self._keeps_up()

    def send_rtcp(self, report: bytes) -> None:
        """Send a report."""
        if isinstance(self._transport, Datagrams) and self._ports is not None:
            self._ports.send_rtcp(report, (self.peer, self._transport.rtcp))
        elif isinstance(self._transport, Interleaved):
            self._write(_framed(self._transport.rtcp, report))

    def leave(self) -> None:
        """Cut the connection; what is still to be sent is dropped."""
        self.is_left = True
        self._writer.transport.abort()

    async def converse(self) -> None:
        """Answer requests until the viewer goes or breaks the rules. Raises what a broken connection raises."""
        is_going = False
        while not is_going:
            try:
                request = await self._next_request()
            except BadRequest as error:
                self._write(answer(error.status, "0"))
                break
            is_going = self._answered(request)
            if not self._keeps_up():
                self.leave()
                return
        await asyncio.wait_for(self._writer.drain(), _BEHIND_S)

    async def _next_request(self) -> Request:
        """The next request, its body read; data of the viewer on RTP channels is passed over."""
        while True:
            first = await self._reader.readexactly(1)
            if first == b"$":
                _, length = struct.unpack("!BH", await self._reader.readexactly(3))
                await self._reader.readexactly(length)
                if self.has_session:
                    self.seen_s = self._now_s()
            elif first not in b"\r\n":
                break
        try:
            head = first + await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise BadRequest(413, is_fatal=True) from None
        if len(head) > HEAD_LIMIT:
            raise BadRequest(413, is_fatal=True)
        request = parse_request(head)
        await self._reader.readexactly(request.body_length)
        self.seen_s = self._now_s()
        return request

    def _answered(self, request: Request) -> bool:
        """Answer; True when the conversation is over."""
        try:
            if request.method != "OPTIONS" and not self._is_allowed(request):
                self._write(answer(401, request.sequence, challenges(self._nonce)))
                return self._guesses >= _GUESSES
            headers, body = self._done(request)
            self._write(answer(200, request.sequence, headers, body))
        except BadRequest as error:
            self._write(answer(error.status, request.sequence))
            return error.is_fatal
        if request.method == "PLAY":
            # Only now, so that no packet overtakes the answer.
            self.is_playing = self.waits_for_key = True
            self._stage.changed()
        return request.method == "TEARDOWN"

    def _is_allowed(self, request: Request) -> bool:
        login, given = self._stage.login, request.headers.get("authorization")
        if login is None:
            return True
        if given is None:
            return False
        if is_allowed(login, given, request.method, self._nonce):
            return True
        self._guesses += 1
        return False

    def _done(self, request: Request) -> tuple[_Headers, bytes]:
        """Do what is asked; headers and body of the answer. Raises BadRequest."""
        if "require" in request.headers:
            raise BadRequest(551)
        match request.method:
            case "OPTIONS":
                return (("Public", _METHODS),), b""
            case "DESCRIBE":
                self._check_path(request)
                base = request.url.rstrip("/") + "/"
                headers = ("Content-Type", "application/sdp"), ("Content-Base", base)
                return headers, self._stage.description(self._local)
            case "SETUP":
                return self._set_up(request), b""
            case "GET_PARAMETER" | "SET_PARAMETER":
                self._check_session(request, must=False)
                return self._session_header(), b""
            case "PLAY" | "PAUSE" | "TEARDOWN":
                return self._moved(request), b""
            case _:
                raise BadRequest(501)

    def _set_up(self, request: Request) -> _Headers:
        self._check_path(request)
        if self.is_playing:
            raise BadRequest(455)
        self._check_session(request, must=False)
        transport = parse_transport(request.headers.get("transport", ""))
        if isinstance(transport, Interleaved):
            chosen = f"RTP/AVP/TCP;unicast;interleaved={transport.rtp}-{transport.rtcp}"
        else:
            try:
                self._ports = self._stage.ports(self._local, self._family)
            except OSError:
                raise BadRequest(461) from None
            ours = self._ports.rtp_port
            ends = f"destination={_unzoned(self.peer)};source={_unzoned(self._local)}"
            ports = f"client_port={transport.rtp}-{transport.rtcp};server_port={ours}-{ours + 1}"
            chosen = f"RTP/AVP;unicast;{ends};{ports}"
        self._transport = transport
        self._session = self._session or secrets.token_hex(8)
        return (("Transport", chosen), *self._session_header())

    def _moved(self, request: Request) -> _Headers:
        """PLAY, PAUSE and TEARDOWN."""
        self._check_session(request, must=True)
        if request.method == "PLAY":
            url = f"{request.url.rstrip('/').removesuffix('/' + TRACK)}/{TRACK}"
            info = f"url={url};seq={self._stage.next_sequence()}"
            return (*self._session_header(), ("Range", "npt=now-"), ("RTP-Info", info))
        self.is_playing = False
        self._stage.changed()
        return self._session_header()

    def _check_path(self, request: Request) -> None:
        if request.path.removesuffix(f"/{TRACK}") != self._stage.path:
            raise BadRequest(404)

    def _check_session(self, request: Request, must: bool) -> None:
        given = request.headers.get("session", "").partition(";")[0].strip()
        if (given or must) and (self._session is None or given != self._session):
            raise BadRequest(454)

    def _session_header(self) -> _Headers:
        if self._session is None:
            return ()
        return (("Session", f"{self._session};timeout={round(self._stage.session_s)}"),)

    def _write(self, data: bytes) -> None:
        if not self._writer.transport.is_closing():
            self._writer.write(data)

    def _keeps_up(self) -> bool:
        """What we have written leaves us: not always at once, but within seconds."""
        backlog = self._writer.transport.get_write_buffer_size()
        if not backlog:
            self._behind_since_s = None
            return True
        now_s = self._now_s()
        if self._behind_since_s is None:
            self._behind_since_s = now_s
        return backlog <= _BACKLOG_BYTES and now_s - self._behind_since_s <= _BEHIND_S


def _framed(channel: int, packet: bytes) -> bytes:
    return struct.pack("!cBH", b"$", channel, len(packet)) + packet


def _unzoned(address: str) -> str:
    return address.partition("%")[0]

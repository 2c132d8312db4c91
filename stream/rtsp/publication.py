"""A stream that we bring to another's RTSP server: ANNOUNCE, SETUP, RECORD (RFC 2326), then packets.

FFmpeg's own client is not used: PyAV holds the interpreter's lock while it waits for the server's answers, so that a
server that hangs would halt every thread.
"""

from __future__ import annotations

import errno
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from stream.rtsp.auth import proof
from stream.rtsp.ports import bound_pair
from stream.rtsp.sdp import TRACK
from stream.uris import Remote, RtspPublish, Transport

_PORTS = {"rtsp": 554, "rtsps": 322}
_HEAD_LIMIT = 16384
_BODY_LIMIT = 65536
_KEEP_ALIVE_S = 20.0
_NO_ROOM = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM})


class Refused(Exception):
    """The server answered, and not with yes; the message is its status line."""


class Publication:
    """An open way to the server. Any wait ends after timeout_s with TimeoutError, a broken way raises OSError.

    description: the stream as SDP, for our address on the way. Raises Refused when the server does not want it.
    """

    def __init__(self, uri: RtspPublish, description: Callable[[str], bytes], timeout_s: float) -> None:
        self._remote = uri.remote
        self._timeout_s = timeout_s
        self._sequence = 0
        self._session = ""
        self._challenge: tuple[str, ...] = ()
        self._udp: tuple[socket.socket, socket.socket] | None = None
        self._to = (0, 0)
        self._connection = _connected(uri.remote, timeout_s)
        self._spoken_s = time.monotonic()
        try:
            self._set_up(uri.transport, description(str(self._connection.getsockname()[0])))
        except BaseException:
            self.cut()
            raise

    def send(self, packets: Sequence[bytes]) -> bool:
        """Send the RTP packets of one access unit; False: some of it was lost here, as it may be on the way."""
        self._listen()
        if time.monotonic() - self._spoken_s > _KEEP_ALIVE_S:
            # Its answer is passed over with whatever else the server says.
            self._connection.sendall(self._request("GET_PARAMETER", self._url, (), b""))
        if self._udp is not None:
            # What follows a lost packet is of no use without it.
            return all(_sent(self._udp[0], packet, (self._host, self._to[0])) for packet in packets)
        self._connection.sendall(b"".join(_framed(0, packet) for packet in packets))
        return True

    def report(self, packet: bytes) -> None:
        """Send an RTCP report."""
        if self._udp is not None:
            _sent(self._udp[1], packet, (self._host, self._to[1]))
        else:
            self._connection.sendall(_framed(1, packet))

    def close(self) -> None:
        """Say good-bye, if that is heard at once, and leave."""
        with suppress(OSError):
            self._connection.sendall(self._request("TEARDOWN", self._url, (), b""))
        self.cut()

    def cut(self) -> None:
        """Leave, from any thread: a call that waits for the server ends."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        for one in self._udp or ():
            one.close()

    @property
    def _url(self) -> str:
        """Without the login: that is in a header, where the server asks for it."""
        host = f"[{self._remote.host}]" if ":" in self._remote.host else self._remote.host
        port = "" if self._remote.port is None else f":{self._remote.port}"
        query = f"?{self._remote.query}" if self._remote.query else ""
        return f"{self._remote.scheme}://{host}{port}{self._remote.path}{query}"

    @property
    def _host(self) -> str:
        return str(self._connection.getpeername()[0])

    def _set_up(self, transport: Transport, description: bytes) -> None:
        self._ask("ANNOUNCE", self._url, (("Content-Type", "application/sdp"),), description)
        wish = "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"
        if transport is Transport.UDP:
            self._udp = bound_pair(self._connection.getsockname()[0], self._connection.family)
            port = self._udp[0].getsockname()[1]
            wish = f"RTP/AVP;unicast;client_port={port}-{port + 1};mode=record"
        head = self._ask("SETUP", f"{self._url.rstrip('/')}/{TRACK}", (("Transport", wish),))
        if found := re.search(r"(?im)^session\s*:\s*([^;\s]+)", head):
            self._session = found[1]
        if self._udp is not None:
            ports = re.search(r"server_port=(\d{1,5})(?:-(\d{1,5}))?", head)
            self._to = (int(ports[1]), int(ports[2] or int(ports[1]) + 1)) if ports is not None else (0, 0)
            if not all(0 < port < 65536 for port in self._to):
                raise Refused("the server names no UDP port")
        self._ask("RECORD", self._url, (("Range", "npt=0.000-"),))

    def _ask(self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes = b"") -> str:
        """The head of a good answer."""
        for _ in range(2):
            self._connection.sendall(self._request(method, url, headers, body))
            head = self._answer()
            status = head.partition("\r\n")[0]
            if status.startswith("RTSP/1.0 200"):
                return head
            challenge = tuple(re.findall(r"(?im)^www-authenticate\s*:\s*(.*?)\r?$", head))
            if not status.startswith("RTSP/1.0 401") or self._remote.login is None or self._challenge == challenge:
                break
            self._challenge = challenge
        raise Refused(status[:100])

    def _request(self, method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> bytes:
        self._spoken_s = time.monotonic()
        self._sequence += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._sequence}", "User-Agent: depthcast"]
        if self._session:
            lines.append(f"Session: {self._session}")
        if self._remote.login is not None and (words := proof(self._remote.login, self._challenge, method, url)):
            lines.append(f"Authorization: {words}")
        lines += [f"{name}: {value}" for name, value in headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _answer(self) -> str:
        """The head of the next answer; its body and packets before it are passed over."""
        end_s = time.monotonic() + self._timeout_s
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if time.monotonic() > end_s:
                raise TimeoutError("the server does not answer")
            one = self._taken(1)
            if one == b"$" and not head:
                self._taken(int.from_bytes(self._taken(3)[1:], "big"))
                continue
            head += one
            if len(head) > _HEAD_LIMIT:
                raise Refused("an answer without an end")
        text = head.decode(errors="replace")
        if found := re.search(r"(?im)^content-length\s*:\s*(\d{1,6})\s*$", text):
            self._taken(min(int(found[1]), _BODY_LIMIT))
        return text

    def _taken(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._connection.recv(count - len(data))
            if not part:
                raise ConnectionResetError("the server has gone")
            data += part
        return data

    def _listen(self) -> None:
        """Pass over what the server has said: reports, answers to signs of life. Raises when it has gone."""
        while select.select([self._connection], [], [], 0)[0]:
            if not self._connection.recv(65536):
                raise ConnectionResetError("the server has gone")


def _connected(remote: Remote, timeout_s: float) -> socket.socket:
    plain = socket.create_connection((remote.host, remote.port or _PORTS[remote.scheme]), timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if remote.scheme != "rtsps":
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=remote.host)
    except BaseException:
        plain.close()
        raise


def _sent(one: socket.socket, packet: bytes, to: tuple[str, int]) -> bool:
    """False where the system has no room for it at the moment. Raises OSError where there is no way."""
    try:
        one.sendto(packet, to)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        return False
    return True


def _framed(channel: int, packet: bytes) -> bytes:
    return b"$" + bytes((channel,)) + len(packet).to_bytes(2, "big") + packet

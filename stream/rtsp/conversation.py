"""A client's conversation with an RTSP server (RFC 2326): requests and answers over one connection."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress

from stream.rtsp.auth import proof
from stream.uris import Remote

PORTS = {"rtsp": 554, "rtsps": 322}
_HEAD_LIMIT = 16384
_BODY_LIMIT = 65536


class Refused(Exception):
    """The server answered, and not with yes; the message is its status line.

    location: where it sends us instead.
    """

    def __init__(self, message: str, location: str | None = None) -> None:
        super().__init__(message)
        self.location = location


class Conversation:
    """An open way to the server. Any wait ends after timeout_s with TimeoutError, a broken way raises OSError.

    trust: decides whom to speak TLS with. The login is given to this server only, and only when it asks.
    """

    def __init__(
        self, remote: Remote, timeout_s: float, trust: Callable[[], ssl.SSLContext] = ssl.create_default_context
    ) -> None:
        self._remote = remote
        self._timeout_s = timeout_s
        self._sequence = 0
        self._challenge: tuple[str, ...] = ()
        self.session = ""
        """Named in all requests, once there is one."""
        self.connection = _connected(remote, timeout_s, trust)
        self.spoken_s = time.monotonic()
        """When the last request was made."""

    @property
    def url(self) -> str:
        """Without the login: that is in a header, where the server asks for it."""
        host = f"[{self._remote.host}]" if ":" in self._remote.host else self._remote.host
        port = "" if self._remote.port is None else f":{self._remote.port}"
        query = f"?{self._remote.query}" if self._remote.query else ""
        return f"{self._remote.scheme}://{host}{port}{self._remote.path}{query}"

    def ask(self, method: str, url: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> str:
        """The head of a good answer. Raises Refused for any other."""
        for _ in range(2):
            self.connection.sendall(self.request(method, url, headers, body))
            head = self._answer()
            status = head.partition("\r\n")[0]
            if status.startswith("RTSP/1.0 200"):
                return head
            challenge = tuple(re.findall(r"(?im)^www-authenticate\s*:\s*(.*?)\r?$", head))
            if not status.startswith("RTSP/1.0 401") or self._remote.login is None or self._challenge == challenge:
                break
            self._challenge = challenge
        location = re.search(r"(?im)^location\s*:\s*(\S+)", head)
        raise Refused(status[:100], location[1] if location else None)

    def request(self, method: str, url: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"") -> bytes:
        """As it is to be sent."""
        self.spoken_s = time.monotonic()
        self._sequence += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._sequence}", "User-Agent: depthcast"]
        if self.session:
            lines.append(f"Session: {self.session}")
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
            part = self.connection.recv(count - len(data))
            if not part:
                raise ConnectionResetError("the server has gone")
            data += part
        return data

    def cut(self) -> None:
        """Leave, from any thread: a call that waits for the server ends."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.connection.close()


def _connected(remote: Remote, timeout_s: float, trust: Callable[[], ssl.SSLContext]) -> socket.socket:
    plain = socket.create_connection((remote.host, remote.port or PORTS[remote.scheme]), timeout_s)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if remote.scheme != "rtsps":
        return plain
    try:
        return trust().wrap_socket(plain, server_hostname=remote.host)
    except BaseException:
        plain.close()
        raise

"""A stream that we bring to another's RTSP server: ANNOUNCE, SETUP, RECORD (RFC 2326), then packets.

FFmpeg's own client is not used: PyAV holds the interpreter's lock while it waits for the server's answers, so that a
server that hangs would halt every thread.
"""

from __future__ import annotations

import errno
import re
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from stream.rtsp.conversation import Conversation, Refused
from stream.rtsp.ports import bound_pair
from stream.rtsp.sdp import TRACK
from stream.uris import RtspPublish, Transport

_KEEP_ALIVE_S = 20.0
_NO_ROOM = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM})


class Publication:
    """An open way to the server. Any wait ends after timeout_s with TimeoutError, a broken way raises OSError.

    description: the stream as SDP, for our address on the way. Raises Refused when the server does not want it.
    """

    def __init__(self, uri: RtspPublish, description: Callable[[str], bytes], timeout_s: float) -> None:
        self._udp: tuple[socket.socket, socket.socket] | None = None
        self._to = (0, 0)
        self._talk = Conversation(uri.remote, timeout_s)
        self._connection = self._talk.connection
        try:
            self._set_up(uri.transport, description(str(self._connection.getsockname()[0])))
        except BaseException:
            self.cut()
            raise

    def send(self, packets: Sequence[bytes]) -> bool:
        """Send the RTP packets of one access unit; False: some of it was lost here, as it may be on the way."""
        self._listen()
        if time.monotonic() - self._talk.spoken_s > _KEEP_ALIVE_S:
            # Its answer is passed over with whatever else the server says.
            self._connection.sendall(self._talk.request("GET_PARAMETER", self._talk.url))
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
            self._connection.sendall(self._talk.request("TEARDOWN", self._talk.url))
        self.cut()

    def cut(self) -> None:
        """Leave, from any thread: a call that waits for the server ends."""
        self._talk.cut()
        for one in self._udp or ():
            one.close()

    @property
    def _host(self) -> str:
        return str(self._connection.getpeername()[0])

    def _set_up(self, transport: Transport, description: bytes) -> None:
        self._talk.ask("ANNOUNCE", self._talk.url, (("Content-Type", "application/sdp"),), description)
        wish = "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record"
        if transport is Transport.UDP:
            self._udp = bound_pair(self._connection.getsockname()[0], self._connection.family)
            port = self._udp[0].getsockname()[1]
            wish = f"RTP/AVP;unicast;client_port={port}-{port + 1};mode=record"
        head = self._talk.ask("SETUP", f"{self._talk.url.rstrip('/')}/{TRACK}", (("Transport", wish),))
        if found := re.search(r"(?im)^session\s*:\s*([^;\s]+)", head):
            self._talk.session = found[1]
        if self._udp is not None:
            ports = re.search(r"server_port=(\d{1,5})(?:-(\d{1,5}))?", head)
            self._to = (int(ports[1]), int(ports[2] or int(ports[1]) + 1)) if ports is not None else (0, 0)
            if not all(0 < port < 65536 for port in self._to):
                raise Refused("the server names no UDP port")
        self._talk.ask("RECORD", self._talk.url, (("Range", "npt=0.000-"),))

    def _listen(self) -> None:
        """Pass over what the server has said: reports, answers to signs of life. Raises when it has gone."""
        while select.select([self._connection], [], [], 0)[0]:
            if not self._connection.recv(65536):
                raise ConnectionResetError("the server has gone")


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

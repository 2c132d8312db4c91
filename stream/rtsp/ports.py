"""A pair of UDP ports for RTP and RTCP, shared by all viewers that reach us at the same address (RFC 3550, 11)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_TRIES = 50


class PortPair:
    """Sends without ever waiting: what the system has no room for is lost, as it may be on the way anyhow.

    heard: called with the (host, port) of whoever sends to either port.
    """

    __slots__ = ("_loop", "_sockets", "rtp_port")

    def __init__(self, host: str, family: socket.AddressFamily, heard: Callable[[tuple[str, int]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = bound_pair(host, family)
        self.rtp_port = int(self._sockets[0].getsockname()[1])
        for one in self._sockets:
            self._loop.add_reader(one, _drain, one, heard)

    def send_rtp(self, packet: bytes, to: tuple[str, int]) -> bool:
        """False when it was lost here."""
        return self._send(self._sockets[0], packet, to)

    def send_rtcp(self, packet: bytes, to: tuple[str, int]) -> bool:
        """False when it was lost here."""
        return self._send(self._sockets[1], packet, to)

    @staticmethod
    def _send(sender: socket.socket, packet: bytes, to: tuple[str, int]) -> bool:
        try:
            sender.sendto(packet, to)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Free both ports."""
        for one in self._sockets:
            if one.fileno() >= 0:
                self._loop.remove_reader(one)
            one.close()


def _drain(one: socket.socket, heard: Callable[[tuple[str, int]], None]) -> None:
    try:
        _, sender = one.recvfrom(2048)
    except OSError:
        return
    heard(sender[:2])


def bound_pair(host: str, family: socket.AddressFamily) -> tuple[socket.socket, socket.socket]:
    """An even port and the one above it. Raises OSError."""
    for _ in range(_TRIES):
        first, second = (socket.socket(family, socket.SOCK_DGRAM) for _ in range(2))
        try:
            first.bind((host, 0))
            port = first.getsockname()[1]
            if port % 2 == 0:
                second.bind((host, port + 1))
                first.setblocking(False)
                second.setblocking(False)
                return first, second
        except OSError:
            pass
        first.close()
        second.close()
    raise OSError("no pair of free UDP ports")

"""The test scene on our RTSP server, and a client that says exactly what it is told to."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av

from engines.spec import Unit
from stream.barcode import read
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.preprocess import to_rgb
from stream.rtsp.server import Limits
from stream.sinks.picture import Painter
from stream.sinks.rtsp import RtspServeSink
from stream.sources.paced import Paced
from stream.sources.synthetic import SyntheticSource
from stream.uris import Login, RtspServe
from tests.fakes import FakeSession

PLAYER = {"timeout": "5000000", "probesize": "32", "analyzeduration": "0"}


@contextmanager
def served(
    login: Login | None = None,
    limits: Limits | None = None,
    port: int = 0,
    size: tuple[int, int] = (120, 160),
    unit: Unit = Unit.RELATIVE,
    host: str = "127.0.0.1",
    path: str = "/depth",
) -> Iterator[RtspServeSink]:
    """The test scene beside its depth, at 30 frames a second."""
    source = Paced(SyntheticSource(*size, Fraction(30)))
    uri = RtspServe(host, port, path, login)
    sink = RtspServeSink(uri, source.info, Painter(source.info, side_by_side=True), unit, limits or Limits())
    stop = threading.Event()
    estimator = DepthEstimator(FakeSession())
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs={"stop": stop})
    running.start()
    try:
        yield sink
    finally:
        stop.set()
        running.join()


def numbers(port: int, transport: str = "tcp", count: int = 6, login: str = "") -> list[int | None]:
    """What a player sees in the pictures' source half."""
    options = {**PLAYER, "rtsp_transport": transport}
    with av.open(f"rtsp://{login}127.0.0.1:{port}/depth", options=options, timeout=5) as container:
        pictures = container.decode(video=0)
        return [read(to_rgb(next(pictures), 120, 320)[:, :160]) for _ in range(count)]


class Caller:
    """A client that says exactly what it is told to."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection((host, port), 5)
        self.body = b""
        """Of the last answer."""
        self.session = ""
        self._sequence = 0

    def ask(self, method: str, path: str = "/depth", *lines: str) -> str:
        """The head of the answer."""
        self._sequence += 1
        session = [f"Session: {self.session}"] if self.session else []
        words = [f"{method} rtsp://127.0.0.1{path} RTSP/1.0", f"CSeq: {self._sequence}", *session, *lines, "", ""]
        said = self.say("\r\n".join(words).encode())
        found = re.search("Session: ([0-9a-f]+)", said)
        self.session = found[1] if found else self.session
        return said

    def say(self, data: bytes) -> str:
        """Send bytes; the head of the next answer, or what came before the connection ended."""
        self._socket.sendall(data)
        return self.head()

    def send(self, data: bytes) -> None:
        """Send bytes that are not answered, or whose answers are not looked at."""
        self._socket.sendall(data)

    def head(self) -> str:
        """Packets before it are passed over."""
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            one = self._socket.recv(1)
            if not one:
                break
            if one == b"$" and not data:
                self.take(int.from_bytes(self.take(3)[1:], "big"))
                continue
            data += one
        if found := re.search(rb"Content-Length: (\d+)", data):
            self.body = self._socket.recv(int(found[1]), socket.MSG_WAITALL)
        return data.decode(errors="replace")

    def take(self, count: int) -> bytes:
        return self._socket.recv(count, socket.MSG_WAITALL)

    def ends(self) -> bool:
        """Waits until the server has closed the connection."""
        try:
            while self._socket.recv(65536):
                pass
        except ConnectionError:
            pass
        return True

    def close(self) -> None:
        self._socket.close()


@contextmanager
def calling(**how: Any) -> Iterator[tuple[RtspServeSink, Callable[[], Caller]]]:
    callers: list[Caller] = []

    with served(**how) as sink:

        def call() -> Caller:
            callers.append(Caller(sink.port))
            return callers[-1]

        try:
            yield sink, call
        finally:
            for caller in callers:
                caller.close()


def playing(caller: Caller, path: str = "/depth") -> Caller:
    assert "200 OK" in caller.ask("SETUP", f"{path}/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=4-5")
    assert "200 OK" in caller.ask("PLAY", path)
    return caller

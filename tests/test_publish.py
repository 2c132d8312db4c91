"""Publishing to RTSP servers: FFmpeg's as a real one, and raw ones that refuse, hang or ask who we are."""

from __future__ import annotations

import errno
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction

import av
import pytest

from engines.spec import Unit
from stream.barcode import read
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.preprocess import to_rgb
from stream.rtsp import publication
from stream.rtsp.auth import challenges, is_allowed
from stream.sinks.picture import Painter
from stream.sinks.publish import RtspPublishSink
from stream.sources.paced import Paced
from stream.sources.synthetic import SyntheticSource
from stream.uris import Login, Remote, RtspPublish, Transport
from tests.conditions import until
from tests.fakes import FakeSession

pytestmark = pytest.mark.usefixtures("no_thread_stays")


def at_once(closing: threading.Event, _seconds: float) -> None:
    closing.wait(0.02)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def published(
    port: int, transport: Transport = Transport.TCP, login: Login | None = None, timeout_s: float = 2.0
) -> Iterator[RtspPublishSink]:
    """The test scene beside its depth, at 30 frames a second."""
    source = Paced(SyntheticSource(120, 160, Fraction(30)))
    uri = RtspPublish(Remote("rtsp", "127.0.0.1", port, "/depth", "", login), transport)
    sink = RtspPublishSink(uri, source.info, Painter(source.info, side_by_side=True), Unit.METRE, timeout_s, at_once)
    stop, estimator = threading.Event(), DepthEstimator(FakeSession())
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs={"stop": stop})
    running.start()
    try:
        yield sink
    finally:
        stop.set()
        running.join()


def recorded(port: int, count: int = 6) -> list[int | None]:
    """FFmpeg as the server that takes one stream: the numbers in its pictures' source half."""
    options = {"rtsp_flags": "listen", "listen_timeout": "10", "probesize": "32", "analyzeduration": "0"}
    with av.open(f"rtsp://127.0.0.1:{port}/depth", format="rtsp", options=options, timeout=10) as container:
        pictures = container.decode(video=0)
        return [read(to_rgb(next(pictures), 120, 320)[:, :160]) for _ in range(count)]


@pytest.mark.parametrize("transport", list(Transport))
def test_a_server_takes_our_stream_and_again_after_it_was_away(transport: Transport) -> None:
    port = free_port()
    with published(port, transport) as sink:
        first, second = recorded(port), recorded(port)
        assert sink.connections >= 2
    for seen in (first, second):
        assert None not in seen
        assert seen == sorted(set(seen))  # type: ignore[type-var]
    assert second[0] > first[-1]  # type: ignore[operator]


def test_a_full_system_loses_pictures_and_not_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """EAGAIN tore it down, and the server was connected to again each time."""
    sent, calls = publication._sent, iter(range(1 << 30))

    def sometimes(one: socket.socket, packet: bytes, to: tuple[str, int]) -> bool:
        class Full:
            def sendto(self, *_: object) -> int:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        return sent(Full() if next(calls) % 10 == 9 else one, packet, to)  # type: ignore[arg-type]

    monkeypatch.setattr(publication, "_sent", sometimes)
    port = free_port()
    with published(port, Transport.UDP) as sink:
        assert len(recorded(port, 12)) == 12
        until(lambda: sink.dropped > 0)
        assert sink.connections == 1


class RawServer:
    """Answers what it is told to; `taken` is all that it got."""

    def __init__(self, answered: Callable[[str], str | None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self.port = int(self._listener.getsockname()[1])
        self.taken: list[str] = []
        self.packets = 0
        self.got_packets = threading.Event()
        self._answered = answered
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection = self._listener.accept()[0]
        except OSError:
            return
        connection.settimeout(10)
        with connection, connection.makefile("rb") as lines:
            try:
                while self._one(connection, lines.read(1), lines.readline, lines.read):
                    pass
            except OSError:
                pass

    def _one(
        self,
        connection: socket.socket,
        first: bytes,
        line: Callable[[], bytes],
        rest: Callable[[int], bytes],
    ) -> bool:
        if first == b"$":
            rest(int.from_bytes(rest(3)[1:], "big"))
            self.got_packets.set()
            return True
        head = first
        while first and not head.endswith(b"\r\n\r\n"):
            head += line() or b"\r\n\r\n"
        text = head.decode()
        if found := re.search(r"Content-Length: (\d+)", text):
            text += rest(int(found[1])).decode()
        self.taken.append(text)
        sequence = re.search(r"CSeq: (\d+)", text)
        words = self._answered(text) if sequence else None
        if words is not None and sequence is not None:
            connection.sendall(f"RTSP/1.0 {words}\r\nCSeq: {sequence[1]}\r\n\r\n".encode())
        return bool(first) and not text.startswith("TEARDOWN")

    def close(self) -> None:
        """Waits for the end of the one conversation."""
        self._thread.join(15)
        self._listener.close()


def test_a_server_that_asks_who_we_are_is_told() -> None:
    login = Login("ann", "s3cret")

    def answered(text: str) -> str:
        given = re.search("Authorization: (.*)\r\n", text)
        if given and is_allowed(login, given[1], text.split()[0], "n1"):
            return "200 OK\r\nSession: 12;timeout=60"
        return "401 Unauthorized\r\n" + "\r\n".join(f"{name}: {value}" for name, value in challenges("n1"))

    server = RawServer(answered)
    with published(server.port, login=login):
        assert server.got_packets.wait(10)
    server.close()
    methods = [text.split()[0] for text in server.taken]
    assert methods[:4] == ["ANNOUNCE", "ANNOUNCE", "SETUP", "RECORD"]
    assert methods[-1] == "TEARDOWN"
    assert not any("s3cret" in text for text in server.taken)
    assert "Session: 12\r\n" in server.taken[3]
    assert "i=depth, metre; near is bright\r\n" in server.taken[1]


def test_a_wrong_password_is_not_tried_for_ever_on_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    server = RawServer(lambda _: "401 Unauthorized\r\nWWW-Authenticate: Basic realm=x")
    with published(server.port, login=Login("ann", "s3cret")):
        server.close()
    assert [text.split()[0] for text in server.taken if text.strip()] == ["ANNOUNCE"] * 2
    assert "401 Unauthorized" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_server_that_never_answers_stops_neither_the_run_nor_its_end() -> None:
    server = RawServer(lambda _: None)
    source = SyntheticSource(120, 160, frames=60)
    uri = RtspPublish(Remote("rtsp", "127.0.0.1", server.port, "/depth"))
    sink = RtspPublishSink(uri, source.info, Painter(source.info), Unit.METRE, timeout_s=600)
    stats = run(source, DepthEstimator(FakeSession()).step, [sink])
    assert stats.frames_out == 60
    assert sink.dropped >= 57
    server.close()


def test_an_absent_server_is_no_error() -> None:
    source = SyntheticSource(120, 160, frames=5)
    uri = RtspPublish(Remote("rtsp", "127.0.0.1", free_port(), "/depth"))
    sink = RtspPublishSink(uri, source.info, Painter(source.info), Unit.METRE, wait=at_once)
    assert run(source, DepthEstimator(FakeSession()).step, [sink]).frames_out == 5
    assert sink.connections == 0

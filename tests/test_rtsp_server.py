"""Our RTSP server with real players and with raw sockets: several at once, late, slow, unlawful."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from typing import Any

import av
import pytest

from engines.spec import Unit
from stream.barcode import read
from stream.errors import SinkError
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.pipeline import run
from stream.preprocess import to_rgb
from stream.rtsp.server import Limits
from stream.sinks.picture import Painter
from stream.sinks.rtsp import RtspServeSink
from stream.sources.choose import open_source
from stream.sources.paced import Paced
from stream.sources.synthetic import SyntheticSource
from stream.stats import Stats
from stream.uris import Login, RtspServe, parse_source
from tests.conditions import until
from tests.fakes import FakeSession

pytestmark = pytest.mark.usefixtures("no_thread_stays")

Port = int
PLAYER = {"timeout": "5000000", "probesize": "32", "analyzeduration": "0"}


@contextmanager
def served(
    login: Login | None = None,
    limits: Limits | None = None,
    port: int = 0,
    size: tuple[int, int] = (120, 160),
    unit: Unit = Unit.RELATIVE,
) -> Iterator[RtspServeSink]:
    """The test scene beside its depth, at 30 frames a second."""
    source = Paced(SyntheticSource(*size, Fraction(30)))
    uri = RtspServe("127.0.0.1", port, "/depth", login)
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


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_a_player_sees_the_scene_in_order(transport: str) -> None:
    with served() as sink:
        seen = numbers(sink.port, transport)
    assert None not in seen
    assert seen == sorted(set(seen))  # type: ignore[type-var]


def test_players_come_and_go_and_late_ones_get_a_picture_at_once() -> None:
    seen: dict[str, list[int | None]] = {}
    with served() as sink:

        def watch(name: str, count: int) -> None:
            seen[name] = numbers(sink.port, "udp" if name == "b" else "tcp", count)

        watching = [threading.Thread(target=watch, args=one) for one in (("a", 30), ("b", 10), ("c", 20))]
        for one in watching:
            one.start()
        watching[1].join()
        began = time.monotonic()
        numbers(sink.port, count=1)
        late_s = time.monotonic() - began
        for one in watching:
            one.join()
    assert {name: len(of) for name, of in seen.items()} == {"a": 30, "b": 10, "c": 20}
    assert all(None not in of for of in seen.values())
    assert late_s < 1


def test_nothing_is_encoded_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = threading.Event()
    monkeypatch.setattr("stream.sinks.encoder.LiveEncoder.encode", lambda *_: encoded.set())
    source = SyntheticSource(120, 160, frames=5)
    sink = RtspServeSink(RtspServe("127.0.0.1", 0, "/depth"), source.info, Painter(source.info), Unit.RELATIVE)
    run(source, DepthEstimator(FakeSession()).step, [sink])
    assert not encoded.is_set()


@pytest.mark.parametrize("fragment", ["", "#udp"])
def test_our_server_as_a_camera_that_is_restarted_with_another_size(fragment: str) -> None:
    with served() as sink:
        port = sink.port
        uri = parse_source(f"rtsp://127.0.0.1:{port}/depth{fragment}")
        source = open_source(uri, timeout_s=1)
        frames = iter(source)
        first = next(frames)
    with source, served(port=port, size=(96, 128)):
        after = next(frame for frame in frames if frame.height == 96)
        assert source.reconnects == 1
    assert source.info.live
    assert (first.height, first.width) == (120, 320)
    assert after.pts > first.pts


def test_a_login_is_asked_for() -> None:
    with served(Login("ann", "s e:cret")) as sink:
        assert None not in numbers(sink.port, login="ann:s%20e%3Acret@", count=2)
        for login in ("", "ann:wrong@"):
            with pytest.raises(av.FFmpegError):
                numbers(sink.port, login=login)


@pytest.mark.parametrize("unit", Unit)
def test_players_are_told_the_unit_and_its_polarity(unit: Unit) -> None:
    with (
        served(unit=unit) as sink,
        av.open(f"rtsp://127.0.0.1:{sink.port}/depth", options=PLAYER, timeout=5) as container,
    ):
        assert container.metadata["comment"] == f"depth, {unit.value}; near is bright"


def test_a_taken_port_is_refused_with_advice() -> None:
    with served() as sink, pytest.raises(SinkError, match=f"cannot listen at rtsp://@127.0.0.1:{sink.port}/depth"):
        RtspServeSink(
            RtspServe("127.0.0.1", sink.port, "/depth"),
            SyntheticSource(48, 64).info,
            Painter(SyntheticSource(48, 64).info),
            Unit.RELATIVE,
        )


def test_without_an_address_all_are_listened_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, start = [], asyncio.start_server

    async def started(welcome: Any, host: str | None, *rest: Any, **options: Any) -> asyncio.Server:
        asked.append(host)
        return await start(welcome, "127.0.0.1", *rest, **options)

    monkeypatch.setattr(asyncio, "start_server", started)
    info = SyntheticSource(48, 64).info
    for host in ("", "127.0.0.1"):
        RtspServeSink(RtspServe(host, 0, "/depth"), info, Painter(info), Unit.RELATIVE).close()
    assert asked == [None, "127.0.0.1"]


class Caller:
    """A client that says exactly what it is told to."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 5)
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
            self._socket.recv(int(found[1]), socket.MSG_WAITALL)
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
def calling(**how: Limits) -> Iterator[tuple[RtspServeSink, Callable[[], Caller]]]:
    callers: list[Caller] = []

    with served(**how) as sink:  # type: ignore[arg-type]

        def call() -> Caller:
            callers.append(Caller(sink.port))
            return callers[-1]

        try:
            yield sink, call
        finally:
            for caller in callers:
                caller.close()


def playing(caller: Caller) -> Caller:
    assert "200 OK" in caller.ask("SETUP", "/depth/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=4-5")
    assert "200 OK" in caller.ask("PLAY")
    return caller


def test_a_conversation_from_options_to_teardown() -> None:
    with calling() as (_, call):
        caller = call()
        assert "PAUSE, TEARDOWN, GET_PARAMETER" in caller.ask("OPTIONS", "")
        assert "Content-Type: application/sdp" in caller.ask("DESCRIBE", "/depth", "Accept: application/sdp")
        assert "454 Session" in caller.ask("PLAY")
        said = caller.ask("SETUP", "/depth/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=4-5")
        assert "interleaved=4-5" in said
        assert ";timeout=60" in said
        assert "RTP-Info: url=rtsp://127.0.0.1/depth/trackID=0;seq=" in caller.ask("PLAY")
        assert caller.take(2) == b"$\x04"
        with closing(call()) as other:
            other.session = caller.session
            assert "454 Session" in other.ask("PAUSE")
    with calling() as (_, call):
        caller = call()
        caller.ask("SETUP", "/depth/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        assert "200 OK" in caller.ask("GET_PARAMETER")
        assert "200 OK" in caller.ask("PAUSE")
        assert "200 OK" in caller.ask("TEARDOWN")
        assert caller.ends()


@pytest.mark.parametrize(
    ("method", "path", "lines", "status"),
    [
        ("DESCRIBE", "/other", (), 404),
        ("SETUP", "/other/trackID=0", ("Transport: RTP/AVP/TCP;interleaved=0-1",), 404),
        ("SETUP", "/depth/trackID=0", ("Transport: RTP/AVP;multicast",), 461),
        ("SETUP", "/depth/trackID=0", (), 461),
        ("RECORD", "/depth", (), 501),
        ("PLAY", "/depth", ("Session: abc",), 454),
        ("DESCRIBE", "/depth", ("Require: x",), 551),
    ],
)
def test_what_cannot_be_done_is_answered_and_the_conversation_goes_on(
    method: str, path: str, lines: tuple[str, ...], status: int
) -> None:
    with calling() as (_, call):
        caller = call()
        assert f"RTSP/1.0 {status} " in caller.ask(method, path, *lines)
        assert "200 OK" in caller.ask("OPTIONS")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\r\n\r\n", 400),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 413),
        (b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n" + b"X: y\r\n" * 50 + b"\r\n", 413),
        (b"SET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999\r\n\r\n", 413),
    ],
)
def test_nonsense_is_refused_and_the_others_play_on(data: bytes, status: int) -> None:
    with calling() as (sink, call):
        caller = call()
        assert f"RTSP/1.0 {status} " in caller.say(data)
        assert caller.ends()
        assert None not in numbers(sink.port, count=2)


def test_three_wrong_passwords_end_the_connection() -> None:
    with served(Login("ann", "secret")) as sink, closing(Caller(sink.port)) as caller:
        said = [caller.ask("DESCRIBE", "/depth", "Authorization: Basic YTpi") for _ in range(3)]
        assert all("401 Unauthorized" in one and "WWW-Authenticate: Digest" in one for one in said)
        assert caller.ends()


def test_a_further_connection_than_allowed_is_turned_away() -> None:
    with calling(limits=Limits(connections=2)) as (_, call):
        callers = [call(), call()]
        assert all("200 OK" in caller.ask("OPTIONS") for caller in callers)
        assert "503 Service Unavailable" in call().head()


def test_a_silent_session_ends_and_a_talking_one_stays() -> None:
    with calling(limits=Limits(session_s=0.6)) as (_, call):
        silent, talking = playing(call()), call()
        ended = threading.Event()

        def keep_talking() -> None:
            while not ended.wait(0.1):
                talking.ask("OPTIONS")

        keeping = threading.Thread(target=keep_talking)
        keeping.start()
        assert silent.ends()
        ended.set()
        keeping.join()
        assert "200 OK" in talking.ask("OPTIONS")


def test_pause_stops_the_packets_and_play_begins_with_a_key_picture() -> None:
    with calling() as (sink, call):
        caller = playing(call())
        assert "200 OK" in caller.ask("PAUSE")
        assert None not in numbers(sink.port, count=2)
        assert "200 OK" in caller.ask("PLAY")
        channel_and_head = caller.take(4 + 12 + 1)
        assert channel_and_head[:2] == b"$\x04"
        assert channel_and_head[-1] & 0x1F == 7


def test_a_viewer_that_does_not_read_is_left_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    source = SyntheticSource(480, 640)
    left = threading.Event()
    sink = RtspServeSink(RtspServe("127.0.0.1", 0, "/depth"), source.info, Painter(source.info), Unit.RELATIVE)
    stop, estimator = threading.Event(), DepthEstimator(FakeSession())

    def stepped(frame: Frame) -> DepthFrame:
        if any("too slow" in record.message for record in caplog.records):
            left.set()
        return estimator.step(frame)

    running = threading.Thread(target=run, args=(source, stepped, [sink]), kwargs={"stop": stop})
    running.start()
    try:
        with closing(Caller(sink.port)) as slow:
            playing(slow)
            assert left.wait(30)
            with av.open(f"rtsp://127.0.0.1:{sink.port}/depth", options=PLAYER, timeout=5) as container:
                assert next(container.decode(video=0)).height == 480
    finally:
        stop.set()
        running.join()


@pytest.mark.parametrize("rate", [1, 120])
def test_slow_and_fast_sources_are_served_and_none_is_taken_for_absent(rate: int) -> None:
    source = Paced(SyntheticSource(120, 160, Fraction(rate)))
    sink = RtspServeSink(
        RtspServe("127.0.0.1", 0, "/depth"), source.info, Painter(source.info, side_by_side=True), Unit.RELATIVE
    )
    stop, estimator, told = threading.Event(), DepthEstimator(FakeSession(), gap_s=3), list[Stats]()
    # Looks every 0.1 s whether the source is away: far less than a second.
    how = {"stop": stop, "stale_after_s": 0.1, "progress": told.append}
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs=how)
    running.start()
    try:
        seen = numbers(sink.port, count=2 if rate == 1 else 20)
    finally:
        stop.set()
        running.join()
    assert None not in seen
    assert seen == sorted(set(seen))  # type: ignore[type-var]
    assert told[-1].resets == 1
    if rate == 1:
        assert told[-1].held == 0


def test_viewers_and_what_they_are_sent_are_counted() -> None:
    with served() as sink:
        assert (sink.viewers, sink.sent_bytes) == (0, 0)
        with av.open(f"rtsp://127.0.0.1:{sink.port}/depth", options=PLAYER, timeout=5) as container:
            next(container.decode(video=0))
            assert sink.viewers == 1
            first = sink.sent_bytes
            assert first > 1000
            next(container.decode(video=0))
        until(lambda: sink.viewers == 0)
        assert sink.sent_bytes > first
        assert sink.dropped == 0

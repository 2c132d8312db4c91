"""Our RTSP server with raw sockets: conversations lawful and unlawful, limits, viewers that do not read."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from urllib.parse import quote, unquote

import av
import pytest

from engines.spec import Unit
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.pipeline import run
from stream.rtsp.server import Limits
from stream.sinks.picture import Painter
from stream.sinks.rtsp import RtspServeSink
from stream.sources.synthetic import SyntheticSource
from stream.uris import Login, RtspServe
from tests.fakes import FakeSession
from tests.rtspcalls import PLAYER, Caller, calling, numbers, playing, served

pytestmark = pytest.mark.usefixtures("no_thread_stays")


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


def test_a_further_viewer_than_allowed_is_turned_away() -> None:
    with calling(limits=Limits(connections=2)) as (_, call):
        callers = [playing(call()), playing(call())]
        assert "503 Service Unavailable" in call().head()
        assert all("200 OK" in caller.ask("OPTIONS") for caller in callers)


@pytest.mark.parametrize("login", [None, Login("ann", "secret")])
def test_connections_without_a_session_lock_nobody_out(login: Login | None) -> None:
    with calling(login=login, limits=Limits(connections=4)) as (sink, call):
        idle = [call() for _ in range(4)]
        assert "RTSP/1.0 200" in idle[1].ask("OPTIONS")
        assert f"RTSP/1.0 {200 if login is None else 401}" in idle[2].ask("DESCRIBE")
        assert None not in numbers(sink.port, login="ann:secret@" if login else "", count=2)
        assert idle[0].ends(), "the oldest goes first"
        assert all("200 OK" in caller.ask("OPTIONS") for caller in idle[1:])


def test_sessions_that_play_nothing_lock_nobody_out_of_a_stream_without_a_login() -> None:
    with calling(limits=Limits(connections=2)) as (sink, call):
        playing(call())
        waiting = call()
        assert "200 OK" in waiting.ask("SETUP", "/depth/trackID=0", "Transport: RTP/AVP/TCP;interleaved=0-1")
        assert None not in numbers(sink.port, count=2)
        assert waiting.ends()


def test_whoever_logged_in_keeps_the_place_while_paused() -> None:
    right = "Authorization: Basic YW5uOnNlY3JldA=="
    with calling(login=Login("ann", "secret"), limits=Limits(connections=1)) as (_, call):
        caller = call()
        assert "200 OK" in caller.ask("SETUP", "/depth/trackID=0", "Transport: RTP/AVP/TCP;interleaved=0-1", right)
        assert "503 Service Unavailable" in call().head()
        assert "200 OK" in caller.ask("PLAY", "/depth", right)


@pytest.mark.parametrize("data", [b"", b"$\0\0\x01x", b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n", b"\r\n", b"O"])
def test_nothing_but_a_session_keeps_a_connection_beyond_the_login(data: bytes) -> None:
    """What a stranger may say without a login, again and again."""
    with calling(limits=Limits(login_s=0.4)) as (_, call):
        player, stranger = playing(call()), call()
        ended = threading.Event()

        def keep_talking() -> None:
            with suppress(OSError):
                while not ended.wait(0.05):
                    stranger.send(data)

        keeping = threading.Thread(target=keep_talking)
        keeping.start()
        try:
            assert stranger.ends()
        finally:
            ended.set()
            keeping.join()
        assert "200 OK" in player.ask("GET_PARAMETER")


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


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_viewers_over_ipv6_are_told_so() -> None:
    """GStreamer opens its UDP ports for the family that the description names."""
    with served(host="::1") as sink, closing(Caller(sink.port, "::1")) as caller:
        caller.ask("DESCRIBE")
        lines = caller.body.decode().split("\r\n")
        assert ("o=- 1 1 IN IP6 ::1" in lines, "c=IN IP6 ::" in lines) == (True, True)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("::1", 0))
            receiver.settimeout(10)
            port = receiver.getsockname()[1]
            said = caller.ask("SETUP", "/depth/trackID=0", f"Transport: RTP/AVP;unicast;client_port={port}-{port + 1}")
            assert f"RTP/AVP;unicast;destination=::1;source=::1;client_port={port}-{port + 1};server_port=" in said
            assert "200 OK" in caller.ask("PLAY")
            packet, sender = receiver.recvfrom(2048)
        assert packet[0] == 0x80
        assert sender[:2] == ("::1", int(said.partition("server_port=")[2].partition("-")[0]))


def test_viewers_over_udp_are_told_both_addresses() -> None:
    with calling() as (_, call):
        said = call().ask("SETUP", "/depth/trackID=0", "Transport: RTP/AVP;unicast;client_port=5000-5001")
    assert "RTP/AVP;unicast;destination=127.0.0.1;source=127.0.0.1;client_port=5000-5001;server_port=" in said


@pytest.mark.parametrize("path", ["/t\xfcr", "/a b", "/a+b", "/a%2Fb", "/\u5ba2\u5385"])
def test_a_path_that_the_product_prints_is_played(path: str) -> None:
    """As it is printed, and as a player encodes it."""
    with served(path=path) as sink:
        for spelling in (path, quote(unquote(path), "/")):
            with closing(Caller(sink.port)) as caller:
                assert f"Content-Base: rtsp://127.0.0.1{spelling}/\r\n" in caller.ask("DESCRIBE", spelling)
                assert "200 OK" in playing(caller, spelling).ask("TEARDOWN", spelling)
            with av.open(f"rtsp://127.0.0.1:{sink.port}{spelling}", options=PLAYER, timeout=5) as container:
                assert next(container.decode(video=0)).width == 320

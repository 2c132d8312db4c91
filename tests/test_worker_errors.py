"""Whatever a thread or task stumbles over is told, and ends or restarts what it worked for."""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import threading
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from depthcast.latency import _note
from depthcast.service.app import create_app
from depthcast.service.jobs import worker
from depthcast.service.jobs.queue import again_and_again
from depthcast.service.raw import raw_router
from depthcast.service.server import serving
from engines.spec import Unit
from stream.errors import SinkError
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame
from stream.rtsp import publication
from stream.rtsp.rtp import AccessUnit
from stream.rtsp.server import RtspServer
from stream.sinks import Sink
from stream.sinks.picture import Painter
from stream.sinks.publish import RtspPublishSink
from stream.sinks.raw import RawSink
from stream.sinks.whip import WhipPublishSink
from stream.sources.synthetic import SyntheticSource
from stream.uris import Remote, RtspPublish, RtspServe
from stream.webrtc.loop import LoopThread
from stream.webrtcuris import WhipPublish
from tests.conditions import until
from tests.fakes import FakeSession
from tests.rtc import LOOPBACK

pytestmark = pytest.mark.usefixtures("no_thread_stays")
SOURCE = SyntheticSource(120, 160, Fraction(30))
SETS = (b"\x67\x42\xc0\x1f", b"\x68\xce")


def failing(*_: object, **__: object) -> Any:
    raise RuntimeError("a fault")


async def failing_soon(*_: object) -> Any:
    raise RuntimeError("a fault")


def depth_frame() -> DepthFrame:
    return DepthEstimator(FakeSession()).step(next(iter(SyntheticSource(120, 160, frames=1))))


def written_until_it_fails(sink: Sink) -> str:
    """What the run is told, however late the worker fails."""
    frame, said = depth_frame(), []

    def fails() -> bool:
        try:
            sink.write(frame)
        except SinkError as error:
            said.append(str(error))
        return bool(said)

    until(fails)
    return said[0]


def rtsp_publisher(host: str = "127.0.0.1") -> RtspPublishSink:
    uri = RtspPublish(Remote("rtsp", host, 1, "/depth"))
    return RtspPublishSink(uri, SOURCE.info, Painter(SOURCE.info), Unit.METRE, 2.0)


def test_a_host_name_that_cannot_be_ends_the_publisher() -> None:
    """Of 64 letters: it killed the thread, while `write` went on."""
    sink = rtsp_publisher("a" * 64)
    assert f"cannot publish to rtsp://{'a' * 64}:1/" in written_until_it_fails(sink)
    sink.close()


def test_an_error_of_the_rtsp_publisher_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.sinks.publish.Publication", failing)
    sink = rtsp_publisher()
    assert written_until_it_fails(sink).endswith(": a fault")
    sink.close()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.ENETUNREACH])
def test_a_datagram_that_there_is_no_room_for_is_lost_and_a_way_that_is_broken_is_not(number: int) -> None:
    class Full:
        def sendto(self, *_: object) -> int:
            raise OSError(number, "no")

    if number == errno.ENETUNREACH:
        with pytest.raises(OSError, match="no"):
            publication._sent(Full(), b"", ("127.0.0.1", 9))  # type: ignore[arg-type]
    else:
        assert not publication._sent(Full(), b"", ("127.0.0.1", 9))  # type: ignore[arg-type]


def test_an_error_of_the_whip_publisher_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WhipPublishSink, "_connected_once", failing_soon)
    uri = WhipPublish("http://127.0.0.1:1/", "whip://127.0.0.1:1/")
    sink = WhipPublishSink(uri, SOURCE.info, Painter(SOURCE.info), LOOPBACK, 1_000_000)
    assert written_until_it_fails(sink) == "cannot publish to whip://127.0.0.1:1/: a fault"
    sink.close()


def test_an_event_loop_that_cannot_begin_is_an_error_and_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where no more files may be open."""
    monkeypatch.setattr(asyncio, "Runner", failing)
    with pytest.raises(RuntimeError, match="a fault"):
        LoopThread("loop")


def test_an_rtsp_server_that_cannot_begin_is_an_error_and_no_wait() -> None:
    with pytest.raises(SinkError, match="cannot listen at rtsp://@aaa"):
        RtspServer(RtspServe("a" * 64, 0, "/depth"), SETS)


@pytest.mark.parametrize("part", ["_look_after", "_send_to_all"])
def test_an_error_of_the_rtsp_server_is_told(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(RtspServer, part, failing_soon if part == "_look_after" else failing)
    server = RtspServer(RtspServe("127.0.0.1", 0, "/depth"), SETS)
    said: list[str] = []

    def fails() -> bool:
        try:
            server.send(AccessUnit((b"\x65",), 0, is_key=True), 0)
        except SinkError as error:
            said.append(str(error))
        return bool(said)

    until(fails)
    assert said[0] == "rtsp://@127.0.0.1:0/depth is not served any more: a fault"
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), 5).close()
    server.close()


def test_a_part_of_the_queue_begins_again(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk ended it for ever, and no job was worked on any more."""
    begun: list[int] = []

    async def part() -> None:
        begun.append(len(begun))
        if len(begun) < 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        raise asyncio.CancelledError

    async def at_once(_: float) -> None:
        pass

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(again_and_again(part, at_once))
    assert begun == [0, 1, 2]
    assert [record.getMessage() for record in caplog.records] == ["the queue stumbled and goes on in 5 s"] * 2


@pytest.mark.parametrize("line", [b"no JSON\n", b'{"task": {}}\n', b""])
def test_a_worker_process_that_is_told_nonsense_ends(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    ended = threading.Event()
    monkeypatch.setattr(worker, "_end_all", ended.set)
    worker._listen(io.BytesIO(line), lambda _: None, worker.Courtesy(1.0))
    assert ended.is_set()


def test_a_viewer_that_says_nonsense_ends_the_measurement() -> None:
    stop = threading.Event()
    viewer: Any = SimpleNamespace(stdout=iter(["1 2 3\n"]))
    with pytest.raises(ValueError, match="too many values"):
        _note(viewer, {}, stop, 1.0)
    assert stop.is_set()


def test_a_client_of_raw_depth_is_told_that_there_is_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = RawSink(SOURCE.info)
    monkeypatch.setattr("depthcast.service.raw._sent", failing_soon)
    with serving(create_app(raw_router("/raw", sink)), "127.0.0.1", 0) as url:
        with connect(url.replace("http", "ws") + "/raw") as client, pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011
    assert "/raw: a client is left" in caplog.text

"""WebRTC in, with FFmpeg's muxer and aiortc as publishers; and out to WHIP servers: ours, absent, hung, foreign."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from aiortc import RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack

import depthcast
from depthcast.service.app import create_app
from depthcast.service.server import serving
from depthcast.service.whip import sessions_router
from stream.barcode import read
from stream.errors import SourceError
from stream.estimator import DepthEstimator
from stream.frame import Frame
from stream.pipeline import run
from stream.preprocess import to_rgb
from stream.sinks.picture import Painter
from stream.sinks.whip import Heard, WhipPublishSink
from stream.sources.choose import open_source
from stream.sources.synthetic import SyntheticSource
from stream.sources.webrtc import PublishedSource, Reception
from stream.uris import parse_source
from stream.webrtc.corrections import Peer
from stream.webrtc.signalling import Refused, Session, begin, is_same_server, leave
from stream.webrtcuris import WhipPublish
from tests.conditions import until
from tests.fakes import FakeSession, ListSink
from tests.rtc import LOOPBACK, SDP, is_rising, lose_every, offer, published
from tests.tiny import tiny_network

pytestmark = pytest.mark.usefixtures("no_thread_stays")

ROOT = Path(__file__).parent.parent


@contextmanager
def receiving(token: str | None = None, port: int = 0) -> Iterator[tuple[Reception, str]]:
    """Where publishers are received, and its address."""
    with closing(Reception("whip://@127.0.0.1:0/camera", LOOPBACK)) as reception:
        router = sessions_router("/whip/camera", reception.door, token)
        with serving(create_app(router), "127.0.0.1", port) as url:
            yield reception, f"{url}/whip/camera"


def ffmpeg(url: str, size: tuple[int, int], frames: int, folder: Path) -> subprocess.Popen[bytes]:
    words = [url, *map(str, size), str(frames), str(folder)]
    return subprocess.Popen([sys.executable, "-m", "tests.whip_publisher", *words], cwd=ROOT)


def numbers(frames: Iterator[Frame], count: int, width: int = 160) -> list[int | None]:
    """Of what comes, in its left side."""
    taken = (frame for frame, _ in zip(frames, range(count), strict=False))
    return [read(to_rgb(one.picture, one.height, one.width)[:, :width]) for one in taken]


def test_ffmpeg_publishes_leaves_and_comes_back_with_another_size(tmp_path: Path) -> None:
    with receiving() as (reception, url):
        first = ffmpeg(url, (160, 120), 40, tmp_path)
        with PublishedSource(reception, 20) as source:
            assert (source.info.height, source.info.width, source.info.live) == (120, 160, True)
            frames = iter(source)
            before = [next(frames) for _ in range(6)]
            assert is_rising([read(to_rgb(one.picture, 120, 160)) for one in before])
            assert first.wait(20) == 0
            until(lambda: not reception.door.peers)
            second = ffmpeg(url, (192, 144), 300, tmp_path)
            after = next(frame for frame in frames if frame.height == 144)
            assert source.reconnects == 1
            assert is_rising(numbers(frames, 6, 192))
            second.terminate()
            second.wait(10)
    assert (after.height, after.width) == (144, 192)
    assert all(a.pts < b.pts and a.index < b.index for a, b in pairwise([*before, after]))


def test_our_own_publisher_is_received_and_comes_back_when_the_server_does() -> None:
    with receiving() as (_, url):
        port = httpx.URL(url).port or 0
    with published(url) as sink:
        for times in (1, 2):
            with receiving(port=port) as (reception, _), PublishedSource(reception, 20) as source:
                assert (source.info.height, source.info.width) == (120, 320)
                assert is_rising(numbers(iter(source), 6))
            assert sink.connections == times
            until(lambda: not sink.audience.viewers)


def test_the_last_map_is_held_until_a_publisher_is_back() -> None:
    with receiving() as (reception, url), ExitStack() as opened:
        sink, stop, estimator = ListSink(), threading.Event(), DepthEstimator(FakeSession())
        with published(url):
            source = opened.enter_context(PublishedSource(reception, 20))
            running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs={"stop": stop})
            running.start()
            until(lambda: len(sink.taken) > 5)
        until(lambda: any(frame.stale for frame in sink.taken))
        with published(url):
            until(lambda: sink.taken and not sink.taken[-1].stale)
        stop.set()
        running.join()
    states = [key for key, _ in groupby(frame.stale for frame in sink.taken)]
    assert states[-3:-1] == [True, False] or states[-2:] == [True, False]
    assert source.reconnects == 1
    assert all(a.frame.pts < b.frame.pts for a, b in pairwise(sink.taken))


def test_a_publisher_whose_pictures_cannot_be_taken_is_left_and_may_come_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    take, failed = Reception.take, threading.Event()

    def failing(self: Reception, *words: Any) -> None:
        if not failed.is_set():
            failed.set()
            raise RuntimeError("a fault")
        take(self, *words)

    monkeypatch.setattr(Reception, "take", failing)
    with receiving() as (reception, url), published(url) as sink, PublishedSource(reception, 20) as source:
        assert is_rising(numbers(iter(source), 3))
        assert sink.connections == 2
    assert "a publisher is left" in caplog.text


def test_programs_are_published_to_as_well(tmp_path: Path) -> None:
    network = tiny_network(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    uri = f"whip://@127.0.0.1:{port}/camera"
    with published(f"http://127.0.0.1:{port}/whip/camera"):
        shapes = [one.depth.shape for one in depthcast.estimate(uri, checkpoint=network, max_frames=3)]
        with depthcast.open(uri, checkpoint=network) as reader:
            shapes.append(next(iter(reader)).depth.shape)
    assert set(shapes) == {(120, 320)}
    with pytest.raises(SourceError, match=r"depthcast\.open` listen for it"):
        open_source(parse_source(uri))


def test_the_newest_publisher_is_heard() -> None:
    with receiving() as (reception, url), PublishedSourceLater(reception) as later, published(url) as first:
        source = later()
        frames = iter(source)
        next(frames)
        with published(url) as second:
            until(lambda: source.reconnects)
            until(lambda: not first.audience.viewers or first.connections > 1)
            assert second.connections
            next(frames)


class PublishedSourceLater(ExitStack):
    """Opens the source when it is called, closes it at the end."""

    def __init__(self, reception: Reception) -> None:
        super().__init__()
        self._reception = reception

    def __call__(self) -> PublishedSource:
        return self.enter_context(PublishedSource(self._reception, 20))


def test_only_a_publisher_who_knows_the_token_comes_in() -> None:
    with receiving("s3cret") as (reception, url):
        with published(url, "wrong") as sink:
            with pytest.raises(SourceError, match="no publisher came"):
                PublishedSource(reception, 0.5)
            assert not sink.connections
        with published(url, "s3cret"), PublishedSource(reception, 20) as source:
            assert is_rising(numbers(iter(source), 3))


class Growing(VideoStreamTrack):
    """A grey picture that becomes larger after a while, as a browser's does when the link becomes better."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        size = (120, 160, 3) if pts < 30_000 else (240, 320, 3)
        picture = av.VideoFrame.from_ndarray(np.full(size, 128, np.uint8), format="rgb24")
        picture.pts, picture.time_base = pts, time_base
        return picture


async def publishing(url: str, lossy: bool, ended: Callable[[], Awaitable[None]]) -> str:
    """aiortc's own encoder, with sound; says what was answered."""
    peer = Peer(LOOPBACK)
    peer.addTransceiver(AudioStreamTrack(), direction="sendonly")
    peer.addTransceiver(Growing(), direction="sendrecv")
    await peer.setLocalDescription()
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, content=peer.localDescription.sdp, headers=SDP)
    await peer.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
    if lossy:
        lose_every(peer, 7)
    await ended()
    await peer.close()
    return answer.text


@pytest.mark.parametrize("lossy", [False, True])
def test_a_size_that_changes_in_mid_stream_arrives_and_sound_is_declined(lossy: bool) -> None:
    answers: list[str] = []
    with receiving() as (reception, url):
        ended = threading.Event()

        async def enough() -> None:
            await asyncio.to_thread(ended.wait)

        publisher = threading.Thread(target=lambda: answers.append(asyncio.run(publishing(url, lossy, enough))))
        publisher.start()
        with PublishedSource(reception, 20) as source:
            frames = iter(source)
            assert (source.info.height, source.info.width) == (120, 160)
            assert next(frame for frame in frames if frame.height == 240).width == 320
            assert sum(1 for _ in zip(frames, range(5), strict=False)) == 5
            assert source.reconnects == 0
            ended.set()
            publisher.join()
    sound, pictures = answers[0].split("m=audio")[1].split("m=video")
    assert "a=inactive" in sound
    assert "a=recvonly" in pictures


def test_who_never_connects_takes_nobodys_place() -> None:
    with receiving() as (reception, url), published(url) as sink, PublishedSource(reception, 20) as source:
        frames = iter(source)
        next(frames)
        reception.door._early_s = 3600
        strangers = [httpx.post(url, content=offer(direction="sendonly"), headers=SDP).status_code for _ in range(5)]
        assert strangers == [201] * 4 + [503]
        numbers(frames, 20)
        assert (sink.connections, source.reconnects) == (1, 0)


def test_an_offer_to_watch_is_no_publisher() -> None:
    with receiving() as (reception, url):
        answer = httpx.post(url, content=offer(), headers=SDP)
        assert answer.status_code == 422
        assert "sends no video" in answer.text
        assert not reception.door.peers


def test_close_ends_the_wait_for_pictures() -> None:
    with receiving() as (reception, url), published(url), PublishedSource(reception, 20) as source:
        threading.Timer(0.2, source.close).start()
        assert sum(1 for _ in source) < 300


def test_a_server_that_falls_silent_is_left_and_asked_again() -> None:
    """Without a word, as when its machine is switched off."""
    with (
        receiving() as (reception, url),
        published(url, timeout_s=2.0) as sink,
        PublishedSource(reception, 20) as source,
    ):
        # By then it has reported: that comes after a second and a half at most.
        assert is_rising(numbers(iter(source), 75))
        peer, _ = next(iter(reception.door._peers.values()))
        lose_every(peer, 1)
        until(lambda: sink.connections == 2)
        until(lambda: source.reconnects == 1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://a/x", "https://a/y", True),
        ("https://a/x", "https://A:443/y", True),
        ("http://a/x", "http://a:80/y", True),
        ("http://a/x", "https://a/x", True),
        ("http://a:8080/x", "https://a/x", False),
        ("https://a/x", "http://a/x", False),
        ("https://a/x", "https://b/x", False),
        ("https://a/x", "https://a.b/x", False),
        ("https://a/x", "https://a:8443/x", False),
        ("http://127.0.0.1:1/", "http://127.0.0.1:2/", False),
        ("https://a/x", "https://a@b/x", False),
    ],
)
def test_secrets_go_to_the_same_server_only(one: str, other: str, same: bool) -> None:
    assert is_same_server(one, other) == same


@pytest.mark.parametrize("asks", [True, False])
def test_a_token_is_given_to_nobody_else(asks: bool) -> None:
    """A server redirects to another one, and names its session at a third."""
    heads: list[str] = []

    def answering(answer: Callable[[str], bytes]) -> tuple[socket.socket, threading.Thread]:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)

        def serve() -> None:
            asker, _ = listener.accept()
            with asker, asker.makefile("rb") as lines:
                head = b"".join(iter(lines.readline, b"\r\n")).decode()
                heads.append(head)
                asker.sendall(answer(head))

        thread = threading.Thread(target=serve)
        thread.start()
        return listener, thread

    def placed(listener: socket.socket) -> str:
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    third, on_third = answering(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    status = "401 Unauthorized" if asks else f"201 Created\r\nLocation: {placed(third)}session"
    second, on_second = answering(lambda _: f"HTTP/1.1 {status}\r\nContent-Length: 3\r\n\r\nv=0".encode())
    redirect = f"HTTP/1.1 307 Moved\r\nLocation: {placed(second)}there\r\nContent-Length: 0\r\n\r\n"
    first, on_first = answering(lambda _: redirect.encode())
    if asks:
        with pytest.raises(Refused, match=r"HTTP 401: redirected to 127\.0\.0\.1:\d+, which is not given the token"):
            begin(f"{placed(first)}whip", "v=0", "s3cret", 10)
        leave(Session(f"{placed(third)}session", "v=0"), 10)
    else:
        leave(begin(f"{placed(first)}whip", "v=0", "s3cret", 10), 10)
    for listener, thread in ((first, on_first), (second, on_second), (third, on_third)):
        thread.join()
        listener.close()
    assert [head.split()[0] for head in heads] == ["POST", "POST", "DELETE"]
    assert ["Authorization: Bearer s3cret" in head for head in heads] == [True, False, False]


def test_silence_counts_from_the_first_report_on() -> None:
    heard = Heard(4)
    assert [heard.is_silent(count) for count in (4, 4, 4, 5, 5, 6, 6, 6)] == [False] * 7 + [True]


def test_an_absent_server_is_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    source = SyntheticSource(120, 160, frames=5)
    uri = WhipPublish(f"http://127.0.0.1:{port}/whip", "whip://x")
    sink = WhipPublishSink(uri, source.info, Painter(source.info), LOOPBACK, 4_000_000)
    assert run(source, DepthEstimator(FakeSession()).step, [sink]).frames_out == 5
    assert sink.connections == 0


def test_a_server_that_never_answers_stops_neither_the_run_nor_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        uri = WhipPublish(f"http://127.0.0.1:{hung.getsockname()[1]}/whip", "whip://x")
        source = SyntheticSource(120, 160, frames=60)
        sink = WhipPublishSink(uri, source.info, Painter(source.info), LOOPBACK, 4_000_000, timeout_s=600)
        assert run(source, DepthEstimator(FakeSession()).step, [sink]).frames_out == 60


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n", "HTTP 404: no"),
        (b"HTTP/1.1 201 Created\r\nLocation: /s\r\nContent-Length: 3\r\n\r\nv=0", "its answer cannot be used"),
        (b"SSH-2.0-server\r\n", "no HTTP"),
        (b"HTTP/1.1 307 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", "redirected without end"),
        (b"HTTP/1.1 307 Moved\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n", "another protocol"),
    ],
)
def test_a_server_that_says_no_is_named_once(answer: bytes, words: str, caplog: pytest.LogCaptureFixture) -> None:
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)

        def serve() -> None:
            while not ended.is_set():
                try:
                    asker, _ = server.accept()
                except TimeoutError:
                    continue
                with asker:
                    asker.settimeout(2)
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += asker.recv(65536)
                    asker.sendall(answer)

        serving_it = threading.Thread(target=serve)
        serving_it.start()
        with published(f"http://127.0.0.1:{server.getsockname()[1]}/whip"):
            until(lambda: words in caplog.text)
        ended.set()
        serving_it.join()
    assert caplog.text.count("does not take our stream") == 1

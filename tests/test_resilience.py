"""What goes wrong with live streams in the field, done to real connections: all is survived, and told."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest

from stream.barcode import read
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.pipeline import run
from stream.preprocess import to_rgb
from stream.rtsp.ports import PortPair
from stream.rtsp.rtp import AccessUnit
from stream.sources.choose import address_of
from stream.sources.live import LiveSource
from stream.stats import Stats
from stream.uris import HttpIn, RtspIn, parse_source
from tests.cameras import MjpegCamera, jpeg
from tests.fakes import FakeSession, ListSink
from tests.rtsp_camera import RtspCamera
from tests.videos import gray_levels, write_video

pytestmark = pytest.mark.usefixtures("no_thread_stays")


def at_once(closing: threading.Event, _seconds: float) -> None:
    closing.wait(0.01)


def source_of(url: str, timeout_s: float = 2.0) -> LiveSource:
    uri = parse_source(url)
    assert isinstance(uri, RtspIn | HttpIn)
    return LiveSource(address_of(uri, timeout_s), at_once)


def number_of(frame: Frame) -> int | None:
    return read(to_rgb(frame.picture, 120, 320)[:, :160])


@pytest.mark.parametrize("fragment", ["", "#udp"])
def test_an_rtsp_camera_that_hangs_is_left_and_asked_again(fragment: str) -> None:
    with RtspCamera() as camera, source_of(camera.url + fragment, timeout_s=0.5) as source:
        frames = iter(source)
        before = next(frames)
        camera.hung.set()
        returns = threading.Timer(1.2, camera.hung.clear)
        returns.start()
        after = next(frame for frame in frames if source.reconnects)
        returns.join()
        assert after.pts > before.pts
        # What was away for a second is a second later in the stream's own time, too.
        assert float((after.pts - before.pts) * after.time_base) > 0.9


@pytest.mark.parametrize("jump_s", [-3600, -5, 7200])
def test_a_camera_whose_clock_jumps_goes_on_in_time(jump_s: int) -> None:
    def jumping(number: int, unit: AccessUnit) -> AccessUnit:
        return unit if number < 60 else replace(unit, timestamp=(unit.timestamp + jump_s * 90_000) % 2**32)

    with RtspCamera(60, jumping) as camera, source_of(camera.url) as source:
        frames = list(islice(source, 90))
        assert source.reconnects == 0
    numbers = [number_of(frame) or 0 for frame in frames]
    assert numbers[0] < 60 < numbers[-1]
    assert all(a.pts < b.pts for a, b in pairwise(frames))
    steps = [float((b.pts - a.pts) * a.time_base) for a, b in pairwise(frames)]
    assert max(steps) < 1


def test_a_camera_with_corrupt_packets_is_shown_on() -> None:
    """FFmpeg's decoder conceals them, so they need not be counted."""

    def corrupting(number: int, unit: AccessUnit) -> AccessUnit:
        if number % 8 or unit.is_key:
            return unit
        *others, last = unit.units
        return replace(unit, units=(*others, last[:1] + bytes(byte ^ 0x5A for byte in last[1:])))

    with RtspCamera(60, corrupting) as camera, source_of(camera.url) as source:
        frames = list(islice(source, 100))
        assert source.reconnects == 0
    assert len({number_of(frame) for frame in frames}) > 10
    assert all(a.pts < b.pts for a, b in pairwise(frames))


def test_packets_that_never_come_are_no_end() -> None:
    def losing(number: int, unit: AccessUnit) -> AccessUnit | None:
        return None if number % 5 == 0 and not unit.is_key else unit

    with RtspCamera(60, losing) as camera, source_of(camera.url) as source:
        frames = list(islice(source, 80))
        assert source.reconnects == 0
    numbers = [number for number in map(number_of, frames) if number is not None]
    assert len(frames) == 80
    assert len(numbers) > 5
    # A decoder that misses a picture may show an older one's number again.
    assert numbers == sorted(numbers)


@contextmanager
def served(port: int, data: bytes) -> Iterator[int]:
    """A transport stream over HTTP, again and again, without a length."""
    ended = threading.Event()

    class Endless(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            try:
                while not ended.wait(0.02):
                    self.wfile.write(data)
            except OSError:
                pass

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Endless)
    server.daemon_threads = False
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    try:
        yield int(server.server_address[1])
    finally:
        ended.set()
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_camera_that_returns_with_another_codec_is_taken_as_it_is(tmp_path: Path, codec: str) -> None:
    quiet = {"x265-params": "log-level=none:keyint=5"} if codec == "libx265" else {"g": "5"}
    clip = write_video(tmp_path / "a.ts", gray_levels(20, 96, 128), codec=codec, options=quiet).read_bytes()
    camera = MjpegCamera([jpeg(image) for image in gray_levels(8)])
    with source_of(camera.url) as source:
        frames = iter(source)
        before = next(frames)
        camera.close()
        with served(camera.port, clip):
            after = next(frame for frame in frames if frame.height == 96)
        assert source.reconnects >= 1
    assert before.height == 48
    assert after.pts > before.pts


def ran(source: LiveSource, until_: Callable[[Stats], bool], stale_after_s: float = 1.5) -> tuple[Stats, ListSink]:
    """Run until the figures are as wished, at most a minute."""
    stop, sink, estimator = threading.Event(), ListSink(), DepthEstimator(FakeSession())
    end_s = time.monotonic() + 60

    def told(stats: Stats) -> None:
        if until_(stats) or time.monotonic() > end_s:
            stop.set()

    return run(source, estimator.step, [sink], stop=stop, progress=told, stale_after_s=stale_after_s), sink


def test_a_camera_of_one_frame_a_second_is_neither_held_nor_started_anew() -> None:
    with RtspCamera(1) as camera, source_of(camera.url, timeout_s=5) as source:
        stats, sink = ran(source, lambda stats: stats.frames_out == 3, stale_after_s=0.2)
    assert stats.frames_out >= 3
    second = [index for index, one in enumerate(sink.taken) if not one.stale][1]
    assert not [one for one in sink.taken[second:] if one.stale], "absent until the second frame has told the rate"
    assert stats.resets <= 2


def test_a_camera_of_120_frames_a_second_is_followed_in_order() -> None:
    with RtspCamera(120) as camera, source_of(camera.url) as source:
        stats, sink = ran(source, lambda stats: stats.frames_out >= 120)
    assert stats.frames_out >= 120
    assert all(a.frame.pts < b.frame.pts for a, b in pairwise(sink.taken))
    assert stats.waiting <= 1, "older frames are replaced, not kept waiting"


def test_a_sink_that_blocks_for_long_harms_no_other_and_goes_on_with_what_is_new() -> None:
    """It blocks until the other one has had 60 frames; how many seconds that are makes no difference."""
    blocked, released = threading.Event(), threading.Event()

    class Blocking(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            super().write(depth_frame)
            if not blocked.is_set():
                blocked.set()
                assert released.wait(60)

    blocking, quick, stop = Blocking(), ListSink(), threading.Event()

    def told(_: Stats) -> None:
        if len(quick.taken) >= 60:
            released.set()
        if len(blocking.taken) >= 10:
            stop.set()

    with RtspCamera(60) as camera, source_of(camera.url) as source:
        estimator = DepthEstimator(FakeSession())
        stats = run(source, estimator.step, [blocking, quick], stop=stop, progress=told)
    first, second = (one.frame.index for one in blocking.taken[:2])
    assert second - first >= 50
    assert stats.sinks[0].dropped >= 50
    assert len(quick.taken) >= 60


def test_a_viewer_on_a_lossy_link_sees_on_and_another_sees_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One packet in fifty is lost, and now and then three in a row."""
    sent = 0
    plain = PortPair.send_rtp

    def lossy(self: PortPair, packet: bytes, to: tuple[str, int]) -> bool:
        nonlocal sent
        sent += 1
        return True if sent % 50 == 49 or sent % 150 < 3 else plain(self, packet, to)

    monkeypatch.setattr(PortPair, "send_rtp", lossy)
    seen: dict[str, list[Frame]] = {}

    def watch(name: str, url: str) -> None:
        with source_of(url) as source:
            seen[name] = list(islice(source, 180))
            assert source.reconnects == 0

    with RtspCamera(60) as camera:
        watching = [
            threading.Thread(target=watch, args=one) for one in (("lossy", camera.url + "#udp"), ("whole", camera.url))
        ]
        for one in watching:
            one.start()
        for one in watching:
            one.join()
    assert all(len(frames) == 180 for frames in seen.values())
    assert None not in map(number_of, seen["whole"])
    numbers = list(map(number_of, seen["lossy"]))
    assert None in numbers
    damaged = numbers.index(None)
    recovered = [number for number in numbers[damaged:] if number is not None]
    assert recovered, "a key picture mends what was lost before it"
    assert recovered == sorted(recovered)


def test_an_rtsp_camera_whose_key_picture_comes_late_is_waited_for() -> None:
    """Longer than two of its time limits: as long as packets come. Those that cannot be decoded yet are no damage."""
    sent: list[int] = []

    def without_key(number: int, unit: AccessUnit) -> AccessUnit | None:
        sent.append(number)
        if len(sent) >= 60:
            return unit
        # The key pictures until then are lost; what refers to them is sent, as if it were one.
        return None if unit.is_key else replace(unit, is_key=True)

    with RtspCamera(60, without_key) as camera, source_of(camera.url, timeout_s=0.3) as source:
        frames = list(islice(source, 5))
        assert len(sent) >= 60
        assert (source.damaged, source.reconnects) == (0, 0)
    assert [frame.height for frame in frames] == [120] * 5

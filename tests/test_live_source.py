"""Live sources on real connections: lost, hung, changed, damaged, and stopped."""

from __future__ import annotations

import http.server
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from depthcast.errors import UsageError
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from depthcast.sources import opened_source
from stream.errors import SourceError
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.orientation import Orientation
from stream.pipeline import run
from stream.sources.choose import address_of, open_source
from stream.sources.connection import Address
from stream.sources.live import LiveSource
from stream.uris import CameraIn, HttpIn, Remote, RtspIn, parse_source
from tests.cameras import MjpegCamera, jpeg
from tests.certificates import self_signed
from tests.fakes import FakeSession, ListSink
from tests.videos import gray_levels, write_video

pytestmark = pytest.mark.usefixtures("no_thread_stays")

SMALL = [jpeg(image) for image in gray_levels(8)]
LARGE = [jpeg(image) for image in gray_levels(8, 96, 128)]


def at_once(closing: threading.Event, _seconds: float) -> None:
    closing.wait(0.01)


def source_of(camera: MjpegCamera, timeout_s: float = 2.0) -> LiveSource:
    uri = parse_source(camera.url)
    assert isinstance(uri, HttpIn)
    return LiveSource(address_of(uri, timeout_s), at_once)


def test_http_motion_jpeg_is_a_live_source() -> None:
    with MjpegCamera(SMALL) as camera, open_source(parse_source(camera.url)) as source:
        frames = [frame for frame, _ in zip(source, range(5), strict=False)]
        assert (source.info.height, source.info.width, source.info.live) == (48, 64, True)
    assert all(a.pts < b.pts and a.index < b.index for a, b in pairwise(frames))
    assert camera.asked == ["/video.mjpg"]


def test_a_camera_that_is_lost_comes_back_with_another_size() -> None:
    camera = MjpegCamera(SMALL)
    with source_of(camera) as source:
        frames = iter(source)
        before = next(frames)
        camera.close()
        with MjpegCamera(LARGE, camera.port):
            after = next(frame for frame in frames if frame.height == 96)
        assert source.reconnects == 1
        assert (after.height, after.width) == (96, 128)
        assert after.pts > before.pts
        assert after.index > before.index


def test_a_camera_that_hangs_is_left_and_asked_again() -> None:
    with MjpegCamera(SMALL) as camera, source_of(camera, timeout_s=0.3) as source:
        frames = iter(source)
        next(frames)
        camera.hung.set()
        threading.Timer(0.7, camera.hung.clear).start()
        assert any(source.reconnects for _ in frames)
        assert len(camera.asked) > 1


def test_damaged_pictures_are_counted_and_passed_over() -> None:
    broken = SMALL[0][:200] + bytes(len(SMALL[0]) - 200)
    with MjpegCamera([*SMALL, broken, b"not a picture"]) as camera, source_of(camera) as source:
        assert any(source.damaged >= 2 for _ in source)
        assert source.reconnects == 0


def test_an_absent_camera_is_refused_in_words_without_its_password() -> None:
    camera = MjpegCamera(SMALL)
    camera.close()
    url = camera.url.replace("//", "//user:s3cret@") + "?token=t0ken"
    with pytest.raises(
        SourceError, match=r"http://\*\*\*@127.0.0.1:\d+/video.mjpg\?\*\*\* cannot be opened"
    ) as refused:
        open_source(parse_source(url))
    assert refused.value.__cause__ is None
    assert "s3cret" not in str(refused.value)


def test_a_camera_that_sends_nothing_is_refused() -> None:
    with MjpegCamera(SMALL) as camera:
        camera.hung.set()
        with pytest.raises(SourceError):
            source_of(camera, timeout_s=0.3)


def test_close_ends_the_iteration_while_the_camera_hangs() -> None:
    """The source's own patience is far longer than a test may take."""
    with MjpegCamera(SMALL) as camera, source_of(camera, timeout_s=600) as source:
        frames = iter(source)
        next(frames)
        camera.hung.set()
        closing = threading.Timer(0.1, source.close)
        closing.start()
        for _ in frames:
            pass
        closing.join()


def test_while_the_camera_is_away_the_last_map_is_held_and_marked() -> None:
    stale = threading.Event()

    class Watching(ListSink):
        def write(self, depth_frame: DepthFrame) -> None:
            super().write(depth_frame)
            if depth_frame.stale:
                stale.set()
            elif stale.is_set():
                stop.set()

    stop, sink, camera = threading.Event(), Watching(), MjpegCamera(SMALL)
    estimator = DepthEstimator(FakeSession())

    def hung() -> None:
        camera.hung.set()
        stale.wait(10)
        camera.hung.clear()

    hangs = threading.Timer(0.2, hung)
    hangs.start()
    with camera, source_of(camera, 5) as source:
        stats = run(source, estimator.step, [sink], stop=stop, stale_after_s=0.2)
    hangs.join()
    held = [one for one in sink.taken if one.stale]
    assert stats.held >= len(held) >= 1
    assert stats.frames_out == len(sink.taken) - len(held) + stats.sink_dropped
    before = sink.taken[sink.taken.index(held[0]) - 1]
    assert np.array_equal(held[0].depth, before.depth)
    assert held[0].frame.pts > before.frame.pts
    assert not held[0].reset
    assert not sink.taken[-1].stale


def test_stop_ends_a_run_whose_camera_is_away() -> None:
    """The camera never comes back, so that nothing else ends it."""
    camera = MjpegCamera(SMALL)
    stop, estimator = threading.Event(), DepthEstimator(FakeSession())

    def stepped(frame: Frame) -> DepthFrame:
        if not camera.ended.is_set():
            camera.close()
            threading.Timer(0.3, stop.set).start()
        return estimator.step(frame)

    with source_of(camera) as source:
        run(source, stepped, [ListSink()], stop=stop)
    assert stop.is_set()


def test_a_file_on_a_web_server_is_read_whole(tmp_path: Path) -> None:
    data = write_video(tmp_path / "clip.mp4", gray_levels(12), rotation=90).read_bytes()

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp4")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    try:
        with open_source(parse_source(f"http://127.0.0.1:{server.server_address[1]}/clip.mp4")) as source:
            frames = list(source)
            assert not source.info.live
            assert source.info.duration_s == pytest.approx(0.4, abs=0.05)
            assert (source.info.orientation, source.info.height, source.info.width) == (Orientation.turn(90), 64, 48)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
    assert [frame.index for frame in frames] == list(range(12))
    assert [float(frame.pts * frame.time_base) for frame in frames] == pytest.approx(
        [n / 30 for n in range(12)], abs=1e-4
    )


def test_motion_jpeg_over_https_whose_certificate_nobody_has_signed(tmp_path: Path) -> None:
    with MjpegCamera(SMALL, certificate=self_signed(tmp_path)) as camera:
        assert camera.url.startswith("https://")
        with pytest.raises(SourceError, match=r"certificate .#insecure behind the address accepts any"):
            open_source(parse_source(camera.url))
        with open_source(parse_source(f"{camera.url}#insecure")) as source:
            assert [(frame.height, frame.width) for frame, _ in zip(source, range(3), strict=False)] == [(48, 64)] * 3


def test_it_can_be_said_whom_to_trust(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    own, other = self_signed(tmp_path), self_signed(tmp_path / "other")
    with MjpegCamera(SMALL, certificate=own) as camera:
        with open_source(parse_source(camera.url), authorities=own) as source:
            assert next(iter(source)).height == 48
        with pytest.raises(SourceError, match="cannot be opened"):
            open_source(parse_source(camera.url), authorities=other)


def test_whom_to_trust_is_a_setting(tmp_path: Path) -> None:
    own = self_signed(tmp_path)
    environment = {"DEPTHCAST_HOME": str(tmp_path), "DEPTHCAST_CA_FILE": str(own)}
    settings = Settings.from_environment(environment)
    with MjpegCamera(SMALL, certificate=own) as camera:
        with opened_source(parse_source(camera.url), settings, print, HttpPorts()) as source:
            assert source.info.height == 48
        assert settings.authorities == own
    with pytest.raises(UsageError, match="DEPTHCAST_CA_FILE names a file, there is none at"):
        Settings.from_environment(environment | {"DEPTHCAST_CA_FILE": str(tmp_path / "none.pem")})


def test_a_camera_of_this_machine_is_asked_for_what_was_wished() -> None:
    uri = parse_source("camera:0?size=640x480&rate=30")
    assert isinstance(uri, CameraIn)
    assert address_of(uri, 5) == Address(
        "/dev/video0", "/dev/video0", (("video_size", "640x480"), ("framerate", "30")), "v4l2", 5
    )


@pytest.mark.parametrize("text", ["/dev/video93", "camera:93"])
def test_a_camera_that_is_not_there_is_refused_with_the_ones_that_are(text: str) -> None:
    with pytest.raises(SourceError, match="there is no camera /dev/video93: the ones of this machine are"):
        open_source(parse_source(text))


@pytest.mark.parametrize(("fragment", "transport"), [("", "tcp"), ("#udp", "udp")])
def test_ffmpeg_is_told_transport_and_time_limits(fragment: str, transport: str) -> None:
    uri = parse_source(f"rtsps://u:p@cam/x?y=1{fragment}")
    assert isinstance(uri, RtspIn)
    address = address_of(uri, 5)
    options = dict(address.options)
    assert address.url == "rtsps://u:p@cam/x?y=1"
    assert address.format == "rtsp"
    assert (options["rtsp_transport"], options["timeout"]) == (transport, "5000000")
    assert (options["probesize"], options["analyzeduration"]) == ("32", "0")
    assert "fflags" not in options
    assert "u:p" not in repr(address)


@pytest.mark.parametrize(
    ("text", "authorities", "verified"),
    [
        ("https://h/x", None, True),
        ("https://h/x", Path("own.pem"), True),
        ("https://h/x#insecure", Path("own.pem"), False),
        ("http://h/x", None, True),
        ("rtsps://h/x", None, False),
        ("rtsps://h/x", Path("own.pem"), True),
        ("rtsps://h/x#insecure", Path("own.pem"), False),
    ],
)
def test_who_is_verified(text: str, authorities: Path | None, verified: bool) -> None:
    """http:// too: a redirect or a playlist may lead to https://."""
    uri = parse_source(text)
    assert isinstance(uri, HttpIn | RtspIn)
    options = dict(address_of(uri, 5, authorities).options)
    assert options.get("tls_verify") == ("1" if verified else None)
    if verified and authorities is not None:
        assert options["ca_file"] == "own.pem"


def test_nothing_on_the_web_may_lead_to_a_file_of_this_machine() -> None:
    for uri in (HttpIn(Remote("https", "h", None, "/")), RtspIn(Remote("rtsp", "h", None, "/"))):
        allowed = dict(address_of(uri, 5).options)["protocol_whitelist"]
        assert "file" not in allowed.split(",")

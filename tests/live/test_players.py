"""Other people's players at our RTSP server, and our stream at somebody else's."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import pytest

from engines.spec import Unit
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.sinks import Sink
from stream.sinks.picture import Painter
from stream.sinks.publish import RtspPublishSink
from stream.sinks.rtsp import RtspServeSink
from stream.sources.paced import Paced
from stream.sources.synthetic import SyntheticSource
from stream.uris import Login, Remote, RtspPublish, RtspServe, Transport
from stream.webrtcuris import bracketed
from tests.conditions import until
from tests.fakes import FakeSession
from tests.live.conftest import program
from tests.live.gstreamer import GstServer, numbers_in

pytestmark = pytest.mark.usefixtures("no_thread_stays")

WIDTH = 160


@contextmanager
def playing(sink: Sink, source: Paced) -> Iterator[None]:
    stop, estimator = threading.Event(), DepthEstimator(FakeSession())
    running = threading.Thread(target=run, args=(source, estimator.step, [sink]), kwargs={"stop": stop})
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join()


@contextmanager
def served(login: Login | None = None, host: str = "127.0.0.1", path: str = "/depth") -> Iterator[str]:
    """The test scene beside its depth, at 30 frames a second; yields the address."""
    source = Paced(SyntheticSource(120, WIDTH, Fraction(30)))
    painter = Painter(source.info, side_by_side=True)
    sink = RtspServeSink(RtspServe(host, 0, path, login), source.info, painter, Unit.RELATIVE)
    with playing(sink, source):
        yield f"{bracketed(host)}:{sink.port}{path}"


def done(*words: str, within_s: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=within_s)


def follow_each_other(numbers: list[int | None]) -> bool:
    known = [number for number in numbers if number is not None]
    return len(known) == len(numbers) > 0 and known == sorted(set(known))


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffprobe_knows_the_stream(ffprobe: str, transport: str) -> None:
    with served() as place:
        wish = ("-v", "error", "-rtsp_transport", transport, "-show_streams", "-of", "json")
        found = done(ffprobe, *wish, f"rtsp://{place}")
    assert found.returncode == 0, found.stderr
    (stream,) = json.loads(found.stdout)["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 2 * WIDTH, 120)
    assert stream["color_space"] == "bt709"
    assert Fraction(stream["r_frame_rate"]) == 30


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ffmpeg_plays_without_a_complaint(tmp_path: Path, transport: str) -> None:
    ffmpeg = program("ffmpeg")
    with served() as place:
        wish = ("-v", "warning", "-rtsp_transport", transport, "-i", f"rtsp://{place}", "-frames:v", "40")
        found = done(ffmpeg, *wish, "-q:v", "2", "-pix_fmt", "yuvj420p", str(tmp_path / "%d.jpg"))
    assert found.returncode == 0, found.stderr
    assert not [line for line in found.stderr.splitlines() if "rtsp" in line or "h264" in line]
    # It fills up to a steady rate: a frame may be there twice, on a busy machine more often.
    seen = numbers_in(tmp_path, WIDTH)
    assert None not in seen
    assert seen == sorted(seen)  # type: ignore[type-var]
    assert len(set(seen)) > 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_gstreamer_plays(tmp_path: Path, gst_launch: str, transport: str, host: str) -> None:
    """Over IPv6 too, where it takes the family of its UDP ports from the description."""
    with served(host=host) as place:
        source = f"rtspsrc location=rtsp://{place} protocols={transport} latency=0"
        decoded = f"{source} ! rtph264depay ! avdec_h264 ! videoconvert ! identity eos-after=40"
        words = f"{decoded} ! jpegenc quality=95 ! multifilesink location={tmp_path}/%d.jpg"
        found = done(gst_launch, "-q", *words.split())
    assert found.returncode == 0, found.stderr
    seen = numbers_in(tmp_path, WIDTH)
    assert len(seen) > 30
    assert follow_each_other(seen)


@pytest.mark.parametrize("path", ["/t\xfcr", "/a b+c"])
def test_players_find_a_path_as_it_is_printed(ffprobe: str, gst_launch: str, path: str) -> None:
    with served(path=path) as place:
        assert done(ffprobe, "-v", "error", f"rtsp://{place}").returncode == 0
        rest = ("!", "rtph264depay", "!", "identity", "eos-after=5", "!", "fakesink")
        for spelling in (place, quote(place, "/:+")):
            assert done(gst_launch, "-q", "rtspsrc", f"location=rtsp://{spelling}", *rest).returncode == 0


def test_players_log_in(ffprobe: str, gst_launch: str) -> None:
    with served(Login("ann", "s3cret")) as place:
        assert done(ffprobe, "-v", "error", f"rtsp://ann:s3cret@{place}").returncode == 0
        assert "401" in done(ffprobe, "-v", "error", f"rtsp://ann:wrong@{place}").stderr
        rest = ("!", "rtph264depay", "!", "identity", "eos-after=5", "!", "fakesink")
        where = ("-q", "rtspsrc", f"location=rtsp://{place}", "protocols=tcp", "user-id=ann")
        assert done(gst_launch, *where, "user-pw=s3cret", *rest).returncode == 0
        assert done(gst_launch, *where, "user-pw=wrong", *rest).returncode != 0


@pytest.mark.parametrize("transport", list(Transport))
def test_another_server_takes_our_stream_and_again_after_it_was_killed(
    tmp_path: Path, gst_python: str, transport: Transport
) -> None:
    source = Paced(SyntheticSource(120, WIDTH, Fraction(30)))
    folders = [tmp_path / name for name in "ab"]
    servers: list[GstServer] = []

    def server(folder: Path, port: int = 0) -> GstServer:
        folder.mkdir()
        decoded = "rtph264depay name=depay0 ! avdec_h264 ! videoconvert"
        pipeline = f"( {decoded} ! jpegenc quality=95 ! multifilesink location={folder}/%d.jpg sync=false )"
        servers.append(GstServer(gst_python, pipeline, "--record", port=port))
        return servers[-1]

    try:
        port = server(folders[0]).port
        uri = RtspPublish(Remote("rtsp", "127.0.0.1", port, "/cam"), transport)
        painter = Painter(source.info, side_by_side=True)
        sink = RtspPublishSink(uri, source.info, painter, Unit.RELATIVE, 2.0, lambda closing, _: closing.wait(0.1))
        with playing(sink, source):
            until(lambda: len(list(folders[0].iterdir())) > 20, 30)
            servers[0].kill()
            server(folders[1], port)
            until(lambda: len(list(folders[1].iterdir())) > 20, 30)
            assert sink.connections >= 2
    finally:
        for one in servers:
            one.kill()
    for folder in folders:
        seen = numbers_in(folder, WIDTH)[:20]
        assert follow_each_other(seen)

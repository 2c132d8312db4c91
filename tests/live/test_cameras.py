"""GStreamer's RTSP server as the camera: seen, killed, hung, back with another codec; with a login and over TLS."""

from __future__ import annotations

import threading
from itertools import islice, pairwise
from pathlib import Path

import pytest

from stream.barcode import read
from stream.errors import SourceError
from stream.frame import Frame
from stream.preprocess import to_rgb
from stream.sources.choose import address_of, open_source
from stream.sources.live import LiveSource
from stream.uris import RtspIn, parse_source
from tests.certificates import self_signed
from tests.live.gstreamer import FRAMES, GstServer, looped, pictures

pytestmark = pytest.mark.usefixtures("no_thread_stays")

CODECS = ["h264", "h265", "mjpeg"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def source_of(url: str, timeout_s: float = 10.0) -> LiveSource:
    uri = parse_source(url)
    assert isinstance(uri, RtspIn)
    return LiveSource(address_of(uri, timeout_s), lambda closing, _: closing.wait(0.1))


def number_of(frame: Frame) -> int | None:
    return read(to_rgb(frame.picture, frame.height, frame.width))


def follow_each_other(numbers: list[int | None]) -> bool:
    """All could be read, and each is a little behind the one before; after the last picture comes the first."""
    known = [number for number in numbers if number is not None]
    return len(known) == len(numbers) and all(0 < (b - a) % FRAMES < FRAMES // 2 for a, b in pairwise(known))


@pytest.mark.parametrize("fragment", ["", "#udp"])
@pytest.mark.parametrize("codec", CODECS)
def test_a_real_camera_is_seen(folder: Path, gst_python: str, codec: str, fragment: str) -> None:
    with GstServer(gst_python, looped(pictures(folder), codec)) as camera, source_of(camera.url + fragment) as source:
        frames = list(islice(source, 40))
    assert {(frame.height, frame.width) for frame in frames} == {(240, 320)}
    assert follow_each_other([number_of(frame) for frame in frames])
    assert all(a.pts < b.pts for a, b in pairwise(frames))


@pytest.mark.parametrize("fragment", ["", "#udp"])
@pytest.mark.parametrize("codec", ["h265", "mjpeg"])
def test_a_camera_that_is_killed_and_returns_with_another_codec_and_size(
    folder: Path, gst_python: str, codec: str, fragment: str
) -> None:
    with GstServer(gst_python, looped(pictures(folder), "h264")) as camera:
        source = source_of(camera.url + fragment, timeout_s=2.0)
        frames = iter(source)
        before = list(islice(frames, 5))[-1]
    larger = looped(pictures(folder, (288, 384)), codec)
    with source, GstServer(gst_python, larger, port=camera.port):
        after = next(frame for frame in frames if frame.height == 288)
        rest = list(islice(frames, 10))
        assert source.reconnects >= 1
    assert after.pts > before.pts
    assert follow_each_other([number_of(frame) for frame in (after, *rest)])


@pytest.mark.parametrize("fragment", ["", "#udp"])
def test_a_camera_that_hangs_is_left_and_found_again(folder: Path, gst_python: str, fragment: str) -> None:
    with (
        GstServer(gst_python, looped(pictures(folder), "h264")) as camera,
        source_of(camera.url + fragment, timeout_s=1.0) as source,
    ):
        frames = iter(source)
        next(frames)
        camera.hang()
        woken = threading.Timer(2.5, camera.wake)
        woken.start()
        assert next(frame for frame in frames if source.reconnects)
        woken.join()


def test_a_camera_with_a_login(folder: Path, gst_python: str) -> None:
    pipeline = looped(pictures(folder), "h264")
    with GstServer(gst_python, pipeline, "--login", "ann:s e:cret") as camera:
        with source_of(camera.url.replace("//", "//ann:s%20e%3Acret@")) as source:
            assert follow_each_other([number_of(frame) for frame in islice(source, 3)])
        with pytest.raises(SourceError, match=r"rtsp://\*\*\*@127.0.0.1"):
            source_of(camera.url.replace("//", "//ann:wrong@"))


def test_a_camera_over_tls(folder: Path, gst_python: str, tmp_path: Path) -> None:
    """Most cameras sign their certificates themselves: it is checked where it is said whom to trust, only."""
    (tmp_path / "other").mkdir()
    own, other = self_signed(tmp_path), self_signed(tmp_path / "other")
    words = ["--certificate", str(own), "--login", "ann:secret"]
    with GstServer(gst_python, looped(pictures(folder), "h264"), *words) as camera:
        url = camera.url.replace("rtsp://", "rtsps://ann:secret@")
        with source_of(url) as source:
            assert follow_each_other([number_of(frame) for frame in islice(source, 10)])
        with pytest.raises(SourceError):
            source_of(url.replace("rtsps:", "rtsp:"), timeout_s=2)
        with open_source(parse_source(url), authorities=own) as source:
            assert next(iter(source)).height == 240
        with pytest.raises(SourceError):
            open_source(parse_source(url), authorities=other)

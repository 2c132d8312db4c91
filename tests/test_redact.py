"""Nothing that could be a secret is shown: in any of the ways that cameras and services write addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthcast.cli import status_of
from stream.errors import UriError
from stream.redact import redacted, redacted_url
from stream.uris import RtspIn, parse_source

SECRET = "S3cret"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:12345/S3cret@host/ch1", "rtsp://***@host/ch1"),
        ("rtsp://admin:pa?S3cret@host/ch1", "rtsp://***@host/ch1"),
        ("rtsp://admin:12#S3cret@host/ch1", "rtsp://***@host/ch1"),
        ("rtsp://admin:a@S3cret@host/ch1", "rtsp://***@host/ch1"),
        ("rtsp://admin:S3cret@host:554/ch0_0.h264#udp", "rtsp://***@host:554/ch0_0.h264#udp"),
        ("rtsp://host/user=admin&password=S3cret&channel=1&stream=0.sdp?real_stream", "rtsp://host/***?***"),
        ("rtsp://host:554/user=admin_password=S3cret_channel=1_stream=0.sdp", "rtsp://host:554/***"),
        ("rtsp://host/user%3Dadmin%26password%3DS3cret", "rtsp://host/***"),
        ("rtsp://host/0/admin:S3cret/main", "rtsp://host/0/***/main"),
        ("rtsp://host/admin/S3cret/ch1", "rtsp://host/admin/***/ch1"),
        ("rtsps://host:7441/s3tx8bIl2yDzBfhk?enableSrtp", "rtsps://host:7441/***?***"),
        ("http://host/cgi-bin/snapshot.cgi?loginuse=admin&loginpas=S3cret", "http://host/cgi-bin/snapshot.cgi?***"),
        ("whip://S3cret@host/live/whip", "whip://***@host/live/whip"),
        ("https://c.example/2f9d3a7be8c14f06/webRTC/publish", "https://c.example/***/webRTC/publish"),
        ("webrtc://S3cret@@:81/depth", "webrtc://***@:81/depth"),
        ("rtsp://admin:S3cret@[2001:db8::1]:554/x", "rtsp://***@[2001:db8::1]:554/x"),
        ("admin:S3cret@10.0.0.1/ch1", "***@10.0.0.1/ch1"),
        ("ftp://u:S3cret@host/x?y", "ftp://***@host/x?***"),
    ],
)
def test_what_could_be_a_secret_is_hidden(text: str, shown: str) -> None:
    assert redacted_url(text) == shown
    assert redacted_url(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://192.0.2.1/Streaming/Channels/101",
        "rtsp://192.0.2.1:554/h264Preview_01_main#udp",
        "rtsp://192.0.2.1/cam/realmonitor",
        "rtsp://192.0.2.1/axis-media/media.amp",
        "rtsp://@:8554/depth",
        "http://[2001:db8::1]:8080/video.mjpg",
        "https://host/videos/My%20holiday_2026-11-27.mp4",
        "https://hub.example/depth-anything/Video-Depth-Anything-Small/resolve/main/video_depth_anything_vits.pth",
        "depth/%06d.png",
        "/videos/a:b@c.mp4",
        "clip@2x.mp4",
    ],
)
def test_what_tells_streams_apart_stays(text: str) -> None:
    assert redacted_url(text) == text


def test_addresses_within_sentences_are_redacted_and_the_sentence_stays() -> None:
    said = "cannot open rtsp://u:S3cret@host/a, (see http://host/x?k=S3cret). Or write rtsp://@:8554/depth: it serves"
    assert redacted(said) == (
        "cannot open rtsp://***@host/a, (see http://host/x?***). Or write rtsp://@:8554/depth: it serves"
    )


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:12345/S3cret@host/ch1",
        "rtsp://admin:12345/a/S3cret@host/ch1",
        "rtsp://admin:1?S3cret@host/ch1",
        "rtsp://admin:1#S3cret@host/ch1",
        "rtsp://admin?S3cret@host/ch1",
        "http://admin:80/S3cret@host/video.mjpg",
        "rtsp://a:b@c/S3cret@host/ch1",
    ],
)
def test_a_login_that_ends_the_host_too_early_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(UriError, match="%2F %3F %23 %40") as refused:
        parse_source(text)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["http://host/@user/clip.mp4", "http://host:80/x.mp4?mail=a@b.example", "rtsp://u:p@[::1]:554/x"]
)
def test_an_at_sign_that_cannot_end_a_login_is_taken_as_it_is(text: str) -> None:
    parse_source(text)


def test_the_right_spelling_reaches_the_camera_whole() -> None:
    camera = parse_source("rtsp://admin:12345%2FS3cret@host/ch1")
    assert isinstance(camera, RtspIn)
    assert camera.remote.login is not None
    assert camera.remote.login.password == "12345/S3cret"
    assert SECRET not in repr(parse_source("rtsp://host/user=admin&password=S3cret"))


SPELLINGS = (
    "rtsp://admin:12345/S3cret@127.0.0.1:9/ch1",
    "rtsp://admin:S3cret@127.0.0.1:9/ch1",
    "rtsp://admin:S3cret@127.0.0.1:9/ch1#S3cret",
    "rtsp://127.0.0.1:9/user=admin&password=S3cret&channel=1&stream=0.sdp?",
    "rtsp://127.0.0.1:9/admin/S3cret/1",
    "http://127.0.0.1:9/video.cgi?user=admin&pwd=S3cret",
    "http://admin:S3cret@127.0.0.1:9/video.mjpg",
    "http://admin:S3cret@127.0.0.1:port/video.mjpg",
    "admin:S3cret@127.0.0.1/ch1",
    "rtsp:/admin:S3cret@127.0.0.1/ch1",
    "ftp://admin:S3cret@127.0.0.1/ch1",
)


@pytest.mark.parametrize("text", SPELLINGS)
def test_no_command_shows_a_secret_however_it_fails(
    text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    config = tmp_path / "streams.toml"
    config.write_text(f'[stream.a]\nsource = "{text}"\noutput = "null:"\n')
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(f'[stream.a]\nsource = ["{text}"]\noutput = "null:"\n')
    commands = (
        ["run", text, "-o", "null:"],
        ["run", "test:?frames=1&size=64x64", "-o", text],
        ["run", "test:", text, "-o", "null:"],
        ["run", "--config", str(wrong)],
        ["submit", text, "--service", "http://127.0.0.1:9"],
        ["pointcloud", text, "-o", str(tmp_path / "%06d.ply")],
    )
    statuses = [status_of(command) for command in commands]
    assert statuses[0] != 0
    said = capfd.readouterr()
    assert "depthcast: " in said.err
    assert SECRET not in said.out + said.err

"""The grammar of sources and outputs: every row of the table, refusals, and that nothing secret is shown."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from stream.dataouts import FoxgloveServe, RawServe, ZenohOut
from stream.errors import UriError
from stream.raw.header import Kind
from stream.uris import (
    CameraIn,
    FileIn,
    FileOut,
    HttpIn,
    Login,
    NullOut,
    Remote,
    RtspIn,
    RtspPublish,
    RtspServe,
    SinkUri,
    SourceUri,
    TestIn,
    Transport,
    parse_sink,
    parse_source,
)
from stream.uritable import SINKS, SOURCES, Row, table
from stream.webrtcuris import WebRtcIn, WebRtcServe, WhipPublish

ROOT = Path(__file__).parent.parent
CAMERA = Remote("rtsp", "192.0.2.1", None, "/stream1", "channel=1", Login("user", "secret"))
SOURCE_EXAMPLES: dict[str, SourceUri] = {
    "street.mp4": FileIn(Path("street.mp4")),
    "-": FileIn(Path("/dev/stdin")),
    "file:///videos/street.mp4?loop=1&realtime=1": FileIn(Path("/videos/street.mp4"), loop=True, realtime=True),
    "rtsp://user:secret@192.0.2.1/stream1?channel=1": RtspIn(CAMERA),
    "rtsp://192.0.2.1/stream1#udp": RtspIn(Remote("rtsp", "192.0.2.1", None, "/stream1"), Transport.UDP),
    "rtsps://192.0.2.1:322/stream1": RtspIn(Remote("rtsps", "192.0.2.1", 322, "/stream1")),
    "http://192.0.2.1:8080/video.mjpg": HttpIn(Remote("http", "192.0.2.1", 8080, "/video.mjpg")),
    "https://192.0.2.1/video.mjpg#insecure": HttpIn(Remote("https", "192.0.2.1", None, "/video.mjpg"), insecure=True),
    "/dev/video0": CameraIn("/dev/video0"),
    "camera:0?size=640x480&rate=30": CameraIn("/dev/video0", (480, 640), Fraction(30)),
    "whip://@:8080/camera": WebRtcIn("", 8080, "camera"),
    "test:?size=320x240&rate=15&frames=100": TestIn((240, 320), Fraction(15), 100),
}
SINK_EXAMPLES: dict[str, SinkUri] = {
    "depth.mp4": FileOut(Path("depth.mp4")),
    "depth.mkv": FileOut(Path("depth.mkv")),
    "depth.npz": FileOut(Path("depth.npz")),
    "rtsp://192.0.2.1:8554/depth": RtspPublish(Remote("rtsp", "192.0.2.1", 8554, "/depth")),
    "rtsp://@:8554/depth": RtspServe("", 8554, "/depth"),
    "webrtc://@:8080/depth": WebRtcServe("", 8080, "depth"),
    "whip://192.0.2.1:8889/depth/whip": WhipPublish(
        "http://192.0.2.1:8889/depth/whip", "whip://192.0.2.1:8889/depth/whip"
    ),
    "null:": NullOut(),
    "depth/%06d.png": FileOut(Path("depth/%06d.png")),
    "clouds/%06d.ply": FileOut(Path("clouds/%06d.ply")),
    "depth.mcap": FileOut(Path("depth.mcap")),
    "depth.ros2.mcap": FileOut(Path("depth.ros2.mcap")),
    "ws://@:8080/raw?values=float16": RawServe("", 8080, "/raw", Kind.FLOAT16),
    "foxglove://@:8765": FoxgloveServe("", 8765),
    "zenoh:robot/depth?connect=tcp/192.0.2.1:7447": ZenohOut("robot/depth", connect="tcp/192.0.2.1:7447"),
}


@pytest.mark.parametrize("row", SOURCES, ids=lambda row: row.form)
def test_every_source_of_the_table_means_what_it_says(row: Row) -> None:
    example = row.example
    assert parse_source(example) == SOURCE_EXAMPLES[example]


@pytest.mark.parametrize("row", SINKS, ids=lambda row: row.form)
def test_every_sink_of_the_table_means_what_it_says(row: Row) -> None:
    example = row.example
    assert parse_sink(example) == SINK_EXAMPLES[example]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("test:", TestIn()),
        ("test:?realtime=0", TestIn(realtime=False)),
        ("camera:12", CameraIn("/dev/video12")),
        ("/dev/video3", CameraIn("/dev/video3")),
        ("a:b.mp4", FileIn(Path("a:b.mp4"))),
        ("file:///with%20space.mp4", FileIn(Path("/with space.mp4"))),
        ("file:name.mp4", FileIn(Path("name.mp4"))),
        ("RTSP://Cam/x", RtspIn(Remote("rtsp", "cam", None, "/x"))),
        ("rtsp://[2001:db8::1]:554/x", RtspIn(Remote("rtsp", "2001:db8::1", 554, "/x"))),
        ("webrtc://secret@@[::1]:81/c", WebRtcIn("::1", 81, "c", "secret")),
        ("webrtc://@/c", WebRtcIn("", 8080, "c")),
        ("rtsp://cam", RtspIn(Remote("rtsp", "cam", None, "/"))),
        ("rtsps://cam/x#udp,insecure", RtspIn(Remote("rtsps", "cam", None, "/x"), Transport.UDP, insecure=True)),
    ],
)
def test_sources_beyond_the_table(text: str, meant: SourceUri) -> None:
    assert parse_source(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("rtsp://@127.0.0.1:0/d", RtspServe("127.0.0.1", 0, "/d")),
        ("rtsp://@/d", RtspServe("", 8554, "/d")),
        ("rtsp://u:p%40@@127.0.0.1:8554/d", RtspServe("127.0.0.1", 8554, "/d", Login("u", "p@"))),
        ("rtsp://u:p@:8554/d", RtspServe("", 8554, "/d", Login("u", "p"))),
        ("rtsp://@[::1]:8554/d", RtspServe("::1", 8554, "/d")),
        ("rtsp://u:p@host/d#udp", RtspPublish(Remote("rtsp", "host", None, "/d", "", Login("u", "p")), Transport.UDP)),
        ("webrtc://@127.0.0.1:0/d.1", WebRtcServe("127.0.0.1", 0, "d.1")),
        ("webrtc://@/d", WebRtcServe("", 8080, "d")),
        ("webrtc://t%40ken@@[::1]:81/d", WebRtcServe("::1", 81, "d", "t@ken")),
        ("webrtc://token@:81/d", WebRtcServe("", 81, "d", "token")),
        ("whips://t%2F@cam/x?y=1", WhipPublish("https://cam/x?y=1", "whips://***@cam/x?***", "t/")),
        ("whip://cam", WhipPublish("http://cam/", "whip://cam/")),
        ("file:///tmp/a.mkv", FileOut(Path("/tmp/a.mkv"))),
        ("ws://@127.0.0.1:0/raw", RawServe("127.0.0.1", 0, "/raw")),
        ("ws://@[::1]:80/a/b?values=float32", RawServe("::1", 80, "/a/b", Kind.FLOAT32)),
        ("ws://t%40ken@@:80/raw", RawServe("", 80, "/raw", token="t@ken")),
        ("foxglove://@", FoxgloveServe("", 8765)),
        ("zenoh:a?values=float32&listen=tcp/127.0.0.1:7447", ZenohOut("a", Kind.FLOAT32, None, "tcp/127.0.0.1:7447")),
        ("a%d.exr", FileOut(Path("a%d.exr"))),
    ],
)
def test_sinks_beyond_the_table(text: str, meant: SinkUri) -> None:
    assert parse_sink(text) == meant


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "the sources are"),
        ("ftp://host/x", "the sources are"),
        ("null:", "the sources are"),
        ("rtsp://", "names no host"),
        ("rtsp://host:99999/x", "no address"),
        ("rtsp://host/x#carrier-pigeon", "#tcp, #udp, #insecure"),
        ("https://host/x#udp", "#insecure"),
        ("camera:front", "write camera:0"),
        ("camera:0?size=big", "WIDTHxHEIGHT"),
        ("test:?rate=0", "frames per second"),
        ("test:?frames=0", "from 1 on"),
        ("test:?colour=red", "no option 'colour'"),
        ("test:scene", "has no name"),
        ("file://host/x.mp4", "this machine"),
        ("file://", "names no file"),
        ("file:///x.mp4?loop=perhaps", "0 or 1"),
        (f"rtsp://{'a' * 64}/x", "1 to 63 letters"),
        ("http://a..b/x", "1 to 63 letters"),
        ("whip://host:81/c", "an @ before its address"),
        ("webrtc://@:81/", "needs a name"),
        ("whip://@:81/c?size=3", "takes no options"),
    ],
)
def test_a_source_that_means_nothing_is_refused_with_advice(text: str, hint: str) -> None:
    with pytest.raises(UriError, match=hint):
        parse_source(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "the outputs are"),
        ("https://host/x", "the outputs are"),
        ("depth.avi", "suffix must be one of .mp4, .mkv, .npz"),
        ("rtsp://@:8554", "needs a name"),
        ("rtsps://@:8554/d", "TLS proxy"),
        ("rtsp://@:8554/d?x=1", "takes no options"),
        ("file:///x.mp4?loop=1", "no options here"),
        ("ws://host:80/raw", "is served here"),
        ("foxglove://token@:80", "no login"),
        ("ws://@:80", "port and a name"),
        ("ws://@/raw", "port and a name"),
        ("ws://@:80/raw?values=int8", "uint16, float16, float32"),
        ("foxglove://host", "is served here"),
        ("zenoh:", "needs a key"),
        ("depth.png", "number them"),
        ("a%d%d.ply", "number them"),
        ("%s.pcd", "number them"),
        ("webrtc://host:81/d", "an @ before its address"),
        ("whip://", "names no host"),
        (f"whip://{'a' * 64}/x", "1 to 63 letters"),
        (f"rtsp://{'a' * 64}/x", "1 to 63 letters"),
        (f"rtsp://@{'a' * 64}:8554/x", "1 to 63 letters"),
        ("whip://@:81/x", "write webrtc://@"),
        ("whip://t@@host:81/x", "write webrtc://@"),
        ("webrtc://@:81/", "needs a name"),
        ("webrtc://@:81/a/b", "needs a name"),
        ("webrtc://@:81/d?viewers=3", "settings"),
    ],
)
def test_a_sink_that_means_nothing_is_refused_with_advice(text: str, hint: str) -> None:
    with pytest.raises(UriError, match=hint):
        parse_sink(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("rtsp://host/t\xfcr/a b", "rtsp://host/t%C3%BCr/a%20b"),
        ("rtsp://host/t%C3%BCr?a=\xfc&b=c+d", "rtsp://host/t%C3%BCr?a=%C3%BC&b=c+d"),
        ("http://host/a%2Fb/50%/x=1;y,(z)!", "http://host/a%2Fb/50%/x=1;y,(z)!"),
    ],
)
def test_what_is_asked_of_others_is_percent_encoded(text: str, url: str) -> None:
    source = parse_source(text)
    assert isinstance(source, RtspIn | HttpIn)
    assert source.remote.url == url


def test_credentials_and_queries_are_never_shown_but_kept() -> None:
    camera = parse_source("rtsp://user:s3cret%2F@cam:554/x?token=t0ken")
    served = parse_sink("rtsp://user:s3cret@:8554/d")
    viewed = parse_sink("webrtc://s3cret@:8080/d")
    brought = parse_sink("whip://s3cret@host/d?key=t0ken")
    for shown in map(str, (camera, served, viewed, brought, [camera, served, viewed, brought])):
        assert "s3cret" not in shown
        assert "t0ken" not in shown
    assert str(camera) == "rtsp://***@cam:554/x?***"
    assert isinstance(camera, RtspIn)
    assert camera.remote.url == "rtsp://user:s3cret%2F@cam:554/x?token=t0ken"


@pytest.mark.parametrize("text", ["ftp://user:s3cret@host/x?token=s3cret", "rtsp://user:s3cret@host:bad/x?k=s3cret"])
def test_refusals_show_no_credentials(text: str) -> None:
    with pytest.raises(UriError) as refused:
        parse_source(text)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("rows", [SOURCES, SINKS])
def test_the_readme_has_the_table(rows: tuple[Row, ...]) -> None:
    assert table(rows) in (ROOT / "README.md").read_text()

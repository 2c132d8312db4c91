"""Files that somebody will send: damaged, mislabelled, boasting, or no videos at all. Each function writes one."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.tiny import make_clip, make_sound
from tests.videos import gray_levels, write_video

Odd = Callable[[Path], Path]
SECRET = "secret.mp4"
"""A file beside the odd one, for playlists to reach for."""


def _written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _clip(folder: Path, name: str = "whole.mp4", frames: int = 6, rate: int = 24) -> bytes:
    return make_clip(folder / name, frames, rate=rate).read_bytes()


def _streamable(folder: Path, frames: int = 40) -> bytes:
    """An MP4 whose index comes first."""
    with av.open(folder / "fast.mp4", "w", options={"movflags": "faststart"}) as container:
        video = container.add_stream("libx264", 24, options={"g": "4"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for image in gray_levels(frames):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(video.encode(None))
    return (folder / "fast.mp4").read_bytes()


def _cut(content: bytes, share: float) -> bytes:
    return content[: int(len(content) * share)]


def _flipped(content: bytes, seed: int, share: float = 0.01) -> bytes:
    """Some bytes replaced, the first 32 not, so that the format is still recognised."""
    random = np.random.default_rng(seed)
    data = np.frombuffer(content, np.uint8).copy()
    places = random.integers(32, len(data), max(1, int(len(data) * share)))
    data[places] = random.integers(0, 256, len(places))
    return data.tobytes()


def _patched(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new)


def _png(width: int, height: int) -> bytes:
    """One bit a pixel, all black: a gigapixel in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeezed = zlib.compressobj(9)
    row = b"\0" * ((width + 7) // 8 + 1)
    pixels = b"".join(squeezed.compress(row) for _ in range(height)) + squeezed.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _boasting(folder: Path) -> bytes:
    """An MP4 whose index says 65535x65535 where its pictures are 64x48."""
    size, huge = struct.pack(">HH", 64, 48), struct.pack(">HH", 65535, 65535)
    content = _patched(_clip(folder), size + b"\0\x48", huge + b"\0\x48")
    return _patched(content, struct.pack(">II", 64 << 16, 48 << 16), struct.pack(">II", 65535 << 16, 65535 << 16))


def _rated(path: Path, rate: int, frames: int = 8) -> Path:
    """Frames that follow each other this fast, the last one no slower."""
    return _timed(path, *range(frames), time_base=Fraction(1, rate), lasting=1)


def _timed(path: Path, *pts: int, time_base: Fraction = Fraction(1, 1000), lasting: int = 0) -> Path:
    """Frames muxed as they are, so that their times may be anything."""
    with av.open(path, "w", options={"avoid_negative_ts": "disabled"}) as container:
        stream = container.add_stream("mjpeg", 25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        stream.time_base = time_base
        for index, image in enumerate(gray_levels(len(pts))):
            (packet,) = stream.encode(av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuvj420p"))
            packet.time_base, packet.pts, packet.dts = time_base, pts[index], pts[index]
            packet.duration = lasting
            container.mux(packet)
    return path


def _avi_of_rate(folder: Path, rate: int, scale: int) -> bytes:
    """An AVI whose stream header claims rate/scale frames a second."""
    content = bytearray(
        write_video(folder / "a.avi", gray_levels(6), codec="mjpeg", pixel_format="yuvj420p").read_bytes()
    )
    place = content.index(b"strh") + 8 + 20
    content[place : place + 8] = struct.pack("<II", scale, rate)
    return bytes(content)


def _changing(folder: Path) -> bytes:
    """A stream whose size changes in the middle, three times."""
    sizes = ((48, 64), (96, 128), (240, 320), (16, 16))
    clips = [write_video(folder / f"{h}.ts", gray_levels(3, h, w)).read_bytes() for h, w in sizes]
    return b"".join(clips)


def _zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.mp4", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("v.mp4", bytes(10_000_000))
    return folder / "a.mp4"


def _cover(folder: Path) -> Path:
    """A song with a picture: no video, though FFmpeg shows one."""
    with av.open(folder / "a.mp3", "w") as container:
        sound, picture = container.add_stream("libmp3lame", 44100), container.add_stream("png", 1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        tone = av.AudioFrame.from_ndarray(np.zeros((2, 4410), np.float32), "fltp", "stereo")
        tone.sample_rate = 44100
        for packet in picture.encode(av.VideoFrame.from_ndarray(gray_levels(1)[0], "rgb24")):
            packet.stream = picture
            container.mux(packet)
        container.mux([*sound.encode(tone), *sound.encode(None)])
    return folder / "a.mp3"


def _dash(folder: Path) -> str:
    _clip(folder, SECRET)
    return (
        '\n<!-- --><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S" '
        'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet mimeType="video/mp4">'
        f'<Representation id="1" bandwidth="1"><BaseURL>{SECRET}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    )


def _hls(folder: Path) -> str:
    _clip(folder, SECRET)
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{SECRET}\n#EXTINF:1,\nhttp://127.0.0.1:1/x.ts\n"


def _concat(folder: Path) -> str:
    _clip(folder, SECRET)
    return f"ffconcat version 1.0\nfile {SECRET}\nfile /etc/passwd\n"


_SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'
_WEB_PAGE = "<!DOCTYPE html><html><body>403 Forbidden</body></html>"

REFUSED: dict[str, Odd] = {
    "empty": lambda at: _written(at / "a.mp4", b""),
    "one byte": lambda at: _written(at / "a.mp4", b"\0"),
    "text": lambda at: _written(at / "a.mp4", "some words\n" * 300),
    "web page": lambda at: _written(at / "a.mp4", _WEB_PAGE),
    "JSON": lambda at: _written(at / "a.mp4", '{"error": "gone"}'),
    "random bytes": lambda at: _written(at / "a.mp4", np.random.default_rng(0).bytes(50_000)),
    "zeros": lambda at: _written(at / "a.mp4", bytes(50_000)),
    "head of an MP4 before random bytes": lambda at: _written(
        at / "a.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + np.random.default_rng(1).bytes(50_000)
    ),
    "ZIP archive": _zip,
    "sound alone": lambda at: make_sound(at / "a.m4a"),
    "song with a cover": _cover,
    "MP4 without its index": lambda at: _written(at / "a.mp4", _cut(_clip(at), 0.5)),
    "MP4 cut in its index": lambda at: _written(at / "a.mp4", _cut(_streamable(at), 0.1)),
    "unknown codec": lambda at: _written(at / "a.mp4", _patched(_clip(at), b"avc1", b"zzz9")),
    "HLS playlist": lambda at: _written(at / "a.mp4", _hls(at)),
    "HLS playlist after a mark": lambda at: _written(at / "a.mp4", "\ufeff" + _hls(at)),
    "concat list": lambda at: _written(at / "a.mp4", _concat(at)),
    "DASH manifest": lambda at: _written(at / "a.mp4", _dash(at)),
    "SDP": lambda at: _written(at / "a.sdp", _SDP),
    "SVG that reaches out": lambda at: _written(at / "a.svg", _SVG),
    "gigapixel PNG": lambda at: _written(at / "a.png", _png(33_000, 33_000)),
    "PNG of 256 megapixels": lambda at: _written(at / "a.mp4", _png(16_000, 16_000)),
    "10,000 frames a second": lambda at: _rated(at / "a.mp4", 10_000),
    "a million frames a second": lambda at: _rated(at / "a.mp4", 1_000_000),
}
"""Refused by the service, with a sentence."""

TAKEN: dict[str, Odd] = {
    "MP4 named as text": lambda at: _written(at / "a.txt", _clip(at)),
    "Matroska named as MP4": lambda at: _written(at / "a.mp4", _clip(at, "b.mkv")),
    "PNG named as MP4": lambda at: _written(at / "a.mp4", _png(64, 48)),
    "no name at all": lambda at: _written(at / "a", _clip(at)),
    "streamed MP4 cut in half": lambda at: _written(at / "a.mp4", _cut(_streamable(at), 0.7)),
    "Matroska cut in half": lambda at: _written(at / "a.mkv", _cut(_clip(at, "b.mkv", 40), 0.6)),
    "transport stream cut in half": lambda at: _written(at / "a.ts", _cut(_clip(at, "b.ts", 40), 0.6)),
    "500 frames a second": lambda at: _rated(at / "a.mp4", 500),
    "a frame in 100 s": lambda at: _timed(at / "a.mkv", 0, 100_000, 200_000),
    "MP4 that claims 65535x65535": lambda at: _written(at / "a.mp4", _boasting(at)),
    "AVI of 0 frames a second over 0": lambda at: _written(at / "a.avi", _avi_of_rate(at, 0, 0)),
    "one frame": lambda at: make_clip(at / "a.mkv", 1),
    "times below zero": lambda at: _timed(at / "a.mkv", -500, -460, -420, -380),
    "size that changes": lambda at: _written(at / "a.ts", _changing(at)),
    "one pixel": lambda at: write_video(at / "a.mkv", gray_levels(2, 1, 1), codec="ffv1", pixel_format="gray"),
    "ten bits": lambda at: write_video(at / "a.mkv", gray_levels(2), codec="ffv1", pixel_format="yuv444p10le"),
    "see-through": lambda at: write_video(at / "a.mkv", gray_levels(2), codec="ffv1", pixel_format="bgra"),
    "animated GIF": lambda at: write_video(at / "a.gif", gray_levels(3), codec="gif", pixel_format="rgb8"),
    "turned by 37 degrees": lambda at: write_video(at / "a.mp4", gray_levels(2), rotation=37),
}
"""Taken, and depth comes of it."""


EITHER: dict[str, Odd] = {
    "tall and narrow": lambda at: write_video(at / "a.mkv", gray_levels(2, 8192, 2)),
    "wide and flat": lambda at: write_video(at / "a.mkv", gray_levels(2, 2, 8192)),
    "a frame after ten years": lambda at: _timed(at / "a.mkv", 0, 40, 315_360_000_000),
    "times below zero in MOV": lambda at: _timed(at / "a.mov", -500, -460, -420),
    "times that leap": lambda at: _timed(at / "a.mkv", 0, 40, 4_000_000_000, 4_000_000_040),
    "a tenth of an MP4": lambda at: _written(at / "a.mp4", _cut(_streamable(at), 0.3)),
}
"""One or the other, which depends on the network, on the version of FFmpeg and on what is asked for."""


def damaged(folder: Path, suffix: str, seed: int) -> Path:
    """A clip with about one byte in a hundred changed: anything may come of it."""
    return _written(folder / f"a{suffix}", _flipped(_clip(folder, f"b{suffix}", frames=12), seed))

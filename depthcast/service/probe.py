"""What a file really is, whatever its name and its sender say, and whether it is small enough to be worked on."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import av

from depthcast.errors import DepthcastError
from stream.errors import SourceError
from stream.sources import SourceInfo
from stream.sources.file import FileSource

_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,av1,obu,ivf,flv,asf,ogg,mxf,nut,dv,rm,yuv4mpegpipe,"
    "gif,apng,bmp_pipe,jpeg_pipe,png_pipe,tiff_pipe,webp_pipe"
)
"""Formats of FFmpeg that hold pictures themselves; none of them leads to another file or address."""
_OPENING_S = 20.0
_HEAD = 1024
_OTHERS = {
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<?xml": "an XML document or a playlist",
    b"<mpd": "a playlist",
    b"#extm3u": "a playlist",
    b"ffconcat": "a playlist",
    b"[playlist]": "a playlist",
    b"{": "a JSON document",
    b"%pdf": "a PDF document",
    b"pk\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "compressed with gzip",
    b"\xfd7zxz": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"7z\xbc\xaf": "a 7z archive",
    b"rar!": "a RAR archive",
    b"\x7felf": "a program",
}
"""First bytes, in lower case, of what is sent by mistake most."""


class ProbeError(DepthcastError):
    """A file that is no video, or one too large to be worked on."""


@dataclass(frozen=True, slots=True)
class ProbeLimits:
    """The largest video that is worked on.

    max_pixels: of one frame. max_frames, max_duration_s: of what is asked for.
    """

    max_pixels: int = 8192 * 4320
    max_side: int = 16384
    max_frames: int = 100_000
    max_duration_s: float = 3600.0
    max_rate: int = 1000


def probe(path: Path, limits: ProbeLimits, wanted_frames: int | None = None) -> SourceInfo:
    """Read the head of a file and decode its first frame.

    wanted_frames: so many frames were asked for; the rest of the file does not count.
    Raises ProbeError with a sentence for whoever sent the file; of its path it says the name alone.
    """
    _check_head(path)
    _check_size(*_claimed_size(path, limits), limits)
    try:
        with FileSource(path, wanted_frames) as source:
            info = source.info
    except SourceError as error:
        raise ProbeError(str(error).replace(str(path), path.name)) from error
    _check_size(info.height, info.width, limits)
    _check_length(info, limits)
    return info


def _check_head(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head:
        raise ProbeError("the video is empty (0 bytes)")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for first, what in _OTHERS.items():
        if start.startswith(first):
            raise ProbeError(f"this is {what}, not a video; name or send the video file itself")


def _claimed_size(path: Path, limits: ProbeLimits) -> tuple[int, int]:
    """Height and width before anything is decoded; zero where only decoding tells."""
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, "max_pixels": str(limits.max_pixels)}
    try:
        with av.open(f"file:{path}", options=options, metadata_errors="replace", timeout=_OPENING_S) as container:
            sizes = [(s.height, s.width) for s in container.streams.video if s.codec_context is not None]
            return max(sizes, key=prod, default=(0, 0))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ProbeError(
            "this is not a video that can be read here, or it is damaged or cut short; MP4 with H.264 always works"
        ) from error


def _check_size(height: int, width: int, limits: ProbeLimits) -> None:
    if height * width > limits.max_pixels or max(height, width) > limits.max_side:
        raise ProbeError(
            f"the video has {width}x{height} pixels a frame; at most {limits.max_pixels / 1e6:.0f} million, and "
            f"{limits.max_side} a side, are taken here: scale it down"
        )


def _check_length(info: SourceInfo, limits: ProbeLimits) -> None:
    if info.rate is not None and info.rate > limits.max_rate:
        raise ProbeError(
            f"the video has {float(info.rate):,.0f} frames a second; at most {limits.max_rate:,} are taken here: "
            "write it with fewer"
        )
    if info.frames is not None and info.frames > limits.max_frames:
        raise ProbeError(f"the video has {info.frames:,} frames; at most {limits.max_frames:,} are taken here: cut it")
    if info.duration_s is not None and info.duration_s > limits.max_duration_s:
        raise ProbeError(
            f"the video is {info.duration_s:,.0f} s long; at most {limits.max_duration_s:,.0f} s are taken here: cut it"
        )

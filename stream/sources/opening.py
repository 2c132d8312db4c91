"""Opens a file or a pipe as a video, or says in a sentence why it is none."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import IO, Any

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from stream.errors import SourceError
from stream.redact import redacted_url
from stream.sources.pipe import Pipe, is_pipe, name_of
from stream.sources.tiles import Grid, read_grid

_LOG = logging.getLogger(__name__)
_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
"""FFmpeg draws any text as a video; nobody who passes a text file means that."""
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
"""First bytes of files that only name other files or addresses, and may keep their reader waiting for more."""
_REFERRING = frozenset({"concat", "dash", "hls", "imf", "lavfi", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest"})
"""Formats that are read from other files or addresses than the one that was named."""
_MOST_PIXELS = 1 << 27
"""Of one frame, 16K: what a file claims beyond that is believed to be a mistake, and no memory is taken for it."""
_HEAD = 4096
"""Bytes to look at before FFmpeg does."""
_ANIMATED = 2
"""Of the flags in the head of an extended WebP."""
_READ_AS_A_WHOLE = (b"II*\0", b"MM\0*", b"v/1\x01", b"8BPS", b"\x01\xda", b"Y\xa6j\x95")
"""First bytes of stills (TIFF, EXR, PSD, SGI, Sun) that FFmpeg reads in parts where it does not know their size."""
_BEFORE_THE_INDEX = frozenset({b"ftyp", b"free", b"skip", b"wide", b"pdin", b"uuid"})
_PICTURES = b"mdat"
_STILLS = b"meta"
_MOST_BEFORE_THE_INDEX = 1 << 22
"""Bytes that are looked at for it."""
_NEEDS_SEEKING = (
    "has its index (moov) where a pipe cannot go back to it; give the file itself, or write it with "
    "`-movflags +faststart` or as Matroska"
)


def opened(path: Path) -> tuple[InputContainer, Pipe | None]:
    """Its container, and the pipe where it is one. Raises SourceError."""
    name = name_of(path)
    try:
        pipe = Pipe(path) if is_pipe(path) else None
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}") from error
    if path.is_dir():
        raise SourceError(f"{path} is a folder; name one video file")
    try:
        head = _head_of(path) if pipe is None else pipe.head(_HEAD)
        return _container_of(path, pipe, head), pipe
    except BaseException:
        if pipe is not None:
            pipe.close()
        raise


def _container_of(path: Path, pipe: Pipe | None, head: bytes) -> InputContainer:
    name = name_of(path)
    if not head:
        raise SourceError(f"{name} is empty (0 bytes)")
    if head.startswith(_PLAYLISTS):
        raise SourceError(f"{name} is a playlist, not a video; name the video itself")
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) > 20 and head[20] & _ANIMATED:
        raise SourceError(f"{name} is an animated WebP, which FFmpeg cannot decode: convert it to a GIF, PNG or video")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(av.formats_available - _REFERRING),
        "max_pixels": str(_MOST_PIXELS),
    }
    file: Any = f"file:{path}" if pipe is None else pipe
    if pipe is not None and (head.startswith(_READ_AS_A_WHOLE) or _needs_seeking(pipe)):
        file = _kept(pipe)
    try:
        container: InputContainer = av.open(file, options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        if pipe is not None:
            pipe.check()
        if head[4:8] == b"ftyp":
            raise SourceError(f"{name} is cut short: its index (moov) is missing; copy or record it again") from error
        raise SourceError(f"{name} is not a video, or in no format that can be read here") from error
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise SourceError(f"{name} is a text file, not a video")
    return container


def _kept(pipe: Pipe) -> IO[bytes]:
    """All that comes through, in a temporary file."""
    _LOG.info("%s cannot be read from its start on: it is kept in a temporary file first", pipe.name)
    try:
        return pipe.keep()
    except OSError as error:
        folder = tempfile.gettempdir()
        raise SourceError(f"{pipe.name} {_NEEDS_SEEKING}: it cannot be kept in {folder}: {error.strerror}") from error


def _head_of(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except FileNotFoundError:
        # The system's own message has the path in full, and a camera's address may have been taken for one.
        raise SourceError(f"no such file: {redacted_url(str(path))}") from None
    except OSError as error:
        raise SourceError(f"{redacted_url(str(path))} cannot be read: {error.strerror}") from None


def _needs_seeking(pipe: Pipe) -> bool:
    """It is an MP4 or a QuickTime file whose pictures come before what says where they are, or a still like HEIF."""
    place = 0
    while place < _MOST_BEFORE_THE_INDEX:
        head = pipe.head(place + 8)[place:]
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (_PICTURES, _STILLS):
            return True
        if kind not in _BEFORE_THE_INDEX or size < 8:
            return False
        place += size
    return False


def nothing_in(name: str, container: InputContainer, pipe: Pipe | None) -> str:
    """Why no frame can be decoded."""
    if pipe is not None and "mp4" in container.format.name:
        return f"{name} {_NEEDS_SEEKING}"
    return f"no frame of {name} can be decoded: the file is damaged or empty; encode it again"


def main_track(container: InputContainer) -> VideoStream | None:
    """The track of pictures that FFmpeg takes for the main one; a cover beside sound is none."""
    pictures = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    return best if isinstance(best, VideoStream) and best in pictures else next(iter(pictures), None)


def is_tile(video: VideoStream) -> bool:
    """Its pictures are parts of a still."""
    return bool(video.disposition & Disposition.dependent)


def video_of(container: InputContainer, name: str) -> VideoStream:
    """The track of pictures to read. Raises SourceError."""
    video = main_track(container)
    if video is None:
        what = "sound only" if container.streams.audio else "no pictures"
        raise SourceError(f"{name} is not a video: it holds {what}")
    if video.codec_context is None:
        raise SourceError(f"{name} is in a codec that cannot be decoded here; convert it to H.264, or a still to PNG")
    if video.height * video.width > _MOST_PIXELS:
        raise SourceError(
            f"{name} has {video.width}x{video.height} pixels a frame, more than can be used; scale it down"
        )
    video.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
    video.thread_type = "AUTO"
    return video


def _grid_in(path: Path, pipe: Pipe | None) -> Grid | None:
    if pipe is None:
        with path.open("rb") as file:
            return read_grid(file)
    if pipe.kept is None:
        return None
    # FFmpeg reads the same file, and goes on where it was.
    place = pipe.kept.seek(0, os.SEEK_CUR)
    pipe.kept.seek(0)
    try:
        return read_grid(pipe.kept)
    finally:
        pipe.kept.seek(place)


def grid_of(video: VideoStream, container: InputContainer, path: Path, pipe: Pipe | None) -> Grid:
    """The grid whose tile this track is. Raises SourceError."""
    grid = _grid_in(path, pipe)
    tracks = {track.id for track in container.streams.video if track.codec_context is not None}
    if grid is None or not tracks.issuperset(grid.tiles) or grid.height * grid.width > _MOST_PIXELS:
        raise SourceError(
            f"{name_of(path)} is a still in tiles of {video.width}x{video.height} that cannot be put together here: "
            "convert it to PNG or JPEG"
        )
    return grid

"""A video file, or an image as a clip of one frame, in any format FFmpeg reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from engines.closing import Closing
from stream.errors import SourceError
from stream.frame import Frame
from stream.redact import redacted_url
from stream.sources import SourceInfo
from stream.sources.thin import Thinner
from stream.sources.upright import Upright

_TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})
"""FFmpeg draws any text as a video; nobody who passes a text file means that."""
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
"""First bytes of files that only name other files or addresses, and may keep their reader waiting for more."""
_REFERRING = frozenset({"concat", "dash", "hls", "imf", "lavfi", "rtsp", "sap", "sdp", "vobsub", "webm_dash_manifest"})
"""Formats that are read from other files or addresses than the one that was named."""
_MOST_PIXELS = 1 << 27
"""Of one frame, 16K: what a file claims beyond that is believed to be a mistake, and no memory is taken for it."""
_REORDERED_STEPS = 10
"""Times that fall back by more frames than this belong to a clock that was restarted."""
_LONGEST_GAP_S = 1800
"""Times that leap further belong to a clock that was damaged."""
_LONGEST_GAP = 2**31 - 1
"""In units of the time base: no frame of an MP4 lasts longer."""


class FileSource(Closing):
    """Reads a file from its first frame to its last.

    max_frames: end after this many frames.
    output_fps: thin a faster clip to this rate; frames are left out, never repeated.
    Raises SourceError when there is nothing to decode. A file damaged further on gives what can be decoded, and
    `damaged` counts the rest.
    """

    reconnects = 0
    __slots__ = ("_clock", "_container", "_first", "_frames", "_info", "_max_frames", "_thinner", "_upright", "damaged")

    def __init__(self, path: Path | str, max_frames: int | None = None, output_fps: Fraction | None = None) -> None:
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames starts at 1, got {max_frames}")
        if output_fps is not None and output_fps <= 0:
            raise ValueError(f"output_fps must be above zero, got {output_fps}")
        path = Path(path)
        self._container = _open(path)
        self.damaged = 0
        """Packets that could not be decoded and frames that were decoded with errors, so far."""
        try:
            video = _video_of(self._container, path)
            self._upright = Upright()
            self._frames = self._decode(video)
            self._first = next(self._frames, None)
            if self._first is None:
                raise SourceError(f"no frame of {path} can be decoded: the file is damaged or empty; encode it again")
        except BaseException:
            self._container.close()
            raise
        self._max_frames = max_frames
        rate = _rate_of(video)
        self._thinner = Thinner(output_fps, rate)
        self._clock = clock_of(video, rate)
        self._info = self._described(video, rate, path.name)

    @property
    def info(self) -> SourceInfo:
        """Read from the container and its first frame."""
        return self._info

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        picture, self._first = self._first, None
        time_base = self._info.time_base
        while picture is not None and (self._max_frames is None or index < self._max_frames):
            pts = self._clock.mended(picture.pts)
            if self._thinner.keeps(pts * time_base):
                yield Frame(picture, index, pts, time_base, time.monotonic_ns())
                index += 1
            picture = next(self._frames, None)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _decode(self, video: VideoStream) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(video)
        while True:
            try:
                packet = next(packets, None)
                pictures = [] if packet is None else packet.decode()
            except av.FFmpegError:
                self.damaged += 1
                continue
            if packet is None:
                return
            for picture in pictures:
                assert isinstance(picture, av.VideoFrame)
                self.damaged += picture.is_corrupt
                yield self._upright.turned(picture)

    def _described(self, video: VideoStream, rate: Fraction | None, name: str) -> SourceInfo:
        assert self._first is not None
        wanted = rate if rate is None or self._thinner.rate is None else min(rate, self._thinner.rate)
        frames = _frames_of(self._container, video, rate)
        if frames is not None and rate and wanted:
            frames = ceil(frames * wanted / rate)
        if self._max_frames is not None:
            frames = min(self._max_frames, frames or self._max_frames)
        return SourceInfo(
            height=self._first.height,
            width=self._first.width,
            rate=wanted,
            time_base=_time_base_of(video),
            frames=frames,
            duration_s=float(frames / wanted) if frames is not None and wanted else None,
            live=False,
            audio=bool(self._container.streams.audio),
            name=name,
            turned=self._upright.degrees,
        )


class FileClock:
    """Makes presentation times rise strictly: fills in missing ones, moves repeated ones, bridges leaps."""

    __slots__ = ("_last", "_longest", "_origin", "_step")

    def __init__(self, origin: int, step: int, longest: int) -> None:
        self._origin = origin
        self._step = step
        self._longest = longest
        self._last: int | None = None

    def mended(self, pts: int | None) -> int:
        """The next frame's time, counted from the start of the track."""
        last, step = self._last, self._step
        if last is None:
            now = 0 if pts is None else max(0, pts - self._origin)
        elif pts is None:
            now = last + step
        else:
            now = pts - self._origin
            if not last - _REORDERED_STEPS * step <= now <= last + self._longest:
                self._origin = pts - (last + step)
                now = last + step
            now = max(now, last + 1)
        self._last = now
        return now


def clock_of(video: VideoStream, rate: Fraction | None) -> FileClock:
    """For a track whose pictures come at `rate`, as far as that is known."""
    time_base = _time_base_of(video)
    longest = min(int(_LONGEST_GAP_S / time_base), _LONGEST_GAP)
    return FileClock(origin_of(video), _ticks(rate, time_base), longest)


def origin_of(video: VideoStream) -> int:
    """Where a track's clock starts, in its time base: `Frame.pts` of a file counts from there."""
    return video.start_time or 0


def _open(path: Path) -> InputContainer:
    if not path.exists():
        raise SourceError(f"no such file: {redacted_url(str(path))}")
    if path.is_dir():
        raise SourceError(f"{path} is a folder; name one video file")
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if not head:
        raise SourceError(f"{path} is empty (0 bytes)")
    if head.startswith(_PLAYLISTS):
        raise SourceError(f"{path} is a playlist, not a video; name the video itself")
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": ",".join(av.formats_available - _REFERRING),
        "max_pixels": str(_MOST_PIXELS),
    }
    try:
        container = av.open(f"file:{path}", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        if head[4:8] == b"ftyp":
            raise SourceError(f"{path} is cut short: its index (moov) is missing; copy or record it again") from error
        raise SourceError(f"{path} is not a video, or in no format that can be read here") from error
    if container.format.name in _TEXT_FORMATS:
        container.close()
        raise SourceError(f"{path} is a text file, not a video")
    return container


def _video_of(container: InputContainer, path: Path) -> VideoStream:
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not pictures:
        what = "sound only" if container.streams.audio else "no pictures"
        raise SourceError(f"{path} is not a video: it holds {what}")
    best = container.streams.best("video")
    video = best if isinstance(best, VideoStream) and best in pictures else pictures[0]
    if video.codec_context is None:
        raise SourceError(f"{path} holds a video in a codec that cannot be decoded here; convert it to H.264")
    if video.height * video.width > _MOST_PIXELS:
        raise SourceError(
            f"{path} has {video.width}x{video.height} pixels a frame, more than can be used; scale it down"
        )
    video.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
    video.thread_type = "AUTO"
    return video


def _rate_of(video: VideoStream) -> Fraction | None:
    return video.average_rate or video.guessed_rate or None


def _time_base_of(video: VideoStream) -> Fraction:
    return video.time_base or Fraction(1, 1000)


def _ticks(rate: Fraction | None, time_base: Fraction) -> int:
    return max(1, round(1 / (rate * time_base))) if rate else 1


def _frames_of(container: InputContainer, video: VideoStream, rate: Fraction | None) -> int | None:
    if container.format.name.endswith("_pipe") or container.format.name == "image2":
        return 1
    if video.frames:
        return video.frames
    if video.duration and video.time_base:
        seconds = video.duration * video.time_base
    elif container.duration:
        seconds = Fraction(container.duration, av.time_base)
    else:
        return None
    return max(1, round(seconds * rate)) if rate else None

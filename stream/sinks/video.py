"""Coloured depth as H.264 in mp4: the source's own timing, and its sound."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av

from stream.colour import Colormap
from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.sinks.audio import AudioTrack
from stream.sinks.picture import Painter, meaning
from stream.sinks.size import Resolution
from stream.sinks.unfinished import Unfinished
from stream.sources import SourceInfo

_ENCODER = {"crf": "18", "preset": "veryfast"}
_UNKNOWN_RATE = Fraction(30)


class VideoSink:
    """Writes pictures of depth, yuv420p BT.709 limited range, playable while it downloads.

    info: the source's; its time base becomes the file's, so that every frame keeps its exact time.
    resolution: limits the size of one picture; side_by_side puts the original to the left of its depth.
    source: file whose sound is carried over; None for none. Where that cannot be done `note` says why.
    A run without a single frame leaves no file. Raises SinkError.
    """

    kind = "video"

    __slots__ = (
        "_audio",
        "_container",
        "_end_s",
        "_file",
        "_painter",
        "_step",
        "_stream",
        "_written",
        "note",
    )

    def __init__(
        self,
        path: Path,
        info: SourceInfo,
        colormap: Colormap = Colormap.GRAYSCALE,
        resolution: Resolution = Resolution.AUTO,
        side_by_side: bool = False,
        source: Path | None = None,
    ) -> None:
        if source is not None and path.exists() and path.samefile(source):
            raise SinkError(f"{path} is the input itself; name another output")
        rate = info.rate or _UNKNOWN_RATE
        self._painter = Painter(info, colormap, resolution, side_by_side)
        self._step = max(1, round(1 / (rate * info.time_base)))
        self._end_s = Fraction(0)
        self._written = 0
        self.note: str | None = None
        self._file = Unfinished(path)
        try:
            self._open(rate, info.time_base)
            self._audio = self._carry_audio(source) if source is not None and info.audio else None
        except BaseException:
            self._file.discard()
            raise

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode one picture, and the sound up to it."""
        if depth_frame.stale:
            return
        frame = depth_frame.frame
        if not self._written:
            self._container.metadata["comment"] = meaning(depth_frame.unit)
        yuv = self._painter.yuv(depth_frame)
        yuv.pts, yuv.time_base, yuv.duration = frame.pts, frame.time_base, self._step
        with self._file.errors():
            self._container.mux(self._stream.encode(yuv))
            if self._audio is not None:
                self._audio.write_until(frame.pts * frame.time_base)
        self._end_s = (frame.pts + self._step) * frame.time_base
        self._written += 1

    def close(self) -> None:
        """Finish the file and give it its name."""
        if not self._written:
            self.abort()
            return
        with self._file.errors():
            self._container.mux(self._stream.encode(None))
            if self._audio is not None:
                self._audio.finish(self._end_s)
            self._container.close()
        self._file.commit()

    def abort(self) -> None:
        """Drop the file."""
        with suppress(OSError, av.FFmpegError):
            self._container.close()
        if self._audio is not None:
            self._audio.close()
        self._file.discard()

    def _open(self, rate: Fraction, time_base: Fraction) -> None:
        with self._file.errors():
            self._container = av.open(
                f"file:{self._file.temporary}", "w", format="mp4", container_options={"movflags": "+faststart"}
            )
        self._stream = self._container.add_stream("libx264", rate=rate, options=_ENCODER)
        context = self._stream.codec_context
        self._painter.describe_to(context)
        context.time_base = time_base

    def _carry_audio(self, source: Path) -> AudioTrack | None:
        try:
            return AudioTrack(source, self._container)
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            self.note = f"the sound of {source.name} was left out: {error}"
            return None

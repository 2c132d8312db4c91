"""Coloured depth as H.264 in mp4: the source's own timing, and its sound."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

from stream.colour import Colormap, colourise
from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.preprocess import resize_map, to_rgb
from stream.sinks.audio import AudioTrack
from stream.sinks.size import Resolution, fit_resolution
from stream.sinks.unfinished import Unfinished
from stream.sources import SourceInfo

_ENCODER = {"crf": "18", "preset": "veryfast"}
_UNKNOWN_RATE = Fraction(30)
_BT709_MATRIX = 1
"""ITU-T H.273's number, which is not libswscale's."""


class VideoSink:
    """Writes pictures of depth, yuv420p BT.709 limited range, playable while it downloads.

    info: the source's; its time base becomes the file's, so that every frame keeps its exact time.
    resolution: limits the size of one picture; side_by_side puts the original to the left of its depth.
    source: file whose sound is carried over; None for none. Where that cannot be done `note` says why.
    A run without a single frame leaves no file. Raises SinkError.
    """

    __slots__ = (
        "_audio",
        "_colormap",
        "_container",
        "_converter",
        "_end_s",
        "_file",
        "_side_by_side",
        "_size",
        "_step",
        "_stream",
        "_to_yuv",
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
        self._colormap = colormap
        self._side_by_side = side_by_side
        self._size = fit_resolution(info.height, info.width, resolution)
        self._step = max(1, round(1 / (rate * info.time_base)))
        self._end_s = Fraction(0)
        self._converter, self._to_yuv = VideoReformatter(), VideoReformatter()
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
        picture = av.VideoFrame.from_ndarray(self.compose(depth_frame), format="rgb24")
        yuv = self._to_yuv.reformat(
            picture,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=Interpolation.BICUBIC | Interpolation.ACCURATE_RND,
            threads=1,
        )
        yuv.pts, yuv.time_base, yuv.duration = frame.pts, frame.time_base, self._step
        with self._file.errors():
            self._container.mux(self._stream.encode(yuv))
            if self._audio is not None:
                self._audio.write_until(frame.pts * frame.time_base)
        self._end_s = (frame.pts + self._step) * frame.time_base
        self._written += 1

    def compose(self, depth_frame: DepthFrame) -> NDArray[np.uint8]:
        """The picture that is encoded: uint8 [H, W, 3] RGB, twice as wide when side by side."""
        height, width = self._size
        depth = (
            depth_frame.depth if depth_frame.depth.shape == self._size else resize_map(depth_frame.depth, *self._size)
        )
        coloured = colourise(depth, depth_frame.range, depth_frame.unit, self._colormap)
        if not self._side_by_side:
            return coloured
        return np.hstack([to_rgb(depth_frame.frame.picture, height, width, self._converter), coloured])

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
        height, width = self._size
        with self._file.errors():
            self._container = av.open(
                f"file:{self._file.temporary}", "w", format="mp4", container_options={"movflags": "+faststart"}
            )
        self._stream = self._container.add_stream("libx264", rate=rate, options=_ENCODER)
        context = self._stream.codec_context
        context.width, context.height = 2 * width if self._side_by_side else width, height
        context.pix_fmt, context.time_base = "yuv420p", time_base
        context.colorspace, context.color_range = _BT709_MATRIX, ColorRange.MPEG
        context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709

    def _carry_audio(self, source: Path) -> AudioTrack | None:
        try:
            return AudioTrack(source, self._container)
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            self.note = f"the sound of {source.name} was left out: {error}"
            return None

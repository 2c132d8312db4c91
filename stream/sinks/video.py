"""Coloured depth as H.264 in mp4: the source's own timing, and its sound.

While it is recorded the file consists of fragments of a second: what is on the disk plays whatever ends the recording.
When it is finished it is an mp4 like any other, with one index of all its pictures.
"""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
from av.video.stream import VideoStream

from stream.colour import Colormap
from stream.frame import DepthFrame
from stream.sinks.audio import AudioTrack
from stream.sinks.mp4index import drop_cut_fragment, index_first
from stream.sinks.picture import Painter, meaning
from stream.sinks.size import Resolution
from stream.sinks.unfinished import Unfinished
from stream.sources import SourceInfo
from stream.sources.sound import Sound

Picture: TypeAlias = "av.Packet[VideoStream]"
_ENCODER = {"crf": "18", "preset": "veryfast"}
_SLOW_RATE = 10
"""Frames a second, below which the encoder holds none back: a dozen of them would be many seconds."""
_FRAGMENTS = {
    # Where pictures are out of order, times begin at zero only when the index is written after the first of them.
    "movflags": "+hybrid_fragmented+delay_moov",
    "frag_duration": "1000000",
}
_AT_ONCE = {
    "flush_packets": "1",
    # Microseconds that pictures wait for sound that has ended before them.
    "max_interleave_delta": "1000000",
}
_PATIENCE_S = 5
"""What begins with sound that is this late is written without fragments."""
_WRITTEN_TOGETHER = 1 << 20
"""Bytes; most fragments are smaller, and so are on the disk as a whole or not at all."""
_UNKNOWN_RATE = Fraction(30)
_ZERO_S = Fraction(0)
_EVEN = Fraction(1, 10)
"""Of a step, by which times may be off it where they are rounded."""


class VideoSink:
    """Writes pictures of depth, yuv420p BT.709 limited range.

    The index stands first, so that the file plays while it downloads; that of a live source, which is to end at once
    however long it was, last.
    info: the source's; its time base becomes the file's, so that every frame keeps its exact time.
    resolution: limits the size of one picture; side_by_side puts the original to the left of its depth.
    The original's pixels are square where it stands beside the depth; else they keep the aspect they have.
    sound: carried over; None for none. What of it could not be is said by `note`.
    begins_s: of the source's time, where the file's own begins: it is a later part of a recording.
    A run without a single frame leaves no file. Raises SinkError.
    """

    kind = "video"

    __slots__ = (
        "_audio",
        "_begins_s",
        "_container",
        "_end_s",
        "_file",
        "_is_even",
        "_is_live",
        "_painter",
        "_step",
        "_stream",
        "_waiting",
        "_waits_until_s",
        "_written",
    )

    def __init__(
        self,
        path: Path,
        info: SourceInfo,
        colormap: Colormap = Colormap.GRAYSCALE,
        resolution: Resolution = Resolution.AUTO,
        side_by_side: bool = False,
        sound: Sound | None = None,
        begins_s: Fraction = _ZERO_S,
    ) -> None:
        rate = info.rate or _UNKNOWN_RATE
        self._painter = Painter(info, colormap, resolution, side_by_side, as_stored=not side_by_side)
        self._step = max(1, round(1 / (rate * info.time_base)))
        self._end_s = self._waits_until_s = Fraction(0)
        self._written = 0
        self._begins_s = begins_s
        self._waiting: list[Picture] | None = None if sound is None else []
        """Pictures, until it is known whether the sound begins with them."""
        self._is_even = True
        """All pictures so far came a step after the one before."""
        self._is_live = info.live
        self._file = Unfinished(path, _is_recorded)
        try:
            self._open(rate, info.time_base)
            self._audio = None if sound is None else AudioTrack(sound, self._container, begins_s)
        except BaseException:
            self._file.discard()
            raise

    @property
    def note(self) -> str | None:
        """What became of the sound; None where all of it was carried over, or there was none."""
        return None if self._audio is None else self._audio.note

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode one picture, and the sound up to it."""
        if depth_frame.stale:
            return
        frame = depth_frame.frame
        if not self._written:
            self._container.metadata["comment"] = meaning(depth_frame.unit)
        yuv = self._painter.yuv(depth_frame)
        pts = frame.pts - round(self._begins_s / frame.time_base)
        yuv.pts, yuv.time_base, yuv.duration = pts, frame.time_base, self._step
        if not self._written:
            self._waits_until_s = frame.pts * frame.time_base + _PATIENCE_S
        elif abs(frame.pts * frame.time_base - self._end_s) > _EVEN * self._step * frame.time_base:
            self._is_even = False
        with self._file.errors():
            self._mux(self._stream.encode(yuv), frame.pts * frame.time_base)
        self._end_s = (frame.pts + self._step) * frame.time_base
        self._written += 1

    def end_at(self, time_s: Fraction) -> None:
        """Take the sound up to there, where the next part of the recording begins, and leave it the rest."""
        if self._audio is not None:
            with self._file.errors():
                self._begin()
                self._audio.write_until(time_s)
                self._audio.leave()

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._file.is_over:
            return
        if not self._written:
            self.abort()
            return
        with self._file.errors():
            self._begin()
            self._container.mux(self._last())
            if self._audio is not None:
                self._audio.finish(self._end_s)
            with self._file.finishing():
                self._container.close()
        if not self._is_live:
            # It needs the room of the file once more; without it the file is complete all the same.
            with suppress(OSError):
                self._file.rewrite(index_first)
        self._file.commit()

    def abort(self) -> None:
        """Drop the file."""
        self._file.discard()
        with suppress(OSError, av.FFmpegError):
            self._container.close()
        if self._audio is not None:
            self._audio.close()

    def _last(self) -> list[Picture]:
        """What the encoder still has. The muxer ends the film with the picture coded last: it lasts to the real end.

        Pictures that come evenly need no such help, which would change the rate that the file states.
        """
        pictures = self._stream.encode(None)
        if not self._is_even and pictures and (last := pictures[-1]).pts is not None:
            until = round((self._end_s - self._begins_s) / last.time_base)
            last.duration = max(last.duration or 0, until - last.pts)
        return pictures

    def _mux(self, pictures: list[Picture], time_s: Fraction) -> None:
        """Write pictures, and the sound up to them."""
        if self._waiting is not None:
            self._waiting += pictures
            if not self._audio_has_begun() and time_s < self._waits_until_s:
                return
            self._begin()
        else:
            self._container.mux(pictures)
        if self._audio is not None:
            self._audio.write_until(time_s)

    def _begin(self) -> None:
        """Write the pictures that wait."""
        if self._waiting is not None:
            if not self._audio_has_begun():
                # The first fragment would wait for the sound, and all after it.
                for name in _FRAGMENTS:
                    del self._container.container_options[name]
            waiting, self._waiting = self._waiting, None
            self._container.mux(waiting)

    def _audio_has_begun(self) -> bool:
        return self._audio is not None and self._audio.has_begun

    def _open(self, rate: Fraction, time_base: Fraction) -> None:
        with self._file.errors():
            self._container = av.open(
                self._file, "w", format="mp4", container_options=_AT_ONCE | _FRAGMENTS, buffer_size=_WRITTEN_TOGETHER
            )
        options = _ENCODER if rate >= _SLOW_RATE else {**_ENCODER, "tune": "zerolatency"}
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        context = self._stream.codec_context
        self._painter.describe_to(context)
        context.time_base = time_base


def _is_recorded(part: Path) -> bool:
    drop_cut_fragment(part)
    return has_picture(part)


def has_picture(path: Path) -> bool:
    """A picture of the file can be shown."""
    try:
        with av.open(f"file:{path}") as container:
            return next(container.decode(video=0), None) is not None
    except (av.FFmpegError, IndexError):
        return False

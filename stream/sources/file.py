"""A video file, or an image as a clip of one frame, in any format FFmpeg reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from engines.closing import Closing
from stream.aspect import display_size
from stream.errors import SourceError
from stream.frame import Frame
from stream.sources import SourceInfo
from stream.sources.opening import grid_of, is_tile, nothing_in, opened, video_of
from stream.sources.pipe import name_of
from stream.sources.progressive import Deinterlacer, fields_of
from stream.sources.sound import AudioPacket, Piece, Sound, copied, decoded, sound_track
from stream.sources.thin import Thinner
from stream.sources.tiles import Grid, assembled
from stream.sources.times import FileClock, Presentation, Shown
from stream.sources.upright import Upright

_MOST_HEARD = 1 << 16
"""Packets of sound before the first picture."""
_HELD_BYTES = 256 << 20
"""Of pictures that wait until their time is known."""
_LEAVE_S = 1.0
"""How long `close` waits for a reader that is at work."""
_MOST_RATE = 5000
"""Frames per second that are believed, of high-speed cameras too."""
_LONGEST_GAP_S = 1800
"""Times that leap further belong to a clock that was damaged."""
_LONGEST_GAP = 2**31 - 1
"""In units of the time base: no frame of an MP4 lasts longer."""


class FileSource(Closing):
    """Reads a file, or a pipe, from its first frame to its last.

    max_frames: end after this many frames.
    output_fps: thin a faster clip to this rate; frames are left out, never repeated.
    Raises SourceError when there is nothing to decode. A file damaged further on gives what can be decoded, and
    `damaged` counts the rest.
    """

    reconnects = 0
    __slots__ = (
        "_clock",
        "_closed",
        "_container",
        "_deinterlacer",
        "_first",
        "_frames",
        "_heard",
        "_info",
        "_max_frames",
        "_outputs",
        "_pipe",
        "_reading",
        "_sound",
        "_thinner",
        "_upright",
        "damaged",
    )

    def __init__(self, path: Path | str, max_frames: int | None = None, output_fps: Fraction | None = None) -> None:
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames starts at 1, got {max_frames}")
        if output_fps is not None and output_fps <= 0:
            raise ValueError(f"output_fps must be above zero, got {output_fps}")
        path = Path(path)
        self._container, self._pipe = opened(path)
        self._reading = threading.Lock()
        """Held while FFmpeg works on the container: it may not be closed then."""
        self._closed = False
        self.damaged = 0
        """Packets that could not be decoded and frames that were decoded with errors, so far."""
        try:
            video = video_of(self._container, name_of(path))
            self._sound, sound_note = sound_track(self._container)
            self._heard: list[tuple[AudioPacket, int]] | None = []
            """Of the sound, before the first frame was asked for: for outputs that are still to come."""
            self._outputs: list[Sound] = []
            self._upright = Upright(video)
            self._deinterlacer = Deinterlacer(fields_of(video))
            self._clock: FileClock | None = None
            grid = grid_of(video, self._container, path, self._pipe) if is_tile(video) else None
            self._frames = self._decode(video) if grid is None else self._whole(grid)
            self._first = next(self._frames, None)
            if self._pipe is not None:
                self._pipe.check()
            if self._first is None:
                raise SourceError(nothing_in(name_of(path), self._container, self._pipe))
        except BaseException:
            self.close()
            raise
        self._max_frames = max_frames
        rate = _rate_of(video)
        self._thinner = Thinner(output_fps, rate)
        notes = () if sound_note is None else (sound_note,)
        self._info = self._described(video, rate, path, notes)

    @property
    def info(self) -> SourceInfo:
        """Read from the container and its first frame; what is noted of later ones is added."""
        notes = self._deinterlacer.notes
        return replace(self._info, notes=(*self._info.notes, *notes)) if notes else self._info

    def sound(self) -> Sound | None:
        """The sound from its start on, for one output: to be asked for before the first frame. None: there is none."""
        if self._sound is None:
            return None
        assert self._clock is not None
        self._outputs.append(Sound(self._sound, self._clock, self._info.time_base))
        return self._outputs[-1]

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        picture, self._first = self._first, None
        heard, self._heard = self._heard, None
        for packet, part in heard or ():
            self._hear(packet, part)
        time_base = self._info.time_base
        while picture is not None and (self._max_frames is None or index < self._max_frames):
            assert picture.pts is not None
            if self._thinner.keeps(picture.pts * time_base):
                aspect, light = self._upright.aspect, self._upright.light
                yield Frame(picture, index, picture.pts, time_base, time.monotonic_ns(), aspect, light)
                index += 1
            picture = next(self._frames, None)
        if picture is None and not self._closed:
            for sound in self._outputs:
                sound.ended = True

    def close(self) -> None:
        """End the iteration, from any thread, and close the file; one that hangs is closed by its reader."""
        self._closed = True
        if self._pipe is not None:
            self._pipe.stop()
        if self._reading.acquire(timeout=_LEAVE_S):
            self._let_go()
            self._reading.release()

    def _let_go(self) -> None:
        self._container.close()
        if self._pipe is not None:
            self._pipe.close()

    def _decode(self, video: VideoStream) -> Iterator[av.VideoFrame]:
        """The pictures, upright and with their times from the start of the track."""
        order = presentation_of(self._container, video)
        for shown in self._shown(video, order):
            if self._clock is None:
                self._clock = clock_of(video, _rate_of(video), order.first)
            shown.picture.pts = self._clock.mended(shown.pts, shown.part)
            for picture in self._deinterlacer.progressive(shown.picture):
                yield self._upright.turned(picture)
        for picture in self._deinterlacer.rest():
            yield self._upright.turned(picture)

    def _whole(self, grid: Grid) -> Iterator[av.VideoFrame]:
        """The one picture of a still in tiles."""
        tracks = {track.id: track for track in self._container.streams.video}
        found: dict[int, av.VideoFrame] = {}
        try:
            with self._reading:
                for packet in self._container.demux([tracks[tile] for tile in grid.tiles]):
                    for picture in packet.decode():
                        assert isinstance(picture, av.VideoFrame)
                        found.setdefault(packet.stream.id, picture)
            yield self._upright.turned(assembled([found[tile] for tile in grid.tiles], grid))
        except (av.FFmpegError, KeyError):
            self.damaged += 1

    def _shown(self, video: VideoStream, order: Presentation) -> Iterator[Shown]:
        """What the packets give, in order; sound is passed on."""
        streams = [video] if self._sound is None else [video, self._sound]
        packets = self._container.demux(streams)
        while True:
            with self._reading:
                if self._closed:
                    self._let_go()
                    return
                try:
                    packet = next(packets, None)
                except av.FFmpegError:
                    self.damaged += 1
                    packet = None
                if self._pipe is not None:
                    self._pipe.check()
                if packet is not None and packet.stream is not video:
                    self._hear(packet, order.part)
                    continue
                pictures = self._pictures_of(packet, video, order)
            for picture in pictures:
                self.damaged += picture.is_corrupt
                yield from order.shown(picture, video.codec_context.has_b_frames)
            if packet is None:
                yield from order.rest()
                return

    def _pictures_of(
        self, packet: av.Packet[Any] | None, video: VideoStream, order: Presentation
    ) -> list[av.VideoFrame]:
        """What the decoder gives for a packet, or at the end."""
        if packet is not None and packet.size:
            order.sending(packet)
        try:
            return video.codec_context.decode(packet)
        except av.EOFError:
            return []
        except av.FFmpegError:
            self.damaged += 1
            return []

    def _hear(self, packet: AudioPacket, part: int) -> None:
        """Keep a packet of sound, or hand it to the outputs that want it. part: of the pictures before it."""
        if self._heard is not None:
            if len(self._heard) < _MOST_HEARD:
                self._heard.append((packet, part))
            return
        if not self._outputs or not packet.size:
            return
        assert self._sound is not None
        is_decoded = any(sound.is_decoded for sound in self._outputs)
        piece = decoded(packet, self._sound) if is_decoded else Piece(packet)
        for number, sound in enumerate(self._outputs):
            sound.put(copied(piece) if number else piece, part)

    def _described(self, video: VideoStream, rate: Fraction | None, path: Path, notes: tuple[str, ...]) -> SourceInfo:
        assert self._first is not None
        wanted = rate if rate is None or self._thinner.rate is None else min(rate, self._thinner.rate)
        frames = _frames_of(self._container, video, rate)
        if frames is not None and rate and wanted:
            frames = ceil(frames * wanted / rate)
        if self._max_frames is not None:
            frames = min(self._max_frames, frames or self._max_frames)
        upright = self._upright
        height, width = display_size(self._first.height, self._first.width, upright.aspect)
        return SourceInfo(
            height=height,
            width=width,
            rate=wanted,
            time_base=_time_base_of(video),
            frames=frames,
            duration_s=float(frames / wanted) if frames is not None and wanted else None,
            live=False,
            audio=self._sound is not None,
            name=path.name if self._pipe is None else name_of(path),
            orientation=upright.orientation,
            aspect=upright.aspect,
            notes=(*notes, *upright.notes),
        )


def _rate_of(video: VideoStream) -> Fraction | None:
    """Frames per second, a believable one where there is one: bare DV says the ticks of its clock first."""
    rates = [rate for rate in (video.average_rate, video.guessed_rate) if rate]
    return next((rate for rate in rates if rate <= _MOST_RATE), rates[0] if rates else None)


def _time_base_of(video: VideoStream) -> Fraction:
    return video.time_base or Fraction(1, 1000)


def _ticks(rate: Fraction | None, time_base: Fraction) -> int:
    return max(1, round(1 / (rate * time_base))) if rate else 1


def clock_of(video: VideoStream, rate: Fraction | None, first: int | None = None) -> FileClock:
    """For a track whose pictures come at `rate`, as far as that is known.

    first: the smallest time seen; in a container that numbers by decoding it is not what is told as the start.
    """
    time_base = _time_base_of(video)
    start = video.start_time or 0
    longest = min(int(_LONGEST_GAP_S / time_base), _LONGEST_GAP)
    origin = start if first is None else max(start, first)
    return FileClock(origin, _ticks(rate, time_base), longest)


def presentation_of(container: InputContainer, video: VideoStream) -> Presentation:
    """For a track; what it may hold back is kept from filling the memory."""
    step = _ticks(_rate_of(video), _time_base_of(video))
    most_held = min(16, _HELD_BYTES // max(1, 3 * video.height * video.width))
    return Presentation(step, most_held, by_decoding=container.format.name == "avi")


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

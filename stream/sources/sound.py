"""The sound beside a file's pictures, read together with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition

from stream.sources.times import FileClock

AudioPacket: TypeAlias = "av.Packet[Any]"
_MOST_BYTES = 64 << 20
"""Of sound that is read ahead of its pictures: what is beyond is left out, and counted."""
_APART_S = Fraction(1, 2)
"""Sound that begins this close to the end of the sound before it goes on there."""
_PATIENCE_S = 2
"""Once the pictures are so much further than sound that fell back in time, its clock alone was restarted."""


def sound_track(container: InputContainer) -> tuple[AudioStream | None, str | None]:
    """The track to use, the default one if FFmpeg can decode it; and what to tell of those that it cannot decode."""
    tracks = container.streams.audio
    usable = [track for track in tracks if _is_usable(track)]
    chosen = max(usable, key=lambda track: bool(track.disposition & Disposition.default), default=None)
    if len(usable) == len(tracks):
        return chosen, None
    number = next(number for number, track in enumerate(tracks, 1) if track not in usable)
    what = f"sound track {number}" if len(tracks) > 1 else "the sound"
    done = "sound is left out" if chosen is None else f"track {tracks.index(chosen) + 1} is used"
    return chosen, f"{what} is in a codec that cannot be decoded here: {done}"


def _is_usable(track: AudioStream) -> bool:
    """FFmpeg has a decoder for it, and the file says enough of it."""
    context = track.codec_context
    return context is not None and context.sample_rate > 0 and context.layout.nb_channels > 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A packet of sound. waves: what it decodes to, and when, in the track's time; empty where not asked for."""

    packet: AudioPacket
    waves: Sequence[tuple[av.AudioFrame, Fraction | None]] = ()

    @property
    def size(self) -> int:
        """In bytes, about."""
        return self.packet.size + sum(len(plane) for wave, _ in self.waves for plane in map(bytes, wave.planes))


class Sound:
    """One output's share of a file's sound: it waits here, in order, until its time has come.

    `put` and `ended` belong to the thread that reads the file, the rest to the one that writes.
    clock: of the pictures; where it is restarted, the sound goes along. time_base: of that clock.
    """

    __slots__ = (
        "_bridged_s",
        "_clock",
        "_end_s",
        "_origin",
        "_pieces",
        "_put",
        "_taken",
        "_time_base",
        "ended",
        "is_decoded",
        "lost",
        "track",
    )

    def __init__(self, track: AudioStream, clock: FileClock, time_base: Fraction) -> None:
        self.track = track
        self.is_decoded = False
        """The output wants waves; to be set before the first frame is asked for."""
        self.ended = False
        """The file has been read to the end of its pictures."""
        self.lost = 0
        """Packets for which there was no room."""
        self._clock = clock
        self._time_base = time_base
        self._pieces: deque[tuple[Piece, int]] = deque()
        self._put = self._taken = 0
        """Bytes, each counted by one thread."""
        self._origin = 0
        self._bridged_s = Fraction(0)
        self._end_s: Fraction | None = None

    @property
    def has_begun(self) -> bool:
        """Some of it has been read."""
        return self._put > 0

    def put(self, piece: Piece) -> None:
        """Add what was read."""
        size = piece.size
        if self._put - self._taken + size > _MOST_BYTES:
            self.lost += 1
            return
        self._put += size
        self._pieces.append((piece, size))

    def take(self, until_s: Fraction | None) -> tuple[Piece, Fraction] | None:
        """The next piece that begins before `until_s`, and the seconds to add to its times. None: not yet, or none.

        until_s: in the time of the pictures; None takes all.
        """
        if not self._pieces:
            return None
        piece, size = self._pieces[0]
        packet, stamp = piece.packet, _stamp(piece.packet)
        begins_s = self._begins_s(packet, until_s)
        if begins_s is None or (until_s is not None and begins_s >= until_s):
            return None
        self._pieces.popleft()
        self._taken += size
        self._end_s = begins_s + Fraction(packet.duration or 0) * packet.time_base
        if stamp is None:
            packet.pts = packet.dts = round(begins_s / packet.time_base)
            return piece, Fraction(0)
        return piece, begins_s - stamp * packet.time_base

    def drop(self) -> None:
        """Forget what waits."""
        self._pieces.clear()

    def _begins_s(self, packet: AudioPacket, until_s: Fraction | None) -> Fraction | None:
        """When it is to be heard; None where that is not known before the pictures are further on."""
        stamp, end_s = _stamp(packet), self._end_s
        if stamp is None:
            return end_s or Fraction(0)
        raw_s, origins = stamp * packet.time_base, self._clock.origins
        stays_s = raw_s - origins[self._origin] * self._time_base + self._bridged_s
        if end_s is None or abs(stays_s - end_s) <= _APART_S:
            return stays_s
        later = [(index, raw_s - origins[index] * self._time_base) for index in range(self._origin + 1, len(origins))]
        index, moves_s = min(later, key=lambda one: abs(one[1] - end_s), default=(self._origin, stays_s))
        if abs(moves_s - end_s) < abs(stays_s - end_s):
            self._origin, self._bridged_s = index, Fraction(0)
            return moves_s
        if stays_s > end_s:
            return stays_s
        if until_s is not None and until_s < end_s + _PATIENCE_S:
            return None
        self._bridged_s += end_s - stays_s
        return end_s


def _stamp(packet: AudioPacket) -> int | None:
    return packet.dts if packet.pts is None else packet.pts


def decoded(packet: AudioPacket, track: AudioStream) -> Piece:
    """With its waves; without any where it is damaged."""
    try:
        waves = track.codec_context.decode(packet)
    except (av.FFmpegError, ValueError):
        waves = []
    return Piece(packet, [(wave, _time_s(wave)) for wave in waves])


def copied(piece: Piece) -> Piece:
    """For another output: packets are given other times when they are written."""
    packet = piece.packet
    copy: AudioPacket = av.Packet(bytes(packet))
    copy.time_base, copy.pts, copy.dts = packet.time_base, packet.pts, packet.dts
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    return Piece(copy, piece.waves)


def _time_s(wave: av.AudioFrame) -> Fraction | None:
    return None if wave.pts is None or wave.time_base is None else wave.pts * wave.time_base

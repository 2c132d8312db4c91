"""The sound beside a file's pictures, read together with them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
_NOT_DESCRIBING = frozenset({"mpegts", "mpeg"})
"""Formats whose packets alone say the sound's rate and channels: FFmpeg does not know them where it begins late."""
_AGREEING = 16
"""Packets by which it is known what part of a joined recording they belong to."""
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
    """FFmpeg has a decoder for it, and the file says enough of it, unless it is of a kind that never does."""
    form = track.container.format.name
    return track.codec_context is not None and (is_described(track) or form in _NOT_DESCRIBING)


def is_described(track: AudioStream) -> bool:
    """Its rate and its channels are known before it is decoded."""
    context = track.codec_context
    return context.sample_rate > 0 and context.layout.nb_channels > 0


@dataclass(frozen=True, slots=True)
class Piece:
    """A packet of sound.

    waves: what it decodes to, and when, in the track's time; empty where not asked for. is_damaged: it cannot be
        decoded.
    """

    packet: AudioPacket
    waves: Sequence[tuple[av.AudioFrame, Fraction | None]] = ()
    is_damaged: bool = False

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
        self._pieces: deque[tuple[Piece, int, int]] = deque()
        """With its size and its part."""
        self._put = self._taken = 0
        """Bytes, each counted by one thread."""
        self._origin = 0
        self._bridged_s = Fraction(0)
        self._end_s: Fraction | None = None

    @property
    def has_begun(self) -> bool:
        """Some of it has been read."""
        return self._put > 0

    def put(self, piece: Piece, part: int = 0) -> None:
        """Add what was read. part: of the packet of pictures before it; see `Presentation`."""
        size = piece.size
        if self._put - self._taken + size > _MOST_BYTES:
            self.lost += 1
            return
        self._put += size
        self._pieces.append((piece, size, part))

    def take(self, until_s: Fraction | None) -> tuple[Piece, Fraction] | None:
        """The next piece that begins before `until_s`, and the seconds to add to its times. None: not yet, or none.

        until_s: in the time of the pictures; None takes all.
        """
        if not self._pieces:
            return None
        piece, size, _ = self._pieces[0]
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
        """When it is to be heard; None where that is not known before more has been read."""
        stamp, end_s = _stamp(packet), self._end_s
        if stamp is None:
            return end_s or Fraction(0)
        raw_s = stamp * packet.time_base
        stays_s = raw_s - self._clock.origins[self._origin] * self._time_base + self._bridged_s
        apart_s = abs(stays_s - end_s) if end_s is not None else (until_s or stays_s) - stays_s
        if apart_s <= _APART_S:
            return stays_s
        least = self._least_origin(wait=until_s is not None)
        if least is None:
            return None
        is_first, end_s = end_s is None, end_s or Fraction(0)
        moved = self._moved(raw_s, least, end_s)
        if moved is not None and (least > self._origin or abs(moved[1] - end_s) < abs(stays_s - end_s)):
            self._origin, self._bridged_s = moved[0], Fraction(0)
            return moved[1]
        if is_first or stays_s > end_s:
            return stays_s
        if until_s is not None and until_s < end_s + _PATIENCE_S:
            return None
        self._bridged_s += end_s - stays_s
        return end_s

    def _least_origin(self, wait: bool) -> int | None:
        """The first origin of the part that the next pieces belong to; None where that is still to be waited for.

        A part's first packets of sound may be read before its first of pictures, so one further on is asked.
        """
        parts = self._clock.parts
        part = self._pieces[min(len(self._pieces), _AGREEING) - 1][2]
        if wait and (len(self._pieces) < _AGREEING or part >= len(parts)):
            return None
        return parts[min(part, len(parts) - 1)]

    def _moved(self, raw_s: Fraction, least: int, end_s: Fraction) -> tuple[int, Fraction] | None:
        """The origin behind the present one, from `least` on, that brings sound closest to `end_s`; and its time."""
        origins = self._clock.origins
        later = range(max(self._origin + 1, least), len(origins))
        times = [(index, raw_s - origins[index] * self._time_base) for index in later]
        return min(times, key=lambda one: abs(one[1] - end_s), default=None)


def _stamp(packet: AudioPacket) -> int | None:
    return packet.dts if packet.pts is None else packet.pts


def decoded(packet: AudioPacket, track: AudioStream) -> Piece:
    """With its waves; without any where it is damaged."""
    try:
        waves = track.codec_context.decode(packet)
    except (av.FFmpegError, ValueError):
        return Piece(packet, is_damaged=True)
    return Piece(packet, [(wave, _time_s(wave)) for wave in waves])


def copied(piece: Piece) -> Piece:
    """For another output: packets are given other times when they are written."""
    packet = piece.packet
    copy: AudioPacket = av.Packet(bytes(packet))
    copy.time_base, copy.pts, copy.dts = packet.time_base, packet.pts, packet.dts
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    return replace(piece, packet=copy)


def _time_s(wave: av.AudioFrame) -> Fraction | None:
    return None if wave.pts is None or wave.time_base is None else wave.pts * wave.time_base

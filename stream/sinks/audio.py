"""The sound of a file, carried over beside new pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

from stream.sources.sound import AudioPacket, Piece, Sound, is_described

_FITS_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"})
_AAC_RATES = frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000})
_USUAL_RATE = 48000
_SLACK_S = Fraction(1, 20)
"""Sound that begins this close to the end of the sound before it goes on there; what is later has a gap before it."""
_BITS_A_CHANNEL = 96_000
_NO_CLIPPING = {"rematrix_maxval": "1"}


class AudioTrack:
    """Writes the sound of a source into `output`, in step with the pictures. Sound that fails never fails the output.

    Copied packet by packet where mp4 takes the codec, else encoded as AAC, at most stereo; packets that are damaged
    or out of order are left out. To be created before the first packet of `output`.
    begins_s: of the pictures' time, where that of `output` begins.
    """

    __slots__ = ("_begins_s", "_damaged", "_encoder", "_has_left", "_last_dts", "_out", "_output", "_sound", "note")

    def __init__(self, sound: Sound, output: OutputContainer, begins_s: Fraction = Fraction(0)) -> None:
        self._sound = sound
        self._begins_s = begins_s
        self._has_left = False
        self._damaged = 0
        self._output = output
        self._last_dts: int | None = None
        self.note: str | None = None
        """What became of sound that could not be carried over; None where all could be."""
        self._encoder: _Encoder | None = None
        if _is_copied(sound.track):
            self._out = output.add_stream_from_template(sound.track)
        else:
            sound.is_decoded = True
            self._encoder = _Encoder(sound.track, output)
            self._out = self._encoder.out

    @property
    def has_begun(self) -> bool:
        """There is sound."""
        return self._sound.has_begun

    def write_until(self, time_s: Fraction | None) -> None:
        """Write the packets that begin before `time_s`, counted from the first picture; None: all."""
        while (taken := self._sound.take(time_s)) is not None:
            piece, shift_s = taken[0], taken[1] - self._begins_s
            self._damaged += piece.is_damaged
            self._write(
                self._copied(piece, shift_s) if self._encoder is None else self._encoder.encoded(piece, shift_s)
            )

    def finish(self, end_s: Fraction) -> None:
        """Write what remains: up to the last picture's end, or all where the pictures ran to their own end."""
        if not self._has_left:
            self.write_until(None if self._sound.ended else end_s)
        if self._encoder is not None:
            self._write(self._encoder.rest())
        if self._damaged:
            self.note = f"{self._damaged} packets of the sound were left out: they cannot be decoded"
        if self._sound.lost:
            self.note = "parts of the sound were left out: they are too far from their pictures in the file"
        self.close()

    def leave(self) -> None:
        """Take no more of the sound: the rest is another's."""
        self._has_left = True

    def close(self) -> None:
        """Let go of what was not written."""
        if not self._has_left:
            self._sound.drop()

    def _copied(self, piece: Piece, shift_s: Fraction) -> Iterator[AudioPacket]:
        packet = piece.packet
        shift = round(shift_s / packet.time_base)
        if packet.pts is None:
            packet.pts = packet.dts
        if packet.dts is None:
            packet.dts = packet.pts
        assert packet.pts is not None
        assert packet.dts is not None
        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
        yield packet

    def _write(self, packets: Iterator[AudioPacket]) -> None:
        """Write packets as far as they can be made; errors of the output, such as a full disk, are raised."""
        try:
            for packet in packets:
                if packet.dts is None or (self._last_dts is not None and packet.dts <= self._last_dts):
                    continue
                packet.stream = self._out
                dts = packet.dts
                self._output.mux(packet)
                self._last_dts = dts
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, OSError):
                raise
            self.note = f"parts of the sound were left out: {_reason(error)}"


class _Encoder:
    """Encodes a track as AAC, whatever its rate, channels and samples are, also where these change."""

    __slots__ = ("_ends", "_has_rule", "_kind", "_layout", "_rate", "_resampler", "out")

    def __init__(self, track: AudioStream, output: OutputContainer) -> None:
        self._layout = "mono" if track.codec_context.layout.nb_channels == 1 else "stereo"
        rate = track.codec_context.sample_rate
        self._rate = rate if rate in _AAC_RATES else _USUAL_RATE
        self.out = output.add_stream("aac", rate=self._rate, layout=self._layout)
        self.out.codec_context.bit_rate = _BITS_A_CHANNEL * self.out.codec_context.layout.nb_channels
        self._kind: tuple[str, str, int] | None = None
        self._resampler = self._fresh()
        self._has_rule = True
        self._ends: int | None = None
        """Where the sound so far ends, in samples."""

    def encoded(self, piece: Piece, shift_s: Fraction) -> Iterator[AudioPacket]:
        """Of a piece of the source. shift_s: to be added to its times."""
        for wave, time_s in piece.waves:
            begins = None if time_s is None else round((time_s + shift_s) * self._rate)
            for part in self._resampled(wave):
                yield from self._placed(part, begins)
                begins = None

    def rest(self) -> Iterator[AudioPacket]:
        """What is still in the works at the end."""
        for part in self._resampler.resample(None):
            yield from self._placed(part, None)
        yield from self.out.encode(None)

    def _fresh(self) -> av.AudioResampler:
        return av.AudioResampler("fltp", self._layout, self._rate, options=_NO_CLIPPING)

    def _resampled(self, sound: av.AudioFrame) -> Iterator[av.AudioFrame]:
        kind = sound.format.name, sound.layout.name, sound.sample_rate
        if kind != self._kind:
            yield from self._resampler.resample(None)
            self._kind, self._resampler = kind, self._fresh()
            self._has_rule = _can_mix(sound, self._fresh())
        yield from self._resampler.resample(sound if self._has_rule else _mono(sound))

    def _placed(self, part: av.AudioFrame, begins: int | None) -> Iterator[AudioPacket]:
        """Encode a part at its place, in samples; None: behind the part before."""
        ends, slack = self._ends, round(_SLACK_S * self._rate)
        if begins is None or (ends is not None and abs(begins - ends) <= slack):
            begins = ends or 0
        if ends is not None and begins < ends:
            return
        part.pts, part.time_base = begins, Fraction(1, self._rate)
        self._ends = begins + part.samples
        yield from self.out.encode(part)


def _is_copied(track: AudioStream) -> bool:
    """The codec belongs into an mp4, and FFmpeg would write this track into one: tried on a file in memory.

    AAC whose packets each say their rate and channels (ADTS, in transport streams) is not copied: these may change,
    and an mp4 has room for one.
    """
    codec = track.codec_context.codec.canonical_name
    if codec not in _FITS_MP4 or not is_described(track) or (codec == "aac" and not track.codec_context.extradata):
        return False
    try:
        with av.open(io.BytesIO(), "w", format="mp4") as trial:
            trial.add_stream_from_template(track)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _can_mix(sound: av.AudioFrame, resampler: av.AudioResampler) -> bool:
    """FFmpeg has a rule for mixing these channels into those."""
    try:
        resampler.resample(sound)
    except av.FFmpegError:
        return False
    return True


def _mono(sound: av.AudioFrame) -> av.AudioFrame:
    """Channels that FFmpeg has no rule for, mixed: the mean, or the sum that ambisonics carry in the first."""
    samples = sound.to_ndarray()
    channels = sound.layout.nb_channels
    samples = samples if sound.format.is_planar else samples.reshape(-1, channels).T
    floats = _as_floats(samples)
    mixed = floats[:1] if sound.layout.name.startswith("ambisonic") else floats.mean(axis=0, keepdims=True)
    mono = av.AudioFrame.from_ndarray(np.ascontiguousarray(mixed, np.float32), "fltp", "mono")
    mono.sample_rate, mono.pts, mono.time_base = sound.sample_rate, sound.pts, sound.time_base
    return mono


def _as_floats(samples: NDArray[Any]) -> NDArray[np.float64]:
    """Integers of any width in -1 to 1; floats as they are."""
    if not np.issubdtype(samples.dtype, np.integer):
        return samples.astype(np.float64)
    limits = np.iinfo(samples.dtype)
    middle = (int(limits.max) + int(limits.min) + 1) / 2
    return (samples.astype(np.float64) - middle) / (int(limits.max) - middle + 1)


def _reason(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror or error)

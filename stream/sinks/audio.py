"""The sound of a file, carried over beside new pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

import av
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer

from stream.sources.file import origin_of

AudioPacket: TypeAlias = "av.Packet[AudioStream]"
_FITS_MP4 = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"})
_WHOLE_S = 1
"""Pictures that end this close to the end of the file's were not cut short: the sound then runs to its own end."""


class AudioTrack:
    """Reads the first sound track of a file and writes it into `output`, in step with the pictures.

    Copied packet by packet where mp4 takes the codec, else encoded as AAC, at most stereo; packets that are damaged
    or out of order are left out. To be created before the first packet of `output`. Raises FFmpegError or ValueError
    when the track can be neither copied nor decoded.
    """

    __slots__ = ("_input", "_next", "_out", "_output", "_packets", "_pictures_end_s", "_shift_s", "_track")

    def __init__(self, source: Path, output: OutputContainer) -> None:
        self._input: InputContainer = av.open(f"file:{source}", options={"protocol_whitelist": "file"})
        self._output = output
        try:
            pictures = self._input.streams.video[0]
            clock = pictures.time_base or Fraction(0)
            self._shift_s = origin_of(pictures) * clock
            length_s = Fraction(self._input.duration or 0, av.time_base)
            self._pictures_end_s = Fraction(pictures.duration or 0) * clock or length_s
            self._track = self._input.streams.audio[0]
            self._out, self._packets = self._route(self._track)
            self._next = next(self._packets, None)
        except BaseException:
            self._input.close()
            raise

    def write_until(self, time_s: Fraction | None) -> None:
        """Write the packets that begin before `time_s`, counted from the first picture; None: all."""
        while self._next is not None and (time_s is None or _begins_s(self._next) < time_s):
            self._output.mux(self._next)
            self._next = next(self._packets, None)

    def finish(self, end_s: Fraction) -> None:
        """Write what remains: up to the last picture's end, or all where the pictures ran to their own end."""
        was_cut_short = end_s < self._pictures_end_s - _WHOLE_S
        self.write_until(end_s if was_cut_short else None)
        self.close()

    def close(self) -> None:
        """Close the file that is read."""
        self._input.close()

    def _route(self, track: AudioStream) -> tuple[AudioStream, Iterator[AudioPacket]]:
        sound = track.codec_context
        if sound.codec.canonical_name in _FITS_MP4:
            return self._output.add_stream_from_template(track), self._in_order(self._copied())
        out = self._output.add_stream("aac", rate=sound.sample_rate)
        out.codec_context.layout = "mono" if sound.layout.nb_channels == 1 else "stereo"
        return out, self._in_order(self._encoded(out))

    def _read(self) -> Iterator[AudioPacket]:
        """The track's packets as far as the file can be read."""
        packets = self._input.demux(self._track)
        while True:
            try:
                yield next(packets)
            except (StopIteration, av.FFmpegError):
                return

    def _copied(self) -> Iterator[AudioPacket]:
        for packet in self._bare():
            if packet.dts is None or packet.pts is None:
                continue
            shift = round(self._shift_s / packet.time_base)
            packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
            packet.stream = self._out
            yield packet

    def _bare(self) -> Iterator[AudioPacket]:
        """The track's packets, those of AAC without the heads (ADTS) that streams have and mp4 does not take."""
        sound = self._track.codec_context
        if sound.codec.canonical_name != "aac" or sound.extradata:
            yield from self._read()
            return
        bare = BitStreamFilterContext("aac_adtstoasc", self._track)
        for packet in self._read():
            with suppress(av.FFmpegError):
                yield from bare.filter(packet)

    def _encoded(self, out: AudioStream) -> Iterator[AudioPacket]:
        for packet in self._read():
            try:
                sounds = packet.decode()
            except av.FFmpegError:
                continue
            for sound in sounds:
                assert isinstance(sound, av.AudioFrame)
                if sound.pts is not None and sound.time_base is not None:
                    sound.pts -= round(self._shift_s / sound.time_base)
                yield from out.encode(sound)
        yield from out.encode(None)

    @staticmethod
    def _in_order(packets: Iterator[AudioPacket]) -> Iterator[AudioPacket]:
        last: int | None = None
        for packet in packets:
            if packet.dts is not None and (last is None or packet.dts > last):
                last = packet.dts
                yield packet


def _begins_s(packet: AudioPacket) -> Fraction:
    assert packet.dts is not None
    return packet.dts * packet.time_base

"""Sound beside new pictures: of every codec, rate and number of channels, in step, and never at their expense."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.colour import Colormap
from stream.errors import SinkError
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.sinks.file import VideoSink
from stream.sources.file import FileSource
from stream.sources.sound import Piece, Sound
from stream.sources.times import FileClock
from tests.fakes import FakeSession, depth_frame
from tests.videos import gray_levels

RATE, FPS = 48000, 25


def tone(seconds: float, rate: int, channels: int = 1, hertz: float = 440, begin_s: float = 0) -> NDArray[np.float32]:
    """[channels, samples]: a tone that begins after so many seconds of silence."""
    time_s = np.arange(round(seconds * rate)) / rate
    wave = np.where(time_s < begin_s, 0, 0.4 * np.sin(2 * np.pi * hertz * time_s))
    return np.repeat(wave[None].astype(np.float32), channels, axis=0)


def write_clip(
    path: Path,
    *waves: NDArray[np.float32],
    codec: str = "pcm_s16le",
    rate: int = RATE,
    layout: str | None = None,
    seconds: float = 2,
) -> Path:
    """Gray levels at 25 frames a second, and sound tracks; muxed by time."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", FPS, options={"preset": "ultrafast", "g": "10"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        packets: list[av.Packet[Any]] = []
        tracks = [_track(container, codec, rate, layout or {1: "mono", 2: "stereo"}[len(wave)]) for wave in waves]
        for index, image in enumerate(gray_levels(round(seconds * FPS))):
            picture = av.VideoFrame.from_ndarray(image % 240, "rgb24").reformat(format="yuv420p")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            packets += video.encode(picture)
        packets += video.encode(None)
        for track, wave in zip(tracks, waves, strict=True):
            for begin in range(0, wave.shape[1], 1024):
                frame = _frame(wave[:, begin : begin + 1024], codec, track.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
                packets += track.encode(frame)
            packets += track.encode(None)
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * one.time_base):
            container.mux(packet)
    return path


def _track(container: av.container.OutputContainer, codec: str, rate: int, layout: str) -> av.AudioStream:
    track = container.add_stream(codec, rate, layout=layout)
    assert isinstance(track, av.AudioStream)
    return track


def _frame(wave: NDArray[np.float32], codec: str, layout: str) -> av.AudioFrame:
    """As integers for a codec of such: FFmpeg converts channels without names only where it need not."""
    if not codec.startswith("pcm_s16"):
        return av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), "fltp", layout)
    packed = np.ascontiguousarray((wave * 32767).astype(np.int16).T.reshape(1, -1))
    return av.AudioFrame.from_ndarray(packed, "s16", layout)


def converted(source_path: Path, path: Path, max_frames: int | None = None) -> tuple[tuple[str, ...], str | None]:
    """Depth of a file into a video; the notes of the source and of the sink."""
    with FileSource(source_path, max_frames) as source:
        sink = VideoSink(path, source.info, Colormap.TURBO, sound=source.sound())
        run(source, DepthEstimator(FakeSession()).step, [sink])
        return source.info.notes, sink.note


def pictures_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def heard(path: Path) -> tuple[NDArray[np.float64], int, float]:
    """The sound of a file as one channel, its rate, and when it begins; silence where it has gaps."""
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        frames = list(container.decode(track))
        begins = [Fraction(frame.pts or 0) * (frame.time_base or 1) for frame in frames]
        begin, last = begins[0], frames[-1]
        wave = np.zeros(round((begins[-1] - begin) * track.rate) + last.samples)
        for frame, begin_s in zip(frames, begins, strict=True):
            at = round((begin_s - begin) * track.rate)
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, frame.layout.nb_channels).T
            mono = samples.astype(np.float64).mean(axis=0)
            wave[at : at + len(mono)] = mono[: len(wave) - at]
        return wave, track.rate, float(begin)


def pitch(path: Path, begin_s: float, end_s: float) -> float:
    """The loudest frequency between two times of the file."""
    wave, rate, start_s = heard(path)
    part = wave[round((begin_s - start_s) * rate) : round((end_s - start_s) * rate)]
    return float(np.abs(np.fft.rfft(part * np.hanning(len(part)))).argmax() * rate / len(part))


def onset_s(path: Path) -> float:
    """When the tone begins."""
    wave, rate, start_s = heard(path)
    return start_s + float(np.flatnonzero(np.abs(wave) > 0.1)[0]) / rate


@pytest.mark.parametrize("rate", [7000, 12345, 44100, 96000, 192000, 384000])
def test_every_rate_is_heard_as_it_was(tmp_path: Path, rate: int) -> None:
    source = write_clip(tmp_path / "a.mkv", tone(1, rate), rate=rate, seconds=1)
    assert converted(source, tmp_path / "b.mp4") == ((), None)
    assert pictures_in(tmp_path / "b.mp4") == 25
    assert pitch(tmp_path / "b.mp4", 0.3, 0.9) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("name", "codec", "layout", "channels"),
    [
        ("a.mov", "pcm_s24le", "mono", 1),
        ("a.mkv", "pcm_f32le", "stereo", 2),
        ("a.mkv", "pcm_f64le", "stereo", 2),
        ("a.avi", "pcm_u8", "mono", 1),
        ("a.mkv", "pcm_s16le", "5.1", 6),
        ("a.mkv", "pcm_s16le", "3 channels", 3),
        ("a.mkv", "pcm_s16le", "9 channels", 9),
        ("a.mov", "pcm_s16be", "16 channels", 16),
        ("a.ts", "mp2", "stereo", 2),
        ("a.avi", "adpcm_ms", "stereo", 2),
    ],
)
def test_every_number_of_channels_and_kind_of_sample_is_heard(
    tmp_path: Path, name: str, codec: str, layout: str, channels: int
) -> None:
    source = write_clip(tmp_path / name, tone(1, RATE, channels), codec=codec, layout=layout, seconds=1)
    assert converted(source, tmp_path / "b.mp4") == ((), None)
    assert pitch(tmp_path / "b.mp4", 0.3, 0.9) == pytest.approx(440, abs=3)
    assert 0.05 < np.abs(heard(tmp_path / "b.mp4")[0]).max() < 1


def _unknown_codec(path: Path, count: int) -> Path:
    """The first sound tracks of an MP4 renamed to Apple's `apac`, of which FFmpeg knows nothing."""
    content = path.read_bytes()
    for old, new in ((b"mp4a", b"apac"), (b"esds", b"dapa")):
        assert content.count(old) >= count
        content = content.replace(old, new, count)
    path.write_bytes(content)
    return path


def test_sound_of_an_unknown_codec_is_left_out_with_a_note(tmp_path: Path) -> None:
    source = _unknown_codec(write_clip(tmp_path / "a.mp4", tone(2, RATE), codec="aac"), 1)
    notes, _ = converted(source, tmp_path / "b.mp4")
    assert notes == ("the sound is in a codec that cannot be decoded here: sound is left out",)
    assert pictures_in(tmp_path / "b.mp4") == 50


def test_another_track_is_used_where_the_first_is_of_an_unknown_codec(tmp_path: Path) -> None:
    two = write_clip(tmp_path / "a.mp4", tone(2, RATE), tone(2, RATE, hertz=880), codec="aac")
    notes, _ = converted(_unknown_codec(two, 1), tmp_path / "b.mp4")
    assert notes == ("sound track 1 is in a codec that cannot be decoded here: track 2 is used",)
    assert pitch(tmp_path / "b.mp4", 0.5, 1.5) == pytest.approx(880, abs=2)


def test_mp3_of_a_rate_that_mp4_does_not_take_is_encoded_anew(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", tone(1, 8000), codec="libmp3lame", rate=8000, seconds=1)
    assert converted(source, tmp_path / "b.mp4") == ((), None)
    assert pitch(tmp_path / "b.mp4", 0.3, 0.9) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_sound_follows_recordings_that_were_joined(tmp_path: Path, codec: str) -> None:
    """Each part lasts two seconds and begins its clock anew; the second is of another rate and pitch."""
    first = write_clip(tmp_path / "1.ts", tone(2, RATE), codec=codec)
    second = write_clip(tmp_path / "2.ts", tone(2, 44100, hertz=880), codec=codec, rate=44100)
    (tmp_path / "joined.ts").write_bytes(first.read_bytes() + second.read_bytes())
    assert converted(tmp_path / "joined.ts", tmp_path / "b.mp4") == ((), None)
    assert pictures_in(tmp_path / "b.mp4") == 100
    assert pitch(tmp_path / "b.mp4", 0.4, 1.8) == pytest.approx(440, abs=2)
    assert pitch(tmp_path / "b.mp4", 2.3, 3.8) == pytest.approx(880, abs=2)


@pytest.mark.parametrize(("parts", "begins_s"), [("heard silent heard", (0.5, 4.5)), ("silent heard", (2.5,))])
def test_sound_finds_its_part_behind_one_without_any(tmp_path: Path, parts: str, begins_s: tuple[float, ...]) -> None:
    """FFmpeg does not know the sound's rate where it is not there at the start."""
    clips = {
        "heard": write_clip(tmp_path / "1.ts", tone(2, RATE, begin_s=0.5), codec="aac"),
        "silent": write_clip(tmp_path / "2.ts"),
    }
    (tmp_path / "joined.ts").write_bytes(b"".join(clips[name].read_bytes() for name in parts.split()))
    assert converted(tmp_path / "joined.ts", tmp_path / "b.mp4") == ((), None)
    wave, rate, start_s = heard(tmp_path / "b.mp4")
    loud = np.abs(wave[: len(wave) // 480 * 480]).reshape(-1, 480).max(axis=1) > 0.1
    rises = start_s + np.flatnonzero(np.diff(loud.astype(int), prepend=0) > 0) * 480 / rate
    assert rises == pytest.approx(begins_s, abs=0.06)


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "pcm_s16le"), ("a.ts", "mp2"), ("a.mkv", "flac")])
def test_sound_stays_where_it_was_beside_the_pictures(tmp_path: Path, name: str, codec: str) -> None:
    source = write_clip(tmp_path / name, tone(2, RATE, begin_s=0.7), codec=codec)
    converted(source, tmp_path / "b.mp4")
    assert onset_s(tmp_path / "b.mp4") == pytest.approx(0.7, abs=0.03)


def test_sound_is_in_step_with_the_track_of_pictures_that_is_read(tmp_path: Path) -> None:
    """The other track, smaller and listed first, begins a second and a half later."""
    path = tmp_path / "two.mkv"
    clip = write_clip(tmp_path / "a.mkv", tone(2, RATE, begin_s=0.7))
    with av.open(str(clip)) as read, av.open(str(path), "w") as written:
        small = written.add_stream("libx264", FPS)
        small.width, small.height, small.pix_fmt = 16, 16, "yuv420p"
        packets: list[av.Packet[Any]] = []
        for index in range(10):
            picture = av.VideoFrame(16, 16, "yuv420p")
            picture.pts, picture.time_base = index + round(1.5 * FPS), Fraction(1, FPS)
            packets += small.encode(picture)
        packets += small.encode(None)
        copies = {stream: written.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream]
                packets.append(packet)
        for packet in sorted(packets, key=lambda one: (one.dts or 0) * one.time_base):
            written.mux(packet)
    with FileSource(path) as source:
        assert (source.info.height, source.info.width) == (48, 64)
    converted(path, tmp_path / "b.mp4")
    assert onset_s(tmp_path / "b.mp4") == pytest.approx(0.7, abs=0.03)


def test_two_outputs_have_the_sound_each(tmp_path: Path) -> None:
    for codec in ("pcm_s16le", "aac"):
        source_path = write_clip(tmp_path / "a.mkv", tone(2, RATE, begin_s=0.7), codec=codec)
        outputs = tmp_path / "b.mp4", tmp_path / "c.mp4"
        with FileSource(source_path) as source:
            sinks = [VideoSink(path, source.info, sound=source.sound()) for path in outputs]
            run(source, DepthEstimator(FakeSession()).step, sinks)
        assert [onset_s(path) for path in outputs] == [pytest.approx(0.7, abs=0.03)] * 2


class _Broken:
    """A container whose sound cannot be written."""

    def __init__(self, container: av.container.OutputContainer, error: Exception) -> None:
        self._container = container
        self._error = error

    def mux(self, packets: object) -> None:
        if isinstance(packets, av.Packet) and isinstance(packets.stream, av.AudioStream):
            raise self._error
        self._container.mux(packets)  # type: ignore[arg-type]


def _with_broken_sound(tmp_path: Path, error: Exception) -> VideoSink:
    source_path = write_clip(tmp_path / "a.mkv", tone(2, RATE))
    with FileSource(source_path) as source:
        sink = VideoSink(tmp_path / "b.mp4", source.info, sound=source.sound())
        assert sink._audio is not None
        sink._audio._output = _Broken(sink._container, error)  # type: ignore[assignment]
        for frame in source:
            sink.write(depth_frame(np.ones((48, 64), np.float32), frame.index))
        sink.close()
    return sink


def test_sound_that_the_container_refuses_costs_no_picture(tmp_path: Path) -> None:
    sink = _with_broken_sound(tmp_path, av.ArgumentError(22, "Invalid argument"))
    assert sink.note == "parts of the sound were left out: Invalid argument"
    assert pictures_in(tmp_path / "b.mp4") == 50


def test_a_full_disk_is_not_taken_for_a_fault_of_the_sound(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="the disk is full"):
        _with_broken_sound(tmp_path, av.OSError(28, "No space left on device"))


def test_damaged_sound_costs_no_picture(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", tone(1, RATE), codec="mp2", seconds=1)
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [bytes(packet) for packet in container.demux(audio=0) if packet.size > 40]
    for packet in packets[len(packets) // 3 :]:
        at = content.find(packet)
        content[at + 1 : at + len(packet)] = b"\xff" * (len(packet) - 1)
    source.write_bytes(content)
    _, note = converted(source, tmp_path / "b.mp4")
    assert pictures_in(tmp_path / "b.mp4") == 25
    assert note is not None
    assert note.endswith("packets of the sound were left out: they cannot be decoded")


def test_the_sound_of_a_part_ends_with_it(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mkv", tone(2, RATE))
    converted(source, tmp_path / "b.mp4", max_frames=10)
    wave, rate, begin_s = heard(tmp_path / "b.mp4")
    assert begin_s + len(wave) / rate == pytest.approx(0.4, abs=0.1)


def _taken(packets: list[tuple[float, float]], clock: FileClock, until_s: list[float | None]) -> list[float]:
    """When pieces begin. packets: (time, length) in the track's seconds, put before the first is taken."""
    sound = Sound(None, clock, Fraction(1, 1000))  # type: ignore[arg-type]
    for time_s, length_s in packets:
        packet: av.Packet[Any] = av.Packet(1)
        packet.time_base, packet.pts = Fraction(1, 1000), round(time_s * 1000)
        packet.dts, packet.duration = packet.pts, round(length_s * 1000)
        sound.put(Piece(packet))
    begins = []
    for limit in until_s:
        while taken := sound.take(None if limit is None else Fraction(limit)):
            piece, shift_s = taken
            assert piece.packet.pts is not None
            begins.append(float(piece.packet.pts * piece.packet.time_base + shift_s))
    return begins


def _clock(*restarts: int) -> FileClock:
    """Of pictures, a hundred milliseconds each; a clock that begins anew after so many of them."""
    clock = FileClock(0, 100, 10**9)
    for part, count in enumerate(restarts):
        for index in range(count):
            clock.mended(100 * index, part)
    return clock


@pytest.mark.parametrize(
    ("packets", "clock", "until_s", "begins"),
    [
        ([(0, 0.1), (0.1, 0.1), (0.2, 0.1)], _clock(3), [0.15, None], [0, 0.1, 0.2]),
        ([(0, 1), (1, 1), (5, 1)], _clock(60), [2.5, None], [0, 1, 5]),
        ([(0, 1), (1, 1), (0, 1), (1, 1)], _clock(20, 20), [None], [0, 1, 2, 3]),
        ([(0, 1), (1, 0.5), (0, 1), (1, 1)], _clock(20, 20), [None], [0, 1, 2, 3]),
        ([(0, 1), (1, 1), (0, 1)], _clock(20), [0.4, 2.5], [0, 1]),
        ([(0, 1), (1, 1), (0, 1), (1, 1)], _clock(60), [4.5, None], [0, 1, 2, 3]),
    ],
    ids=["goes on", "has a gap", "is joined", "is joined early", "waits for the pictures", "falls back alone"],
)
def test_sound_goes_where_the_clock_of_the_pictures_goes(
    packets: list[tuple[float, float]], clock: FileClock, until_s: list[float | None], begins: list[float]
) -> None:
    assert _taken(packets, clock, until_s) == begins


def test_sound_far_from_its_pictures_is_bounded_and_counted() -> None:
    sound = Sound(None, _clock(3), Fraction(1, 1000))  # type: ignore[arg-type]
    for _ in range(70):
        sound.put(Piece(av.Packet(1 << 20)))
    assert sound.lost == 6

"""Output files: what is in them, and that a half-written one never has the final name."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import BinaryIO

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.spec import Unit
from stream.colour import Colormap
from stream.errors import SinkError, SourceError
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, DisplayRange, Frame
from stream.pipeline import run
from stream.recorded import read
from stream.sinks import Sink
from stream.sinks.file import Gray16Sink, NpzSink, Resolution, VideoSink, fit_resolution, read_gray16
from stream.sinks.stills import StillsSink
from stream.sinks.unfinished import left_behind
from stream.sources import SourceInfo
from stream.sources.file import FileSource
from stream.sources.synthetic import SyntheticSource
from tests.fakes import FakeSession, depth_frame
from tests.videos import gray_levels, write_video

INFO = SourceInfo(48, 64, Fraction(30), Fraction(1, 30), 10, None, False, False, "made up")
RAMP = np.broadcast_to(np.linspace(0, 10, 64, dtype=np.float32), (48, 64))
KINDS: dict[str, Callable[[Path], Sink]] = {
    "a.mp4": lambda path: VideoSink(path, INFO),
    "a.mkv": lambda path: Gray16Sink(path, INFO),
    "a.npz": lambda path: NpzSink(path, INFO, "fake"),
}


def write_all(sink: Sink, maps: list[NDArray[np.float32]], unit: Unit = Unit.RELATIVE) -> None:
    for index, depth in enumerate(maps):
        sink.write(depth_frame(depth, index, unit))
    sink.close()


def pictures(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times(frames: list[av.VideoFrame]) -> list[Fraction]:
    return [frame.pts * frame.time_base for frame in frames if frame.pts is not None and frame.time_base is not None]


def run_file(source_path: Path, path: Path, *, max_frames: int | None = None, side_by_side: bool = False) -> VideoSink:
    with FileSource(source_path, max_frames) as source:
        sink = VideoSink(path, source.info, Colormap.TURBO, side_by_side=side_by_side, sound=source.sound())
        run(source, DepthEstimator(FakeSession()).step, [sink])
    return sink


def test_video_shows_the_depth(tmp_path: Path) -> None:
    write_all(VideoSink(tmp_path / "a.mp4", INFO), [np.ascontiguousarray(RAMP)] * 3)
    frames = pictures(tmp_path / "a.mp4")
    gray = frames[1].reformat(format="rgb24").to_ndarray()[24, :, 0]
    np.testing.assert_allclose(gray, np.linspace(0, 255, 64), atol=6)
    assert [(f.format.name, f.height, f.width) for f in frames] == [("yuv420p", 48, 64)] * 3
    assert (frames[0].colorspace, frames[0].color_range) == (1, 1)


def test_video_keeps_every_time_exactly(tmp_path: Path) -> None:
    pts = [0, 1000, 1001, 7000, 7003, 90_000]
    milliseconds = [0, 40, 41, 300, 307, 2571]
    source = write_video(tmp_path / "in.mkv", gray_levels(6), time_base=Fraction(1, 1000), pts=milliseconds)
    run_file(source, tmp_path / "out.mp4")
    assert times(pictures(tmp_path / "out.mp4")) == times(pictures(source))
    exact = write_video(tmp_path / "in.mp4", gray_levels(6), time_base=Fraction(1, 90_000), pts=pts)
    run_file(exact, tmp_path / "out2.mp4")
    assert times(pictures(tmp_path / "out2.mp4")) == [Fraction(p, 90_000) for p in pts]


def test_video_lasts_as_long_as_its_source(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", gray_levels(20))
    run_file(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.duration == pytest.approx(20 / 30 * av.time_base, rel=0.01)


def sound_of(path: Path) -> tuple[str, list[tuple[Fraction, bytes]]]:
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        packets = [p for p in container.demux(track) if p.pts is not None]
        return track.codec_context.name, [(p.pts * p.time_base, bytes(p)) for p in packets if p.pts is not None]


@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "ac3"])
def test_sound_is_copied(tmp_path: Path, codec: str) -> None:
    source = write_video(tmp_path / "in.mp4", gray_levels(30), sound_s=1, sound_codec=codec)
    assert run_file(source, tmp_path / "out.mp4").note is None
    assert sound_of(tmp_path / "out.mp4") == sound_of(source)


def test_sound_that_mp4_does_not_take_is_encoded(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mkv", gray_levels(30), sound_s=1, sound_codec="pcm_s16le")
    run_file(source, tmp_path / "out.mp4")
    codec, packets = sound_of(tmp_path / "out.mp4")
    assert codec == "aac"
    assert packets[-1][0] == pytest.approx(1, abs=0.05)


def test_sound_ends_where_the_pictures_were_cut_short(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", gray_levels(45), sound_s=3)
    run_file(source, tmp_path / "out.mp4", max_frames=6)
    assert sound_of(tmp_path / "out.mp4")[1][-1][0] == pytest.approx(6 / 30, abs=0.05)


def test_sound_stays_in_step_when_the_source_starts_late(tmp_path: Path) -> None:
    source = write_video(
        tmp_path / "in.ts", gray_levels(30, 144, 176), codec="mpeg2video", sound_s=1, sound_codec="ac3"
    )
    first_sound = sound_of(source)[1][0][0] - times(pictures(source))[0]
    run_file(source, tmp_path / "out.mp4")
    out_first = sound_of(tmp_path / "out.mp4")[1][0][0] - times(pictures(tmp_path / "out.mp4"))[0]
    assert out_first == pytest.approx(first_sound, abs=0.002)


@pytest.mark.parametrize("codec", ["aac", "ac3", "pcm_s16le"])
def test_pictures_reach_the_disk_before_sound_that_begins_late(tmp_path: Path, codec: str) -> None:
    silent = write_video(tmp_path / "silent.mp4", gray_levels(20) * 3, time_base=Fraction(1, 5))
    sounding = write_video(tmp_path / "in.mov", gray_levels(2), sound_s=1, sound_codec=codec)
    source = tmp_path / "late.mov"
    with av.open(str(silent)) as one, av.open(str(sounding)) as two, av.open(str(source), "w") as late:
        pictures_in, sound_in = one.streams.video[0], two.streams.audio[0]
        video, audio = late.add_stream_from_template(pictures_in), late.add_stream_from_template(sound_in)
        for packet in one.demux(pictures_in):
            if packet.dts is not None:
                packet.stream = video
                late.mux(packet)
        for sounds in two.demux(sound_in):
            if sounds.dts is not None and sounds.pts is not None:
                shift = round(10 / sounds.time_base)
                sounds.dts, sounds.pts, sounds.stream = sounds.dts + shift, sounds.pts + shift, audio
                late.mux(sounds)
    sizes: list[int] = []
    with FileSource(source) as opened:
        sink = VideoSink(tmp_path / "out.mp4", opened.info, sound=opened.sound())
        part = tmp_path / "out.part.mp4"
        estimator = DepthEstimator(FakeSession())
        for each in opened:
            sink.write(replace(estimator.step(each), depth=noise(each.index).depth))
            sizes.append(part.stat().st_size)
        sink.close()
    assert sizes[10] < 1000 < sizes[50]
    assert len(pictures(tmp_path / "out.mp4")) == 60
    heard = sound_of(tmp_path / "out.mp4")[1]
    assert heard[0][0] == pytest.approx(10, abs=0.05)
    assert heard[-1][0] == pytest.approx(11, abs=0.1)


def test_side_by_side_puts_the_original_on_the_left(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", gray_levels(5))
    run_file(source, tmp_path / "out.mp4", side_by_side=True)
    both = pictures(tmp_path / "out.mp4")[2].reformat(format="rgb24").to_ndarray()
    original = pictures(source)[2].reformat(format="rgb24").to_ndarray()
    assert both.shape == (48, 128, 3)
    np.testing.assert_allclose(both[4:-4, 4:20], original[4:-4, 4:20], atol=10)


@pytest.mark.parametrize(("size", "resolution", "wanted"), [
    ((1080, 1920), "auto", (1080, 1920)), ((2160, 3840), "auto", (1080, 1920)), ((1920, 1080), "360p", (640, 360)),
    ((480, 640), "720p", (480, 640)), ((481, 641), "auto", (480, 640)), ((720, 1280), "360p", (360, 640)),
    ((1, 1), "auto", (2, 2)), ((272, 640), "1080p", (272, 640)), ((540, 960), "480p", (480, 852)),
])  # fmt: skip
def test_output_sizes(size: tuple[int, int], resolution: str, wanted: tuple[int, int]) -> None:
    assert fit_resolution(*size, Resolution(resolution)) == wanted


@given(st.integers(1, 9000), st.integers(1, 9000), st.sampled_from(list(Resolution)))
def test_output_sizes_are_even_within_the_limit_and_never_larger(
    height: int, width: int, resolution: Resolution
) -> None:
    out = fit_resolution(height, width, resolution)
    assert all(side % 2 == 0 and side >= 2 for side in out)
    assert min(out) <= resolution.lines
    assert out[0] <= max(height, 2)
    assert out[1] <= max(width, 2)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (49, 63)])
def test_video_takes_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    info = SourceInfo(*size, Fraction(30), Fraction(1, 30), 1, None, False, False, "made up")
    write_all(VideoSink(tmp_path / "a.mp4", info, side_by_side=True), [np.ones(size, np.float32)] * 2)
    height, width = fit_resolution(*size, Resolution.AUTO)
    assert [(f.height, f.width) for f in pictures(tmp_path / "a.mp4")] == [(height, 2 * width)] * 2


def test_a_new_frame_size_keeps_the_outputs_own(tmp_path: Path) -> None:
    maps = [np.ones((48, 64), np.float32), np.ones((96, 64), np.float32)]
    for name, kind in KINDS.items():
        write_all(kind(tmp_path / name), maps)
    assert {(f.height, f.width) for f in pictures(tmp_path / "a.mp4")} == {(48, 64)}
    assert [depth.shape for depth in read_gray16(tmp_path / "a.mkv")] == [(48, 64)] * 2
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["depths"].shape == (2, 48, 64)


def test_gray16_reads_back_relative_depth(tmp_path: Path) -> None:
    maps = [np.random.default_rng(i).random((48, 64), np.float32) * (20 + i) for i in range(5)]
    sink = Gray16Sink(tmp_path / "a.mkv", INFO)
    write_all(sink, maps)
    np.testing.assert_allclose(np.stack(list(read_gray16(tmp_path / "a.mkv"))), maps, atol=20 / 16384 / 2 * 1.01)
    assert sink.clipped == 0
    assert times(pictures(tmp_path / "a.mkv"))[3] == Fraction(1, 10)


def test_gray16_stores_metres_as_millimetres(tmp_path: Path) -> None:
    depth = np.full((48, 64), 12.3456, np.float32)
    depth[0, :3] = 70, np.nan, np.inf
    sink = Gray16Sink(tmp_path / "a.mkv", INFO)
    write_all(sink, [depth], Unit.METRE)
    codes = pictures(tmp_path / "a.mkv")[0].to_ndarray()
    assert codes[1, 1] == 12346
    assert codes[0, :3].tolist() == [65535, 0, 0]
    assert sink.clipped == 1


def test_reading_gray16_fails_for_another_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", gray_levels(2), codec="ffv1", pixel_format="gray16le")
    with pytest.raises(SourceError, match="no depth scale"):
        next(read_gray16(path))


def test_npz_holds_depth_as_it_is(tmp_path: Path) -> None:
    maps = [np.random.default_rng(i).random((48, 64), np.float32) - 0.5 for i in range(4)]
    maps[0][0, 0] = np.nan
    write_all(NpzSink(tmp_path / "a.npz", INFO, "fake"), maps)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["depths"], maps)
        assert archive["depths"].dtype == np.float32
        assert archive["min_depth"] == np.nanmin(maps)
        assert archive["max_depth"] == np.nanmax(maps)
        assert archive["fps"] == 30
        assert archive["model"] == "fake"
        assert archive["shape"].tolist() == [4, 48, 64]


@pytest.mark.parametrize("name", KINDS)
def test_the_file_appears_when_it_is_finished(tmp_path: Path, name: str) -> None:
    sink = KINDS[name](tmp_path / name)
    sink.write(depth_frame(np.ascontiguousarray(RAMP)))
    assert name not in os.listdir(tmp_path)
    sink.close()
    sink.abort()
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("writes", [0, 2])
def test_abort_leaves_nothing_and_an_older_file_as_it_was(tmp_path: Path, name: str, writes: int) -> None:
    (tmp_path / name).write_bytes(b"older")
    sink = KINDS[name](tmp_path / name)
    for index in range(writes):
        sink.write(depth_frame(np.ascontiguousarray(RAMP), index))
    sink.abort()
    sink.abort()
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"older"


@pytest.mark.parametrize("name", KINDS)
def test_no_frame_no_file(tmp_path: Path, name: str) -> None:
    KINDS[name](tmp_path / name).close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", KINDS)
def test_opening_fails_where_there_is_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SinkError, match="No such file or directory") as caught:
        KINDS[name](tmp_path / "missing" / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_opening_fails_for_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(SinkError, match="it is a folder"):
        KINDS[name](tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("name", KINDS)
def test_opening_fails_where_writing_is_forbidden(tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SinkError, match="Permission denied"):
        KINDS[name](tmp_path / name)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Stands in for a full disk: larger files fail to grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def noise(index: int) -> DepthFrame:
    depth = np.random.default_rng(index).random((48, 64), np.float32)
    plain = depth_frame(depth, index)
    return DepthFrame(plain.frame, depth, plain.unit, DisplayRange(0, 1), True)


@pytest.mark.parametrize("name", KINDS)
def test_a_disk_that_is_full_at_once_is_one_clear_error_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    sink = KINDS[name](tmp_path / name)
    with files_of_at_most(4096), pytest.raises(SinkError, match="as large as it may become"):  # noqa: PT012
        for index in range(60):
            sink.write(noise(index))
        sink.close()
    sink.abort()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "size", "at_least"), [("a.mp4", 100_000, 30), ("a.mkv", 100_000, 12), ("a.npz", 99_000, 8)]
)
def test_a_disk_that_fills_up_leaves_what_was_recorded(
    tmp_path: Path, name: str, size: int, at_least: int, caplog: pytest.LogCaptureFixture
) -> None:
    sink = KINDS[name](tmp_path / name)
    part = name.replace(".", ".part.")
    with files_of_at_most(size), pytest.raises(SinkError, match=f"recorded until then is in {part}"):  # noqa: PT012
        for index in range(600):
            sink.write(noise(index))
    sink.abort()
    assert os.listdir(tmp_path) == [part]
    if name == "a.mp4":
        seen = times(pictures(tmp_path / part))
    else:
        back = list(read(tmp_path / part))
        seen = [one.time_s for one in back]
        np.testing.assert_allclose(back[-1].depth, noise(len(back) - 1).depth, atol=1e-4)
        assert f"{part} was cut off while it was recorded: it holds {len(back)} whole maps" in caplog.text
    assert len(seen) >= at_least
    assert [round(time * 30) for time in seen] == list(range(len(seen)))


@pytest.mark.parametrize("name", KINDS)
def test_a_disk_that_fills_up_while_the_end_is_written_leaves_what_was_recorded(tmp_path: Path, name: str) -> None:
    sink = KINDS[name](tmp_path / name)
    for index in range(100):
        sink.write(noise(index))
    part = tmp_path / name.replace(".", ".part.")
    with files_of_at_most(part.stat().st_size), pytest.raises(SinkError, match="recorded until then is in"):
        sink.close()
    sink.abort()
    assert os.listdir(tmp_path) == [part.name]
    if name == "a.mp4":
        assert times(pictures(part)) == [Fraction(index, 30) for index in range(len(pictures(part)))]
        assert len(pictures(part)) >= 30
    else:
        assert len(list(read(part))) >= 96


def test_the_index_stands_first_unless_the_source_is_live(tmp_path: Path) -> None:
    for live in (False, True):
        sink = VideoSink(tmp_path / "a.mp4", replace(INFO, live=live))
        for index in range(70):
            sink.write(noise(index))
        sink.close()
        data = (tmp_path / "a.mp4").read_bytes()
        assert (data.index(b"moov") > data.index(b"mdat")) == live
        assert b"moof" not in data[: data.index(b"mdat")]
        assert times(pictures(tmp_path / "a.mp4")) == [Fraction(index, 30) for index in range(70)]
        with av.open(str(tmp_path / "a.mp4")) as container:
            assert container.streams.video[0].frames == 70


def test_without_room_for_moving_its_index_a_video_is_complete_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_source: BinaryIO, target: BinaryIO) -> None:
        target.write(b"some of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("stream.sinks.video.index_first", full)
    write_all(VideoSink(tmp_path / "a.mp4", INFO), [np.ascontiguousarray(RAMP)] * 40)
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert len(pictures(tmp_path / "a.mp4")) == 40


@pytest.mark.parametrize("letter", ["a", "ä", "深"])
@pytest.mark.parametrize("name", KINDS)
def test_names_may_be_as_long_as_the_file_system_allows(tmp_path: Path, name: str, letter: str) -> None:
    for size in (*range(238, 256), 256, 300):
        stem = (letter * size).encode()[: size - 4].decode("utf-8", "ignore")
        path = tmp_path / f"{'x' * (size - 4 - len(stem.encode()))}{stem}{name[1:]}"
        assert len(path.name.encode()) == size
        if size > 255:
            with pytest.raises(SinkError, match="at most 255"):
                KINDS[name](path)
            continue
        write_all(KINDS[name](path), [np.ascontiguousarray(RAMP)])
        assert os.listdir(tmp_path) == [path.name]
        path.unlink()


def test_an_older_part_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.part.mp4").write_bytes(b"of a dead run")
    assert left_behind(tmp_path / "a.mp4") == [tmp_path / "a.part.mp4"]
    sink = VideoSink(tmp_path / "a.mp4", INFO)
    sink.write(noise(0))
    assert sorted(os.listdir(tmp_path)) == ["a.part-2.mp4", "a.part.mp4"]
    assert left_behind(tmp_path / "a.mp4") == [tmp_path / "a.part.mp4"]
    sink.close()
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "a.part.mp4"]
    assert (tmp_path / "a.part.mp4").read_bytes() == b"of a dead run"


def test_a_stopped_run_leaves_playable_files(tmp_path: Path) -> None:
    stop, source = threading.Event(), SyntheticSource(48, 64)
    sinks: list[Sink] = [VideoSink(tmp_path / "a.mp4", source.info), NpzSink(tmp_path / "a.npz", source.info, "fake")]
    estimator = DepthEstimator(FakeSession())

    def stepped(frame: Frame) -> DepthFrame:
        if frame.index == 5:
            stop.set()
        return estimator.step(frame)

    stats = run(source, stepped, sinks, stop=stop)
    assert len(pictures(tmp_path / "a.mp4")) == stats.frames_out >= 6
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["shape"][0] == stats.frames_out


@pytest.mark.parametrize("letter", ["a", "ä", "深"])
def test_numbered_pictures_may_have_long_names(tmp_path: Path, letter: str) -> None:
    folder = tmp_path
    for size in range(230, 258):
        stem = (letter * size).encode()[: size - 8].decode("utf-8", "ignore")
        path = folder / f"{'x' * (size - 8 - len(stem.encode()))}{stem}%04d.png"
        index = path.name.replace("%04d.png", "frames.jsonl")
        if max(size, len(index.encode())) > 255:
            with pytest.raises(SinkError, match="at most 255"):
                StillsSink(path)
            assert not list(folder.iterdir())
            continue
        write_all(StillsSink(path), [np.ascontiguousarray(RAMP)])
        assert sorted(os.listdir(folder)) == sorted([path.name % 0, index])
        assert len(list(read(path))) == 1
        for one in folder.iterdir():
            one.unlink()


@pytest.mark.parametrize("seed", [6, 22])
def test_no_picture_is_lost_where_they_come_unevenly_and_out_of_order(tmp_path: Path, seed: int) -> None:
    """The picture that is coded last may be shown before another: the film ended with it."""
    chance, time_base = Random(seed), Fraction(1, 90000)
    info = SourceInfo(48, 64, Fraction(25) if seed % 2 else None, time_base, None, None, True, False, "camera")
    times, now = [], 0
    path = tmp_path / "a.mp4"
    sink = VideoSink(path, info)
    for number in range(chance.choice([30, 31, 32, 33])):
        noise = np.random.default_rng(seed * 1000 + number // 3)
        picture = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3)).astype(np.uint8), format="rgb24")
        depth = noise.random((48, 64)).astype(np.float32)
        frame = Frame(picture, number, now, time_base, 0)
        sink.write(DepthFrame(frame, depth, Unit.RELATIVE, DisplayRange(0, 1), number == 0))
        times.append(now)
        now += int(6000 * chance.uniform(0.5, 1.6))
    sink.close()
    with av.open(path) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([t / 90000 for t in times])

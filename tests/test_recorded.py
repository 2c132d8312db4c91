"""Recordings come back exactly: values, unit, times, camera."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from engines.spec import Unit
from stream.camera import Intrinsics, Lens, LensModel
from stream.cloudfile import ply
from stream.errors import CameraError, SinkError, SourceError
from stream.frame import DepthFrame
from stream.pointcloud import CloudRule, cloud_of
from stream.recorded import read
from stream.sinks import Sink
from stream.sinks.gray16 import Gray16Sink
from stream.sinks.npz import NpzSink
from stream.sinks.stills import CloudSink, StillsSink, index_of
from stream.sinks.video import VideoSink
from stream.sources import SourceInfo
from tests.fakes import depth_frame
from tests.videos import gray_levels, write_video

NAMES = ("a.mkv", "a.npz", "%06d.png", "frame-%d-left.exr")
EXACT = ("a.npz", "%06d.exr")
SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))
COUNTER = itertools.count()


def info_of(first: DepthFrame) -> SourceInfo:
    height, width = first.depth.shape
    return SourceInfo(height, width, Fraction(30), first.frame.time_base, None, None, False, False, "test")


def sink_for(path: Path, first: DepthFrame) -> Sink:
    match path.suffix:
        case ".mkv":
            return Gray16Sink(path, info_of(first))
        case ".npz":
            return NpzSink(path, info_of(first), "tiny")
        case _:
            return StillsSink(path)


def record(path: Path, frames: Sequence[DepthFrame]) -> Path:
    sink = sink_for(path, frames[0])
    for one in frames:
        sink.write(one)
    sink.close()
    return path


def camera_for(height: int, width: int) -> Intrinsics:
    lens = Lens(LensModel.EQUIDISTANT, (0.1, -0.2, 0.3, 1e-9))
    return Intrinsics(height, width, 500.123456789, 501.0, 0.1, 7.25, lens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recordings")


def fresh(folder: Path) -> Path:
    place = folder / str(next(COUNTER))
    place.mkdir()
    return place


@pytest.mark.parametrize("name", EXACT)
@given(depth=arrays.arrays(np.uint32, SHAPES))
@settings(max_examples=25, deadline=None)
def test_floats_come_back_bit_by_bit(folder: Path, name: str, depth: NDArray[np.uint32]) -> None:
    sent = depth.view(np.float32)
    (got,) = read(record(fresh(folder) / name, [depth_frame(sent)]))
    assert np.array_equal(got.depth.view(np.uint32), depth)


@pytest.mark.parametrize("name", ["a.mkv", "%d.png"])
@given(codes=arrays.arrays(np.uint16, SHAPES))
@settings(max_examples=20, deadline=None)
def test_millimetres_come_back_exactly(folder: Path, name: str, codes: NDArray[np.uint16]) -> None:
    metres = codes * np.float32(0.001)
    metres[codes == 0] = np.nan
    (got,) = read(record(fresh(folder) / name, [depth_frame(metres, unit=Unit.METRE)]))
    assert got.unit is Unit.METRE
    assert np.array_equal(got.depth, metres, equal_nan=True)


@pytest.mark.parametrize("name", NAMES)
def test_recordings_keep_times_camera_and_unit(tmp_path: Path, name: str) -> None:
    camera = camera_for(20, 30)
    random = np.random.default_rng(0)
    frames = [
        replace(depth_frame(random.uniform(1, 9, (20, 30)).astype(np.float32), index, unit), intrinsics=camera)
        for index, unit in zip((0, 1, 4), itertools.repeat(Unit.INVERSE_METRE))
    ]
    path = record(tmp_path / name, [*frames[:2], replace(frames[1], stale=True), frames[2]])
    got = list(read(path))
    assert [one.index for one in got] == [0, 1, 2]
    for one, sent in zip(got, frames, strict=True):
        assert one.unit is Unit.INVERSE_METRE
        assert one.intrinsics == camera
        # Matroska counts milliseconds.
        assert abs(one.time_s - sent.frame.pts * sent.frame.time_base) <= (Fraction(1, 2000) if name == "a.mkv" else 0)
        assert np.abs(one.depth - sent.depth).max() <= 9 * 4 / 65535
    assert all(one.intrinsics is None for one in read(record(tmp_path / name, [depth_frame(frames[0].depth)])))


def test_independent_readers_see_the_same(tmp_path: Path) -> None:
    metres = np.array([[0.5, 1.234, np.nan], [65.5, 0, 3]], np.float32)
    record(tmp_path / "%02d.png", [depth_frame(metres, unit=Unit.METRE)])
    assert np.asarray(Image.open(tmp_path / "00.png")).tolist() == [[500, 1234, 0], [65500, 1, 3000]]
    head, first = (tmp_path / "frames.jsonl").read_text().splitlines()
    described = json.loads(head)
    assert (described["unit"], described["polarity"]) == ("metre", "larger is farther")
    assert (described["scale"], json.loads(first)["file"]) == (0.001, "00.png")
    openexr = pytest.importorskip("OpenEXR", reason="needs the package OpenEXR")
    record(tmp_path / "%02d.exr", [depth_frame(metres, unit=Unit.METRE)])
    (channel,) = openexr.File(str(tmp_path / "00.exr")).channels().values()
    assert np.array_equal(channel.pixels, metres, equal_nan=True)


@pytest.mark.parametrize("name", ["%06d.png", "x%d.exr"])
def test_an_aborted_recording_leaves_nothing(tmp_path: Path, name: str) -> None:
    sink = StillsSink(tmp_path / name)
    sink.write(depth_frame(np.ones((4, 4), np.float32)))
    assert len(list(tmp_path.iterdir())) == 2
    sink.abort()
    assert not list(tmp_path.iterdir())
    StillsSink(tmp_path / name).close()
    assert not list(tmp_path.iterdir())


def test_a_recording_that_was_cut_off_reads_as_far_as_it_came(tmp_path: Path) -> None:
    sink = StillsSink(tmp_path / "%d.exr")
    for index in range(3):
        sink.write(depth_frame(np.full((4, 4), index, np.float32), index))
    assert [one.depth[0, 0] for one in read(tmp_path / "%d.exr")] == [0, 1, 2]
    sink.close()


def test_a_pattern_names_its_list() -> None:
    assert index_of(Path("a/%06d.png")) == Path("a/frames.jsonl")
    assert index_of(Path("left-%d-x.exr")) == Path("left-frames-x.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("a.npz", b"no archive", "no recording of depth"),
        ("a.mkv", b"no video", "cannot be read"),
        ("a.txt", b"", "a recording of depth is"),
        ("frames.jsonl", b"{}\n", "not a list of frames"),
        ("frames.jsonl", b'{"format": 9}\n', "reads 1"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, name: str, content: bytes, hint: str) -> None:
    (tmp_path / name).write_bytes(content)
    asked = tmp_path / ("%d.png" if name == "frames.jsonl" else name)
    with pytest.raises(SourceError, match=hint):
        list(read(asked))


@pytest.mark.parametrize("name", ["missing.mkv", "missing/%d.png"])
def test_what_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError):
        list(read(tmp_path / name))


def test_a_video_without_a_scale_is_no_recording(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no depth scale"):
        list(read(write_video(tmp_path / "a.mkv", gray_levels(2))))


def test_a_video_says_what_it_shows(tmp_path: Path) -> None:
    first = depth_frame(np.ones((32, 32), np.float32), unit=Unit.METRE)
    sink = VideoSink(tmp_path / "a.mp4", info_of(first))
    sink.write(first)
    sink.close()
    with av.open(tmp_path / "a.mp4") as container:
        assert container.metadata["comment"] == "depth, metre; near is bright"


def test_clouds_are_files(tmp_path: Path) -> None:
    seen = replace(
        depth_frame(np.full((6, 8), 2, np.float32), unit=Unit.METRE), intrinsics=Intrinsics(6, 8, 8.0, 8.0, 3.5, 2.5)
    )
    sink = CloudSink(tmp_path / "%d.ply", CloudRule())
    sink.write(seen)
    sink.write(replace(seen, stale=True))
    colours = np.zeros((6, 8, 3), np.uint8)
    assert (tmp_path / "0.ply").read_bytes() == ply(cloud_of(seen, CloudRule(), colours).listed())
    sink.close()
    sink.abort()
    assert [path.name for path in tmp_path.iterdir()] == ["0.ply"]
    blind = CloudSink(tmp_path / "%d.pcd", CloudRule())
    with pytest.raises(CameraError):
        blind.write(replace(seen, intrinsics=None))


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="make it first"):
        StillsSink(tmp_path / "missing" / "%d.png")

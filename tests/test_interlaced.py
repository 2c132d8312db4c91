"""Interlaced material: whole pictures come of it, one for each frame, at the same times."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags
from av.filter import Graph
from numpy.typing import NDArray

from stream.preprocess import to_rgb
from stream.sources.choose import open_source
from stream.sources.file import FileSource
from stream.sources.progressive import Deinterlacer
from stream.uris import parse_source
from tests.served import files_served
from tests.videos import write_video

HEIGHT, WIDTH = 96, 128
NOTE = "interlaced"
Image = NDArray[np.uint8]


def moment(index: int) -> Image:
    """A bright bar that moves by four pixels from field to field; the rest changes slowly."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    left = 8 + 4 * index % 64
    image[:, left : left + 32] = 200
    return image


def woven(index: int, top_first: bool) -> Image:
    """A frame of two fields: the moments 2 * index and 2 * index + 1."""
    first, second = moment(2 * index), moment(2 * index + 1)
    frame = first.copy()
    frame[int(top_first) :: 2] = second[int(top_first) :: 2]
    return frame


def write_interlaced(
    path: Path, frames: int = 12, codec: str = "libx264", top_first: bool = True, said_by_container: bool = False
) -> Path:
    order = "tff" if top_first else "bff"
    options = {"libx264": {"x264-params": f"{order}=1:crf=10"}, "mpeg2video": {"q": "2"}}.get(codec, {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, 25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if said_by_container:
            stream.codec_context.field_order = 2 if top_first else 3
        else:
            stream.codec_context.flags |= Flags.interlaced_dct | Flags.interlaced_me
        if codec != "libx264":
            stream.codec_context.bit_rate = 8_000_000
        for index in range(frames):
            picture = av.VideoFrame.from_ndarray(woven(index, top_first), "rgb24").reformat(format=stream.pix_fmt)
            picture.pts, picture.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(flagged(picture, "prog" if said_by_container else order)))
        container.mux(stream.encode(None))
    return path


def flagged(picture: av.VideoFrame, mode: str) -> av.VideoFrame:
    """The same picture, said to be interlaced (tff, bff) or not (prog)."""
    graph = Graph()
    assert picture.time_base is not None
    steps = [
        graph.add_buffer(width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 25)),
        graph.add("setfield", mode),
        graph.add("buffersink"),
    ]
    for step, following in pairwise(steps):
        step.link_to(following)
    graph.configure()
    graph.push(picture)
    made = graph.pull()
    assert isinstance(made, av.VideoFrame)
    return made


def error_of(picture: av.VideoFrame, image: Image) -> float:
    """Mean difference in the band where the bar moves; combs make it large."""
    shown = to_rgb(picture, HEIGHT, WIDTH).astype(int)
    return float(np.abs(shown[8:-8] - image[8:-8]).mean())


@pytest.mark.parametrize(
    ("name", "codec", "top_first"),
    [("a.mp4", "libx264", True), ("a.mkv", "libx264", False), ("a.ts", "mpeg2video", True)],
)
def test_each_frame_becomes_its_first_field_made_whole(tmp_path: Path, name: str, codec: str, top_first: bool) -> None:
    path = write_interlaced(tmp_path / name, codec=codec, top_first=top_first)
    with FileSource(path) as source:
        frames = list(source)
        info = source.info
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(index, 25) for index in range(12)]
    assert NOTE in info.notes[0]
    assert [frame.picture.interlaced_frame for frame in frames] == [False] * 12
    combed = av.VideoFrame.from_ndarray(woven(5, top_first), "rgb24")
    for index in range(2, 10):
        assert error_of(frames[index].picture, moment(2 * index)) < 0.5 * error_of(combed, moment(10))


@pytest.mark.parametrize(("name", "codec"), [("a.mov", "mjpeg"), ("a.mkv", "mjpeg")])
@pytest.mark.parametrize("top_first", [True, False])
def test_what_only_the_container_says_counts_too(tmp_path: Path, name: str, codec: str, top_first: bool) -> None:
    path = write_interlaced(tmp_path / name, codec=codec, top_first=top_first, said_by_container=True)
    with FileSource(path) as source:
        frames = list(source)
        assert NOTE in source.info.notes[0]
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(index, 25) for index in range(12)]
    combed = av.VideoFrame.from_ndarray(woven(5, top_first), "rgb24")
    for index in range(2, 10):
        assert error_of(frames[index].picture, moment(2 * index)) < 0.5 * error_of(combed, moment(10))


def test_what_is_not_interlaced_is_left_alone(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [moment(index) for index in range(5)])
    with FileSource(path) as source:
        assert len(list(source)) == 5
        assert source.info.notes == ()


def _mixed() -> list[av.VideoFrame]:
    """Film on television (3:2 pulldown): of five frames two are woven of two moments."""
    pictures = []
    for index in range(20):
        is_woven = index % 5 in (2, 3)
        image = woven(index, top_first=True) if is_woven else moment(2 * index)
        picture = av.VideoFrame.from_ndarray(image, "rgb24").reformat(format="yuv420p")
        picture.pts, picture.time_base = 10 * index, Fraction(1, 250)
        pictures.append(flagged(picture, "tff" if is_woven else "prog"))
        pictures[-1].pts, pictures[-1].time_base = 10 * index, Fraction(1, 250)
    return pictures


def test_of_mixed_material_only_the_woven_frames_are_changed() -> None:
    deinterlacer = Deinterlacer()
    before = [picture.to_ndarray() for picture in _mixed()]
    after = [made for picture in _mixed() for made in deinterlacer.progressive(picture)]
    after += deinterlacer.rest()
    assert [picture.pts for picture in after] == [10 * index for index in range(20)]
    assert {picture.time_base for picture in after} == {Fraction(1, 250)}
    changed = [not np.array_equal(old, new.to_ndarray()) for old, new in zip(before, after, strict=True)]
    assert changed == [index % 5 in (2, 3) for index in range(20)]


def test_a_change_of_shape_loses_no_frame() -> None:
    deinterlacer = Deinterlacer()
    pictures: list[av.VideoFrame] = []
    for index in range(6):
        height = 48 if index < 3 else 96
        picture = av.VideoFrame.from_ndarray(np.full((height, 64, 3), 9, np.uint8), "rgb24").reformat(format="yuv420p")
        picture.pts, picture.time_base = index, Fraction(1, 25)
        pictures += deinterlacer.progressive(flagged(picture, "tff"))
    pictures += deinterlacer.rest()
    assert [(picture.pts, picture.height) for picture in pictures] == [(i, 48 if i < 3 else 96) for i in range(6)]


def test_a_still_of_two_lines_stays_as_it_is() -> None:
    deinterlacer = Deinterlacer()
    picture = av.VideoFrame.from_ndarray(np.full((2, 64, 3), 9, np.uint8), "rgb24").reformat(format="yuv420p")
    picture.time_base = Fraction(1, 25)
    assert [made.height for made in deinterlacer.progressive(flagged(picture, "tff"))] == [2]
    assert deinterlacer.notes == ()


def test_streams_from_the_network_are_deinterlaced_as_well(tmp_path: Path) -> None:
    write_interlaced(tmp_path / "a.ts", codec="mpeg2video")
    with files_served(tmp_path) as url, open_source(parse_source(f"{url}/a.ts")) as source:
        frames = list(source)
        assert any(NOTE in note for note in source.info.notes)
    assert len(frames) == 12
    combed = av.VideoFrame.from_ndarray(woven(5, True), "rgb24")
    assert error_of(frames[5].picture, moment(10)) < 0.5 * error_of(combed, moment(10))

"""Times of pictures: those of containers that number by presentation, by decoding, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from stream.sources.choose import open_source
from stream.sources.file import FileSource
from stream.sources.times import FileClock, Presentation
from stream.uris import parse_source
from tests.served import files_served
from tests.videos import gray_levels, write_video

B_FRAMES = {
    "libx264": {"bf": "5", "b_strategy": "0"},
    "libx265": {"x265-params": "bframes=3:log-level=none"},
    "mpeg4": {"bf": "2"},
    "mpeg2video": {"bf": "2"},
}


def times(path: Path) -> list[Fraction]:
    with FileSource(path) as source:
        return [frame.pts * frame.time_base for frame in source]


def in_step(count: int, rate: int = 30) -> list[Fraction]:
    return [Fraction(index, rate) for index in range(count)]


def _clip(path: Path, codec: str = "libx264", frames: int = 40) -> Path:
    return write_video(path, gray_levels(frames, 144, 176), codec=codec, options=B_FRAMES[codec])


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.avi", "libx264"),
        ("a.avi", "mpeg4"),
        ("a.avi", "mpeg2video"),
        ("a.mp4", "libx264"),
        ("a.mp4", "libx265"),
        ("a.mov", "mpeg4"),
        ("a.ts", "libx264"),
        ("a.ts", "mpeg2video"),
    ],
)
def test_pictures_that_are_decoded_in_another_order_keep_exact_times(tmp_path: Path, name: str, codec: str) -> None:
    assert times(_clip(tmp_path / name, codec)) == in_step(40)


def test_a_bare_stream_without_any_times_has_ffmpegs_rate(tmp_path: Path) -> None:
    assert times(_clip(tmp_path / "a.h264")) == in_step(40, rate=25)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_matroska_keeps_them_to_a_millisecond(tmp_path: Path, codec: str) -> None:
    assert times(_clip(tmp_path / "a.mkv", codec)) == [Fraction(round(1000 * time), 1000) for time in in_step(40)]


def test_a_variable_rate_with_reordered_pictures_is_kept(tmp_path: Path) -> None:
    pts = [0, 40, 80, 200, 240, 250, 600, 640, 680, 720, 1000, 1040]
    path = write_video(
        tmp_path / "a.mkv",
        gray_levels(len(pts)),
        options=B_FRAMES["libx264"],
        time_base=Fraction(1, 1000),
        pts=pts,
    )
    assert times(path) == [Fraction(one, 1000) for one in pts]


def _remuxed(source: Path, path: Path, numbered: str) -> Path:
    """The same packets with other times. numbered: by decoding, or only one in three by presentation."""
    with av.open(source) as read, av.open(path, "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for index, packet in enumerate(read.demux(video=0)):
            if packet.dts is None:
                continue
            if numbered == "by decoding":
                packet.dts += 1024
                packet.pts = packet.dts
            elif index % 3:
                packet.pts = None
            packet.stream = stream
            written.mux(packet)
    return path


def test_an_mp4_without_presentation_times_is_put_in_order(tmp_path: Path) -> None:
    content = _clip(tmp_path / "a.mp4").read_bytes()
    assert b"ctts" in content
    (tmp_path / "b.mp4").write_bytes(content.replace(b"ctts", b"free"))
    found = times(tmp_path / "b.mp4")
    # The list of edits, which counts by presentation, leaves out the first two.
    assert found == in_step(len(found))
    assert len(found) >= 38


def test_matroska_that_was_numbered_by_decoding_is_put_in_order(tmp_path: Path) -> None:
    path = _remuxed(_clip(tmp_path / "a.mp4"), tmp_path / "b.mkv", "by decoding")
    found = times(path)
    assert [round(float(time) * 30, 1) for time in found] == list(range(40))


def test_presentation_times_that_are_missing_here_and_there_are_filled_in(tmp_path: Path) -> None:
    assert times(_remuxed(_clip(tmp_path / "a.ts"), tmp_path / "b.ts", "some")) == in_step(40)


def test_recordings_that_were_joined_go_on_in_step(tmp_path: Path) -> None:
    """Also those of a few frames: it shows at the times of decoding that another one begins."""
    parts = [_clip(tmp_path / f"{frames}.ts", frames=frames).read_bytes() for frames in (30, 4, 4, 30)]
    (tmp_path / "joined.ts").write_bytes(b"".join(parts))
    assert times(tmp_path / "joined.ts") == in_step(68)


def test_an_avi_on_the_web_keeps_exact_times(tmp_path: Path) -> None:
    _clip(tmp_path / "a.avi")
    with files_served(tmp_path) as url, open_source(parse_source(f"{url}/a.avi")) as source:
        assert [frame.pts * frame.time_base for frame in source] == in_step(40)


def _presented(order: Presentation, packets: Sequence[int | None], shown: Sequence[int | None]) -> list[int | None]:
    """Times of pictures. packets: (pts) in order of decoding; shown: of which packets the pictures come, in order."""
    made = []
    for pts in packets:
        packet = av.Packet(1)
        packet.pts = pts
        order.sending(packet)
    for pts in shown:
        picture = av.VideoFrame(16, 16, "gray")
        picture.pts = pts
        made += list(order.shown(picture, may_reorder=True))
    return [one.pts for one in (*made, *order.rest())]


@pytest.mark.parametrize(
    ("packets", "shown", "times"),
    [
        ([0, 3, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 2, 3], [0, 2, 3, 1], [0, 1, 2, 3]),
        ([0, 1, 2, 3, 4], [0, 1, 3, 4], [0, 1, 3, 4]),
        ([None, None], [None, None], [None, None]),
        ([0, None, 2], [0, None, 2], [0, None, 2]),
    ],
)
def test_times_are_those_of_the_pictures_that_came_in_order(
    packets: list[int | None], shown: list[int | None], times: list[int | None]
) -> None:
    assert _presented(Presentation(1, 16), packets, shown) == times


def test_no_more_pictures_are_held_back_than_memory_allows() -> None:
    order = Presentation(1, 2)
    for pts in range(10):
        packet = av.Packet(1)
        packet.pts = pts
        order.sending(packet)
    given = []
    for pts in range(1, 10):
        picture = av.VideoFrame(16, 16, "gray")
        picture.pts = pts
        given += list(order.shown(picture, may_reorder=True))
    assert [one.pts for one in given] == list(range(1, 8))


def test_a_part_has_a_clock_of_its_own() -> None:
    clock = FileClock(origin=5, step=10, longest=1000)
    assert [clock.mended(pts, part) for pts, part in ((5, 0), (15, 0), (5, 1), (15, 1))] == [0, 10, 20, 30]
    assert clock.origins == (5, -15)

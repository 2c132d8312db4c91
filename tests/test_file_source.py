"""Files of many kinds, whole and broken."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.errors import SourceError
from stream.frame import Frame
from stream.preprocess import to_rgb
from stream.sources.file import FileSource
from stream.sources.times import FileClock
from tests.videos import gray_levels, write_sound, write_video


def read(path: Path, max_frames: int | None = None, output_fps: Fraction | None = None) -> list[Frame]:
    with FileSource(path, max_frames, output_fps) as source:
        return list(source)


def rgb(frame: Frame) -> NDArray[np.uint8]:
    return to_rgb(frame.picture, frame.height, frame.width)


def numbers(frames: list[Frame]) -> list[int]:
    """Which of `gray_levels` the frames are."""
    return [round((float(rgb(frame)[2, -2].mean()) - 5) / 5) for frame in frames]


def test_frames_come_in_order_with_their_times(tmp_path: Path) -> None:
    with FileSource(write_video(tmp_path / "a.mp4", gray_levels(20))) as source:
        frames = list(source)
        info = source.info
    assert numbers(frames) == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(i, 30) for i in range(20)]
    assert (info.height, info.width, info.rate, info.frames) == (48, 64, Fraction(30), 20)
    assert info.duration_s == pytest.approx(20 / 30)
    assert (info.live, info.audio, info.name) == (False, False, "a.mp4")
    assert source.damaged == 0


def test_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    pts = [0, 10, 35, 36, 90, 200]
    path = write_video(tmp_path / "a.mkv", gray_levels(6), time_base=Fraction(1, 1000), pts=pts)
    assert [frame.pts for frame in read(path)] == pts


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotation_metadata_is_applied(tmp_path: Path, degrees: int) -> None:
    held = gray_levels(3)
    upright = np.rot90(held[1], degrees // 90)
    path = write_video(tmp_path / "a.mp4", held, rotation=degrees)
    with FileSource(path) as source:
        frames = list(source)
        assert (source.info.height, source.info.width) == upright.shape[:2]
    np.testing.assert_allclose(rgb(frames[1])[2:-2:7, 2:-2:7], upright[2:-2:7, 2:-2:7], atol=12)
    assert [frame.pts for frame in frames] == sorted({frame.pts for frame in frames})


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format", "size"),
    [
        ("a.mkv", "ffv1", "yuv420p10le", (48, 64)),
        ("a.mkv", "ffv1", "yuva420p", (47, 63)),
        ("a.mkv", "ffv1", "gbrp10le", (31, 17)),
        ("a.mkv", "ffv1", "gray16le", (48, 64)),
        ("a.webm", "libvpx", "yuva420p", (48, 64)),
        ("a.avi", "mjpeg", "yuvj420p", (48, 64)),
        ("a.gif", "gif", "rgb8", (48, 64)),
        ("a.png", "png", "rgba", (9, 7)),
        ("a.jpg", "mjpeg", "yuvj444p", (9, 7)),
        ("a.mp4", "libx264", "yuv420p", (2, 2)),
        ("a.ts", "mpeg2video", "yuv420p", (144, 176)),
    ],
)
def test_formats(tmp_path: Path, name: str, codec: str, pixel_format: str, size: tuple[int, int]) -> None:
    images = gray_levels(1 if name.endswith(("png", "jpg")) else 30, *size)
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    path = write_video(tmp_path / name, images, codec=codec, pixel_format=pixel_format, options=options)
    frames = read(path)
    assert len(frames) == len(images)
    assert (frames[0].height, frames[0].width) == size
    np.testing.assert_allclose(rgb(frames[-1])[0, -1], images[-1][0, -1], atol=40 if codec == "gif" else 8)


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.png", gray_levels(1, 1, 1), codec="png", pixel_format="rgb24")
    with FileSource(path) as source:
        assert source.info.frames == 1
        assert [(frame.height, frame.width) for frame in source] == [(1, 1)]


def test_sound_beside_the_pictures_is_announced(tmp_path: Path) -> None:
    with FileSource(write_video(tmp_path / "a.mp4", gray_levels(5), sound_s=0.2)) as source:
        assert source.info.audio


def test_max_frames_ends_early(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(20))
    with FileSource(path, max_frames=7) as source:
        assert source.info.frames == 7
        assert numbers(list(source)) == list(range(7))


@pytest.mark.parametrize("time_base", [Fraction(1, 30), Fraction(1, 1000)])
def test_output_fps_thins(tmp_path: Path, time_base: Fraction) -> None:
    pts = [round(Fraction(i, 30) / time_base) for i in range(40)]
    path = write_video(tmp_path / "a.mkv", gray_levels(40), time_base=time_base, pts=pts)
    with FileSource(path, output_fps=Fraction(15)) as source:
        assert source.info.rate == 15
        assert source.info.frames == 20
        frames = list(source)
    assert numbers(frames) == list(range(0, 40, 2))
    assert [frame.index for frame in frames] == list(range(20))
    assert numbers(read(path, 3, Fraction(10))) == [0, 3, 6]


def test_output_fps_never_repeats_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(10))
    with FileSource(path, output_fps=Fraction(60)) as source:
        assert source.info.rate == 30
        assert numbers(list(source)) == list(range(10))


@pytest.mark.parametrize(
    ("given", "mended"),
    [
        ([0, 10, 20], [0, 10, 20]),
        ([None, None, None], [0, 10, 20]),
        ([0, None, 20], [0, 10, 20]),
        ([0, 10, 10, 20], [0, 10, 11, 20]),
        ([0, 10, 5, 20], [0, 10, 11, 20]),
        ([-15, -5, 5], [0, 1, 5]),
        ([500, 510, 0, 10, 20], [500, 510, 520, 530, 540]),
        ([0, 10, 1010, 1020], [0, 10, 1010, 1020]),
        ([0, 10, 1011, 1021, 5000, 30], [0, 10, 20, 30, 40, 50]),
    ],
)
def test_times_always_rise(given: list[int | None], mended: list[int]) -> None:
    clock = FileClock(origin=0, step=10, longest=1000)
    assert [clock.mended(pts) for pts in given] == mended


def test_times_count_from_the_tracks_own_start(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", gray_levels(30, 144, 176), codec="mpeg2video")
    with av.open(str(path)) as container:
        assert container.streams.video[0].start_time
    assert read(path)[0].pts == 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.txt", b"hello world\n" * 200, "not a video"),
        ("text.mp4", b"hello world\n" * 200, "not a video"),
        ("noise.mp4", np.random.default_rng(0).bytes(5000), "not a video"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "playlist"),
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "playlist"),
    ],
)
def test_opening_fails_for_what_is_no_video(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        FileSource(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_opening_fails_for_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        FileSource(tmp_path / "missing.mp4")
    with pytest.raises(SourceError, match="folder"):
        FileSource(tmp_path)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3"])
def test_opening_fails_for_sound_alone(tmp_path: Path, name: str) -> None:
    path = write_sound(tmp_path / name, "libmp3lame" if name.endswith("mp3") else "pcm_s16le")
    with pytest.raises(SourceError, match="sound only"):
        FileSource(path)


def test_opening_fails_for_a_file_cut_short(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", gray_levels(20)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceError, match="cut short"):
        FileSource(tmp_path / "cut.mp4")


def test_opening_fails_when_no_frame_can_be_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(5))
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : content.index(b"moov") - 4] = bytes(content.index(b"moov") - 4 - start)
    path.write_bytes(content)
    with pytest.raises(SourceError, match="can be decoded"):
        FileSource(path)


def test_damage_in_the_middle_costs_only_what_is_damaged(tmp_path: Path) -> None:
    noise = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(40)]
    path = write_video(tmp_path / "a.mkv", noise, codec="ffv1", options={"slicecrc": "1", "level": "3"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = np.random.default_rng(9).bytes(20_000)
    path.write_bytes(content)
    with FileSource(path) as source:
        frames = list(source)
        assert source.damaged > 0
    assert 20 <= len(frames) <= 40
    assert all(a.pts < b.pts for a, b in pairwise(frames))


def test_a_file_without_its_end_gives_what_is_there(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mkv", gray_levels(40), codec="ffv1").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert 5 <= len(read(tmp_path / "cut.mkv")) < 40


@pytest.mark.parametrize("arguments", [{"max_frames": 0}, {"output_fps": Fraction(0)}])
def test_limits_below_one_are_the_callers_error(tmp_path: Path, arguments: dict[str, Fraction]) -> None:
    with pytest.raises(ValueError, match="got 0"):
        FileSource(tmp_path / "a.mp4", **arguments)  # type: ignore[arg-type]


def test_real_clips_are_read_whole(real_clips: Path) -> None:
    frames = read(real_clips / "videos" / "sam2_02_cups.mp4", max_frames=10)
    assert [frame.pts for frame in frames] == [1001 * i for i in range(10)]

"""Pictures that were held askew or mirrored: all eight ways, by every road that tells of them."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from numpy.typing import NDArray
from PIL import Image

from stream.camera import Camera, Intrinsics
from stream.orientation import UPRIGHT, Orientation
from stream.sources.choose import open_source
from stream.sources.file import FileSource
from stream.sources.upright import Upright
from stream.uris import parse_source
from tests.webfiles import served_files

Pixels = NDArray[np.uint8]
CORNERS = [(230, 20, 20), (20, 200, 20), (20, 20, 230), (240, 240, 20)]
"""Top left, top right, bottom left, bottom right."""

STORED: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
"""EXIF 2.32, 4.6.4.A: what row 0 and column 0 of a stored picture are. 6: row 0 is the right side, and so on."""
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""The same as display matrices: a, b, c, d, with (x, y) shown at (a x + c y, b x + d y)."""


def quartered(height: int = 48, width: int = 64) -> Pixels:
    """Uint8 [height, width, 3]: each corner has its own colour."""
    image = np.zeros((height, width, 3), np.uint8)
    rows, columns = (slice(0, height // 2), slice(height // 2, None)), (slice(0, width // 2), slice(width // 2, None))
    for index, colour in enumerate(CORNERS):
        image[rows[index // 2], columns[index % 2]] = colour
    return image


def write_turned(path: Path, number: int, codec: str = "libx264", pixels: str = "yuv420p") -> Path:
    a, b, c, d = MATRICES[number]
    stored = np.ascontiguousarray(STORED[number](quartered()))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, _ = stored.shape
        stream.pix_fmt = pixels
        one = 1 << 16
        stream.set_display_matrix([a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30])
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def seen_corners(picture: av.VideoFrame) -> list[int]:
    """Which of `CORNERS` the corners of a picture are nearest to."""
    image = picture.to_ndarray(format="rgb24").astype(int)
    places = [(5, 5), (5, -6), (-6, 5), (-6, -6)]
    return [int(np.abs(np.array(CORNERS) - image[place]).sum(axis=1).argmin()) for place in places]


def assert_upright(path: Path) -> None:
    with FileSource(path) as source:
        frames = list(source)
        assert (source.info.height, source.info.width) == (48, 64)
    for frame in frames:
        assert (frame.height, frame.width) == (48, 64)
        assert seen_corners(frame.picture) == [0, 1, 2, 3]


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "prores_ks", "yuv422p10le"),
        ("b.mp4", "libsvtav1", "yuv420p"),
        ("b.mov", "mjpeg", "yuvj420p"),
        ("a.mkv", "libx264", "yuv420p"),
    ],
)
def test_videos_are_laid_upright(tmp_path: Path, number: int, name: str, codec: str, pixels: str) -> None:
    assert_upright(write_turned(tmp_path / name, number, codec, pixels))


@pytest.mark.parametrize("number", STORED)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".avif"])
def test_stills_are_laid_upright(tmp_path: Path, number: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = number
    stored = Image.fromarray(np.ascontiguousarray(STORED[number](quartered())))
    stored.save(tmp_path / f"a{suffix}", exif=exif)
    assert_upright(tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (2, "flip=horizontal"),
        (4, "flip=vertical"),
        (3, "rotate=180"),
        (8, "rotate=90"),
        (6, "rotate=270"),
    ],
)
def test_what_h264_says_of_itself_counts(tmp_path: Path, number: int, words: str) -> None:
    """The display orientation SEI: a raw stream has no container to say it. It counts until another one comes."""
    stored = np.ascontiguousarray(STORED[number](quartered()))
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "5"})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, _ = stored.shape
        stream.pix_fmt = "yuv420p"
        marked = BitStreamFilterContext(f"h264_metadata=display_orientation=insert:{words}", stream)
        for index in range(13):
            picture = av.VideoFrame.from_ndarray(stored, format="rgb24")
            for packet in stream.encode(picture if index < 12 else None):
                container.mux(marked.filter(packet))
    assert_upright(path)


@pytest.mark.parametrize("number", [2, 4, 5, 7])
def test_a_stream_is_laid_upright(tmp_path: Path, number: int) -> None:
    write_turned(tmp_path / "a.mp4", number)
    with served_files(tmp_path) as address, open_source(parse_source(f"{address}/a.mp4")) as source:
        frames = list(source)
        assert (source.info.height, source.info.width) == (48, 64)
        assert source.info.orientation != UPRIGHT
    assert [seen_corners(frame.picture) for frame in frames] == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize(
    ("matrix", "orientation"),
    [
        ((65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30), UPRIGHT),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0), UPRIGHT),
        ((60000, 26000, 0, -26000, 60000, 0, 0, 0, 1 << 30), UPRIGHT),
        ((26000, 60000, 0, -60000, 26000, 0, 0, 0, 1 << 30), Orientation.turn(270)),
        ((-131072, 0, 0, 0, 32768, 0, 0, 0, 1 << 30), Orientation(mirrored_across=True)),
    ],
)
def test_the_nearest_of_the_eight_is_taken(matrix: tuple[int, ...], orientation: Orientation) -> None:
    assert Orientation.of_matrix(matrix) == orientation


@pytest.mark.parametrize("number", STORED)
def test_a_calibration_follows_the_picture(tmp_path: Path, number: int) -> None:
    """The pixel that the sensor's camera sees along one ray is found again in the upright picture."""
    sensor_height, sensor_width = STORED[number](quartered()).shape[:2]
    sensor = Intrinsics(sensor_height, sensor_width, 50.0, 60.0, 20.0, 30.0)
    with FileSource(write_turned(tmp_path / "a.mp4", number)) as source:
        info = source.info
    camera = Camera(sensor).at(info.height, info.width, info.orientation)
    assert camera is not None
    marked = np.zeros((sensor_height, sensor_width, 1), np.uint8)
    marked[30, 20] = 1
    undone = next(STORED[inverse] for inverse in STORED if inverse == {6: 8, 8: 6}.get(number, number))
    (row,), (column,), _ = np.nonzero(undone(marked))
    assert (camera.cx, camera.cy) == (float(column), float(row))
    assert (camera.fx, camera.fy) == ((60.0, 50.0) if number >= 5 else (50.0, 60.0))


def test_pictures_do_not_pile_up_in_memory(tmp_path: Path) -> None:
    """PyAV ties a picture whose side data were asked for to itself: it would live until the cycles are collected."""
    with av.open(str(write_turned(tmp_path / "a.mp4", 1))) as container:
        video = container.streams.video[0]
        upright = Upright(video)
        pictures = [upright.turned(picture) for picture in container.decode(video)]
    assert [len(gc.get_referrers(picture)) for picture in pictures] == [1, 1, 1]

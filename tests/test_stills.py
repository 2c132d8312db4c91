"""Stills and short animations: tiles put together, every picture of an animation, a true word where neither can be."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from stream.errors import SourceError
from stream.preprocess import to_rgb
from stream.sources.file import FileSource
from stream.sources.tiles import Grid, read_grid

TILE = 64
Pixels = NDArray[np.uint8]


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


def full_box(kind: bytes, version: int, *content: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *content)


def _coded(tile: Pixels) -> tuple[bytes, bytes]:
    """A tile in AV1: (its bytes, its box `av1C`), out of an AVIF that FFmpeg wrote."""
    made = io.BytesIO()
    with av.open(made, "w", format="avif") as container:
        stream = container.add_stream("libsvtav1", 1, options={"crf": "5", "preset": "10"})
        stream.width, stream.height, stream.pix_fmt = TILE, TILE, "yuv420p"
        picture = av.VideoFrame.from_ndarray(tile, "rgb24").reformat(format="yuv420p")
        container.mux([*stream.encode(picture), *stream.encode(None)])
    made.seek(0)
    with av.open(made, "r") as container:
        packet = next(packet for packet in container.demux(video=0) if packet.size)
        data = bytes(packet)
    content = made.getvalue()
    at = content.index(b"av1C") - 4
    return data, content[at : at + struct.unpack_from(">I", content, at)[0]]


def grid_file(path: Path, image: Pixels, rows: int, columns: int, inside: bool = True) -> Path:
    """An AVIF of tiles (ISO/IEC 23008-12, 6.6.2.3). inside: the grid's own data lie in `idat`, else with the tiles."""
    height, width, _ = image.shape
    whole = np.pad(image, ((0, rows * TILE - height), (0, columns * TILE - width), (0, 0)), mode="edge")
    tiles = [
        _coded(np.ascontiguousarray(whole[y : y + TILE, x : x + TILE]))
        for y in range(0, rows * TILE, TILE)
        for x in range(0, columns * TILE, TILE)
    ]
    count = len(tiles)
    grid = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    items = [full_box(b"infe", 2, struct.pack(">HH", 1, 0), b"grid\0")]
    items += [full_box(b"infe", 2, struct.pack(">HH", 2 + index, 0), b"av01\0") for index in range(count)]
    sizes = [full_box(b"ispe", 0, struct.pack(">II", *size)) for size in ((width, height), (TILE, TILE))]
    links = struct.pack(">IHBB", count + 1, 1, 1, 1)
    links += b"".join(struct.pack(">HBBB", 2 + index, 2, 2, 0x83) for index in range(count))
    file_type = box(b"ftyp", b"avif\0\0\0\0mif1avif")
    datas = [grid, *(data for data, _ in tiles)]

    def meta(begin: int) -> bytes:
        places, at = b"", begin
        for index, data in enumerate(datas):
            is_inside = inside and index == 0
            offset = 0 if is_inside else at
            places += struct.pack(">HHHHII", 1 + index, int(is_inside), 0, 1, offset, len(data))
            at += 0 if is_inside else len(data)
        return full_box(
            b"meta",
            0,
            full_box(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            full_box(b"pitm", 0, struct.pack(">H", 1)),
            full_box(b"iinf", 0, struct.pack(">H", count + 1), *items),
            full_box(b"iref", 0, box(b"dimg", struct.pack(f">HH{count}H", 1, count, *range(2, 2 + count)))),
            box(b"iprp", box(b"ipco", *sizes, tiles[0][1]), full_box(b"ipma", 0, links)),
            full_box(b"iloc", 1, b"\x44\0", struct.pack(">H", count + 1), places),
            box(b"idat", grid) if inside else b"",
        )

    begin = len(file_type) + len(meta(0)) + 8
    data = b"".join(datas[1:] if inside else datas)
    path.write_bytes(file_type + meta(begin) + box(b"mdat", data))
    return path


def slopes(height: int, width: int) -> Pixels:
    """An image of which every place looks different, and no edge is sharp."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * y / height, 255 * x / width, 128 + 0 * x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("rows", "columns", "height", "width"), [(2, 2, 128, 128), (2, 3, 100, 150), (1, 2, 64, 128), (3, 1, 190, 62)]
)
def test_a_still_in_tiles_is_put_together(tmp_path: Path, rows: int, columns: int, height: int, width: int) -> None:
    image = slopes(height, width)
    with FileSource(grid_file(tmp_path / "a.avif", image, rows, columns)) as source:
        assert (source.info.height, source.info.width, source.info.frames) == (height, width, 1)
        (frame,) = source
    np.testing.assert_allclose(to_rgb(frame.picture, height, width).astype(int), image, atol=10)


def grid_in(path: Path) -> Grid | None:
    with path.open("rb") as file:
        return read_grid(file)


def test_the_grid_is_found_wherever_it_lies(tmp_path: Path) -> None:
    image = slopes(128, 128)
    grids = [grid_in(grid_file(tmp_path / f"{inside}.avif", image, 2, 2, inside)) for inside in (False, True)]
    assert grids[0] == grids[1]
    assert grids[0] is not None
    assert (grids[0].rows, grids[0].columns, grids[0].tiles) == (2, 2, (2, 3, 4, 5))


def test_a_grid_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = grid_file(tmp_path / "a.avif", slopes(128, 128), 2, 2)
    monkeypatch.setattr("stream.sources.opening.read_grid", lambda _file: None)
    with pytest.raises(SourceError, match=r"still in tiles of 64x64 .*convert it to PNG or JPEG"):
        FileSource(path)


def test_a_grid_of_more_tiles_than_there_are_is_none(tmp_path: Path) -> None:
    path = grid_file(tmp_path / "a.avif", slopes(128, 128), 2, 2)
    grid, larger = (struct.pack(">BBBBHH", 0, 0, rows, 1, 128, 128) for rows in (1, 2))
    path.write_bytes(path.read_bytes().replace(grid, larger))
    assert grid_in(path) is None


def test_a_file_without_stills_has_no_grid(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(np.random.default_rng(0).bytes(1000))
    assert grid_in(tmp_path / "a") is None


def _animation(path: Path, **options: Any) -> Path:
    first, *rest = (Image.fromarray(np.full((48, 64, 3), 40 * index + 20, np.uint8)) for index in range(5))
    first.save(path, save_all=True, append_images=rest, duration=[100, 200, 100, 100, 100], **options)
    return path


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.avif"])
def test_every_picture_of_an_animation_is_read(tmp_path: Path, name: str) -> None:
    with FileSource(_animation(tmp_path / name)) as source:
        frames = list(source)
    levels = [int(to_rgb(frame.picture, 48, 64)[24, 32, 0]) for frame in frames]
    assert levels == pytest.approx([20, 60, 100, 140, 180], abs=6)
    assert [frame.pts * frame.time_base for frame in frames] == [Fraction(time, 10) for time in (0, 1, 3, 4, 5)]


@pytest.mark.parametrize("lossless", [True, False])
def test_an_animated_webp_is_called_one(tmp_path: Path, lossless: bool) -> None:
    path = _animation(tmp_path / "a.webp", lossless=lossless)
    with pytest.raises(SourceError, match="animated WebP, which FFmpeg cannot decode: convert it"):
        FileSource(path)


def test_a_still_webp_is_read(tmp_path: Path) -> None:
    Image.fromarray(slopes(48, 64)).save(tmp_path / "a.webp")
    with FileSource(tmp_path / "a.webp") as source:
        assert len(list(source)) == 1


def test_a_photo_with_a_film_behind_it_is_the_photo(tmp_path: Path) -> None:
    """A motion photo: a JPEG with an MP4 at its end."""
    Image.fromarray(slopes(48, 64)).save(tmp_path / "a.jpg")
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(5000))
    with FileSource(tmp_path / "a.jpg") as source:
        assert [(frame.height, frame.width) for frame in source] == [(48, 64)]

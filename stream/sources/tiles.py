"""Stills that are stored in tiles, as phones write HEIC and `avifenc --grid` AVIF (ISO/IEC 23008-12): put together.

FFmpeg gives each tile as a track of its own; what it knows of the grid does not reach Python, so it is read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

import av
from av.filter import Graph

_MOST_META = 1 << 24
"""Bytes of a header that is believed."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The picture that tiles make.

    tiles: their tracks' numbers, row by row; height, width: of the whole, of which tiles may stand out.
    """

    rows: int
    columns: int
    height: int
    width: int
    tiles: tuple[int, ...]


def read_grid(file: IO[bytes]) -> Grid | None:
    """The grid of a file's main picture, from its start on; None where that is none. Raises OSError."""
    meta = _meta_of(file)
    if meta is None:
        return None
    try:
        return _grid_in(dict(_boxes(meta[4:])), file)
    except (struct.error, KeyError, IndexError, ValueError):
        return None


def assembled(pictures: Sequence[av.VideoFrame], grid: Grid) -> av.VideoFrame:
    """The whole picture, with the side data of its first tile: FFmpeg puts there how the whole is turned.

    pictures: of the tiles, row by row, all alike. Raises FFmpegError.
    """
    graph = Graph()
    first = pictures[0]
    steps = [
        graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=first.time_base),
        graph.add("tile", f"{grid.columns}x{grid.rows}"),
        graph.add("crop", f"{grid.width}:{grid.height}:0:0:exact=1"),
        graph.add("buffersink"),
    ]
    for step, following in pairwise(steps):
        step.link_to(following)
    graph.configure()
    for index, picture in enumerate(pictures):
        picture.pts = index
        graph.push(picture)
    whole = graph.pull()
    assert isinstance(whole, av.VideoFrame)
    whole.pts = 0
    return whole


def _meta_of(file: IO[bytes]) -> bytes | None:
    """The box that tells of stills."""
    while len(head := file.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        taken = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            taken = 16
        if kind == b"meta":
            return file.read(size - taken) if taken < size <= _MOST_META else None
        if size < taken:
            return None
        file.seek(size - taken, 1)
    return None


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    while place + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, place)
        if size < 8:
            return
        yield kind, content[place + 8 : place + size]
        place += size


def _grid_in(boxes: dict[bytes, bytes], file: IO[bytes]) -> Grid | None:
    primary = boxes[b"pitm"]
    (item,) = struct.unpack_from(">I" if primary[0] else ">H", primary, 4)
    if _kind_of(item, boxes[b"iinf"]) != b"grid":
        return None
    data = _data_of(item, boxes[b"iloc"], boxes.get(b"idat", b""), file)
    _, flags, rows, columns = data[:4]
    width, height = struct.unpack_from(">II" if flags & 1 else ">HH", data, 4)
    tiles = _parts_of(item, boxes[b"iref"])
    if len(tiles) != (rows + 1) * (columns + 1):
        return None
    return Grid(rows + 1, columns + 1, height, width, tiles)


def _kind_of(item: int, infos: bytes) -> bytes:
    """The four letters of an item. infos: box `iinf`."""
    for kind, entry in _boxes(infos[8 if infos[0] else 6 :]):
        if kind == b"infe":
            number, at = struct.unpack_from(">H" if entry[0] < 3 else ">I", entry, 4)[0], 8 if entry[0] < 3 else 10
            if number == item:
                return entry[at : at + 4]
    return b""


def _parts_of(item: int, references: bytes) -> tuple[int, ...]:
    """The items that one is made of. references: box `iref`."""
    letter, size = ("H", 2) if references[0] == 0 else ("I", 4)
    for kind, entry in _boxes(references[4:]):
        number, count = struct.unpack_from(f">{letter}H", entry)
        if kind == b"dimg" and number == item:
            return struct.unpack_from(f">{count}{letter}", entry, size + 2)
    return ()


def _data_of(item: int, places: bytes, inside: bytes, file: IO[bytes]) -> bytes:
    """What an item holds. places: box `iloc`; inside: box `idat`."""
    version = places[0]
    offset_size, length_size = places[4] >> 4, places[4] & 15
    base_size, index_size = places[5] >> 4, places[5] & 15 if version else 0
    at = 6

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(places[at - size : at], "big")

    for _ in range(number(4 if version == 2 else 2)):
        found = number(4 if version == 2 else 2)
        method = number(2) & 15 if version else 0
        number(2)
        base = number(base_size)
        extents = []
        for _ in range(number(2)):
            number(index_size)
            extents.append((base + number(offset_size), number(length_size)))
        if found == item:
            return b"".join(_extent(method, offset, length, inside, file) for offset, length in extents)
    raise KeyError(item)


def _extent(method: int, offset: int, length: int, inside: bytes, file: IO[bytes]) -> bytes:
    if method == 1:
        return inside[offset : offset + length]
    file.seek(offset)
    return file.read(min(length, _MOST_META))

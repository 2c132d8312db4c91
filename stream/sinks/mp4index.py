"""An mp4's index (`moov`, ISO/IEC 14496-12) moved to its front, where a player finds it before all has arrived."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

_HEAD = struct.Struct(">I4s")
_COPY_BYTES = 1 << 20
_CONTAINERS = (b"trak", b"mdia", b"minf", b"stbl")
_OFFSETS = {b"stco": ">u4", b"co64": ">u8"}


def index_first(source: BinaryIO, target: BinaryIO) -> None:
    """Copy an mp4 whose index stands at the end, the index in front of the pictures.

    Raises OSError where the file is of another form, or its offsets would grow beyond 32 bits.
    """
    boxes = {kind: (place, size) for place, size, kind in _top(source)}
    if not {b"ftyp", b"mdat", b"moov"} <= boxes.keys() or boxes[b"moov"][0] < boxes[b"mdat"][0]:
        raise OSError(errno.EINVAL, "no index at its end")
    place, size = boxes[b"moov"]
    source.seek(place)
    index = bytearray(source.read(size))
    for begin, end, layout in _tables(index, 8, size):
        offsets = np.frombuffer(index, layout, (end - begin) // int(layout[2]), begin)
        if offsets.size and int(offsets.max()) + size >= 1 << (8 * int(layout[2])):
            raise OSError(errno.EFBIG, "its offsets do not fit")
        index[begin:end] = (offsets + np.array(size, layout)).astype(layout).tobytes()
    first = sum(boxes[b"ftyp"])
    source.seek(0)
    target.write(source.read(first))
    target.write(index)
    left = place - first
    while left:
        data = source.read(min(left, _COPY_BYTES))
        if not data:
            raise OSError(errno.EIO, "it ends early")
        target.write(data)
        left -= len(data)


def drop_cut_fragment(path: Path) -> None:
    """Shorten a fragmented mp4 that could not be written further to its last whole fragment."""
    with path.open("r+b") as file:
        end, whole = file.seek(0, os.SEEK_END), 0
        for place, size, kind in _top(file):
            if kind == b"mdat" and place + size <= end:
                whole = place + size
        file.truncate(whole)


def _top(file: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """(place, size, kind) of the boxes of the file."""
    place, end = 0, file.seek(0, os.SEEK_END)
    while place + 8 <= end:
        file.seek(place)
        size, kind = _HEAD.unpack(file.read(8))
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        size = size or end - place
        if size < 8:
            return
        yield place, size, kind
        place += size


def _tables(index: bytearray, begin: int, end: int) -> Iterator[tuple[int, int, str]]:
    """(begin, end, layout) of every table of offsets between two places of the index."""
    while begin + 8 <= end:
        size, kind = _HEAD.unpack_from(index, begin)
        if kind in _CONTAINERS:
            yield from _tables(index, begin + 8, begin + size)
        elif kind in _OFFSETS:
            yield begin + 16, begin + size, _OFFSETS[kind]
        begin += max(size, 8)

"""The aspect of the pixels of a Matroska file (RFC 9559, 5.1.4.1.28), which PyAV has no way to hand to FFmpeg's muxer.

The muxer leaves room behind the description of the picture, so that what is missing fits in without moving the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

_SEGMENT, _TRACKS, _TRACK, _VIDEO = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"
_PIXEL_WIDTH, _PIXEL_HEIGHT = b"\xb0", b"\xba"
_DISPLAY_WIDTH, _DISPLAY_HEIGHT, _DISPLAY_UNIT = b"\x54\xb0", b"\x54\xba", b"\x54\xb2"
_RATIO = b"\x03"
"""The display unit of a width and a height that only say a ratio."""
_MOST_ADDITIONS, _VOID, _CRC = b"\x55\xee", b"\xec", b"\xbf"
_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class _Element:
    """name: its number as it stands in the file; start to end: all of it; content: where its content begins."""

    name: bytes
    start: int
    content: int
    end: int


def write_aspect(path: Path, aspect: Fraction) -> None:
    """Tell players of a file of one video track how wide its pixels are. Left as it is where there is no room."""
    with path.open("r+b") as file:
        head = bytearray(file.read(_HEAD))
        if _placed(head, aspect):
            file.seek(0)
            file.write(head)


def _placed(head: bytearray, aspect: Fraction) -> bool:
    segment = _child(head, 0, len(head), _SEGMENT)
    tracks = segment and _child(head, segment.content, len(head), _TRACKS)
    track = tracks and _child(head, tracks.content, tracks.end, _TRACK)
    if tracks is None or track is None or tracks.end > len(head):
        return False
    inside = list(_elements(head, track.content, track.end))
    index = next((place for place, one in enumerate(inside) if one.name == _VIDEO), None)
    if index is None:
        return False
    video = inside[index]
    room = video.end
    for following in inside[index + 1 :]:
        if following.name not in (_MOST_ADDITIONS, _VOID):
            break
        room = following.end
    written = _described(head, video, aspect)
    spare = room - video.start - len(written)
    # An empty element takes two bytes.
    if spare < 2:
        return False
    head[video.start : room] = written + _VOID + bytes([0x80 | spare - 2]) + bytes(spare - 2)
    first = next(_elements(head, tracks.content, tracks.end))
    if first.name == _CRC:
        head[first.content : first.end] = zlib.crc32(head[first.end : tracks.end]).to_bytes(4, "little")
    return True


def _described(head: bytearray, video: _Element, aspect: Fraction) -> bytes:
    """The description of the picture with its aspect."""
    old = list(_elements(head, video.content, video.end))
    width, height = (
        int.from_bytes(head[one.content : one.end])
        for name in (_PIXEL_WIDTH, _PIXEL_HEIGHT)
        for one in old
        if one.name == name
    )
    ratio = (Fraction(width, height) * aspect).limit_denominator(4000)
    kept = b"".join(head[one.start : one.end] for one in old if one.name != _DISPLAY_UNIT)
    new = b"".join(
        name + bytes([0x80 | len(content)]) + content
        for name, content in (
            (_DISPLAY_WIDTH, ratio.numerator.to_bytes(2)),
            (_DISPLAY_HEIGHT, ratio.denominator.to_bytes(2)),
            (_DISPLAY_UNIT, _RATIO),
        )
    )
    return _VIDEO + bytes([0x80 | len(kept + new)]) + kept + new


def _child(head: bytearray, start: int, end: int, name: bytes) -> _Element | None:
    return next((one for one in _elements(head, start, end) if one.name == name), None)


def _elements(head: bytearray, start: int, end: int) -> Iterator[_Element]:
    """One after another, none of them entered (RFC 8794, 4 and 5)."""
    at = start
    while at + 2 <= min(end, len(head)):
        name_length, size_length = 9 - head[at].bit_length(), 0
        if at + name_length < len(head):
            size_length = 9 - head[at + name_length].bit_length()
        content = at + name_length + size_length
        if not 1 <= name_length <= 4 or not 1 <= size_length <= 8 or content > len(head):
            return
        size = int.from_bytes(head[at + name_length : content]) & ((1 << 7 * size_length) - 1)
        unknown = size == (1 << 7 * size_length) - 1
        one = _Element(bytes(head[at : at + name_length]), at, content, end if unknown else content + size)
        yield one
        at = one.end

"""H.264 byte streams in RTP payloads: RFC 6184, packetization mode 1."""

from __future__ import annotations

import re
from collections.abc import Iterator

PARAMETER_SETS = (7, 8)
"""Types of SPS and PPS units."""
KEY_SLICE = 5
DELIMITER = b"\x09\xf0"
"""An access unit delimiter: any slice types may follow."""
_FRAGMENT = 28
_START, _END = 0x80, 0x40
_CODE = re.compile(b"(?<!\0)\0\0+\1")


def units_of(stream: bytes) -> list[bytes]:
    """The NAL units of a byte stream with start codes (Annex B), without the codes."""
    return [unit.rstrip(b"\0") for unit in _CODE.split(stream) if unit.rstrip(b"\0")]


def type_of(unit: bytes) -> int:
    """nal_unit_type."""
    return unit[0] & 0x1F


def payloads_of(unit: bytes, limit: int) -> Iterator[bytes]:
    """One NAL unit as RTP payloads of at most `limit` bytes: whole, or in fragments (FU-A)."""
    if len(unit) <= limit:
        yield unit
        return
    indicator = unit[0] & 0xE0 | _FRAGMENT
    room = limit - 2
    for begin in range(1, len(unit), room):
        first = _START if begin == 1 else 0
        last = _END if begin + room >= len(unit) else 0
        yield bytes((indicator, first | last | type_of(unit))) + unit[begin : begin + room]

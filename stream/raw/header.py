"""The 128 bytes before every raw depth map."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from fractions import Fraction
from typing import NamedTuple

from engines.spec import Unit
from stream.camera import Intrinsics
from stream.errors import RawError
from stream.frame import DisplayRange

MAGIC = b"DCRD"
VERSION = 1
_LAYOUT = struct.Struct("<4sBBBBHBxIQqIIqqIIddffff4d")
SIZE = _LAYOUT.size
_UNITS = {1: Unit.METRE, 2: Unit.RELATIVE, 3: Unit.INVERSE_METRE}
_UNIT_CODES = {unit: code for code, unit in _UNITS.items()}
_MOST_VALUES = 1 << 28


class _Fields(NamedTuple):
    """The header's numbers in their order."""

    magic: bytes
    version: int
    kind: int
    unit: int
    flags: int
    header_bytes: int
    packing: int
    payload_bytes: int
    sequence: int
    pts: int
    numerator: int
    denominator: int
    captured_ns: int
    unix_ns: int
    height: int
    width: int
    scale: float
    offset: float
    low: float
    high: float
    near: float
    far: float
    fx: float
    fy: float
    cx: float
    cy: float


class Kind(IntEnum):
    """Type of the payload's values, little-endian."""

    UINT16 = 1
    FLOAT16 = 2
    FLOAT32 = 3


class Flag(IntFlag):
    """What is true of a frame."""

    STALE = 1
    RESET = 2
    CAMERA = 4
    """The intrinsics are known."""
    LENS = 8
    """The picture still has its lens's distortion: the intrinsics are those of the pinhole alone."""


class Packing(IntEnum):
    """How the payload is stored."""

    PLAIN = 0
    DELTA_SPLIT_ZSTD = 1


@dataclass(frozen=True, slots=True)
class RawHeader:
    """What is known of a map before its payload is read.

    sequence: counts the messages of a stream; a gap tells how many were dropped on the way to this client.
    pts, time_base: the source's own time. captured_ns: the sender's monotonic clock at capture; unix_ns: nanoseconds
        since 1970 of the same moment, for live sources, or of stream time since the source's start, for files.
    scale, offset: value = offset + scale · code, for uint16; code 0 means that there is no value. 1 and 0 for floats.
    limits: nearest and farthest distance in metres that values were kept to; (0, inf) where there is no limit.
    intrinsics: a lens in it is only flagged on the wire.
    """

    kind: Kind
    unit: Unit
    height: int
    width: int
    sequence: int
    pts: int
    time_base: Fraction
    captured_ns: int
    unix_ns: int
    range: DisplayRange
    scale: float = 1.0
    offset: float = 0.0
    limits: tuple[float, float] = (0.0, float("inf"))
    intrinsics: Intrinsics | None = None
    distorted: bool = False
    stale: bool = False
    reset: bool = False

    @property
    def flags(self) -> Flag:
        """The four truths in one byte."""
        flags = Flag(0)
        for is_set, flag in (
            (self.stale, Flag.STALE),
            (self.reset, Flag.RESET),
            (self.intrinsics is not None, Flag.CAMERA),
            (self.distorted, Flag.LENS),
        ):
            if is_set:
                flags |= flag
        return flags

    def pack(self, packing: Packing, payload_bytes: int) -> bytes:
        """The bytes of this header before a payload."""
        camera = self.intrinsics
        centre = (camera.fx, camera.fy, camera.cx, camera.cy) if camera else (0.0,) * 4
        return _LAYOUT.pack(
            MAGIC,
            VERSION,
            self.kind,
            _UNIT_CODES[self.unit],
            self.flags,
            SIZE,
            packing,
            payload_bytes,
            self.sequence,
            self.pts,
            self.time_base.numerator,
            self.time_base.denominator,
            self.captured_ns,
            self.unix_ns,
            self.height,
            self.width,
            self.scale,
            self.offset,
            self.range.low,
            self.range.high,
            *self.limits,
            *centre,
        )


def unpack(message: bytes | memoryview) -> tuple[RawHeader, Packing, memoryview]:
    """A message's header, how its payload is packed, and the payload. Raises RawError."""
    if len(message) < SIZE:
        raise RawError(f"a raw depth message has a header of {SIZE} bytes, got {len(message)} bytes in all")
    fields = _Fields._make(_LAYOUT.unpack_from(message))
    if fields.magic != MAGIC or fields.version != VERSION:
        raise RawError(
            f"this is no raw depth message of version {VERSION}: it begins with {fields.magic!r}, {fields.version}"
        )
    payload = memoryview(message)[fields.header_bytes :]
    if fields.header_bytes < SIZE or len(payload) != fields.payload_bytes:
        raise RawError(
            f"the message announces {fields.payload_bytes} bytes of payload and has {len(payload)}: it is cut short"
        )
    try:
        header, packing = _header_of(fields), Packing(fields.packing)
    except (ValueError, KeyError, ZeroDivisionError) as error:
        raise RawError(f"a raw depth message with a header that means nothing: {error}") from error
    if not 0 < fields.height * fields.width <= _MOST_VALUES:
        raise RawError(f"a raw depth map of {fields.height}x{fields.width} is not plausible")
    return header, packing, payload


def _header_of(fields: _Fields) -> RawHeader:
    flags = Flag(fields.flags)
    camera = None
    if Flag.CAMERA in flags:
        camera = Intrinsics(fields.height, fields.width, fields.fx, fields.fy, fields.cx, fields.cy)
    return RawHeader(
        kind=Kind(fields.kind),
        unit=_UNITS[fields.unit],
        height=fields.height,
        width=fields.width,
        sequence=fields.sequence,
        pts=fields.pts,
        time_base=Fraction(fields.numerator, fields.denominator),
        captured_ns=fields.captured_ns,
        unix_ns=fields.unix_ns,
        range=DisplayRange(fields.low, fields.high),
        scale=fields.scale,
        offset=fields.offset,
        limits=(fields.near, fields.far),
        intrinsics=camera,
        distorted=Flag.LENS in flags,
        stale=Flag.STALE in flags,
        reset=Flag.RESET in flags,
    )

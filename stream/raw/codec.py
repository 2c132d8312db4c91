"""Depth frames to messages and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.errors import RawError
from stream.frame import DepthFrame
from stream.raw.codes import Codes, codes_for
from stream.raw.header import Kind, Packing, RawHeader, unpack
from stream.raw.payload import Packer, Unpacker

_DTYPES: dict[Kind, np.dtype[Any]] = {
    Kind.UINT16: np.dtype("<u2"),
    Kind.FLOAT16: np.dtype("<f2"),
    Kind.FLOAT32: np.dtype("<f4"),
}
_LIMIT_16 = float(np.finfo(np.float16).max)


@dataclass(frozen=True, slots=True)
class RawDepth:
    """A received map. values: [H, W] of the header's kind, exactly as they were sent."""

    header: RawHeader
    values: NDArray[Any]

    @property
    def depth(self) -> NDArray[np.float32]:
        """float32 [H, W] in the header's unit, NaN where there is no value."""
        if self.header.kind is Kind.UINT16:
            return Codes(self.header.scale, self.header.offset).decode(self.values)
        return self.values.astype(np.float32)


class Encoder:
    """Turns the depth frames of one stream into messages; one for each thread.

    kind: of the values. uint16 are millimetres for metres, else 65,535 steps between the map's own ends.
    limits: (near, far) in metres, to be told; they are not applied here.
    """

    __slots__ = ("_kind", "_limits", "_packer", "_sequence")

    def __init__(self, kind: Kind = Kind.UINT16, limits: tuple[float, float] = (0.0, float("inf"))) -> None:
        self._kind = kind
        self._limits = limits
        self._packer = Packer()
        self._sequence = 0

    def encode(self, depth_frame: DepthFrame, unix_ns: int) -> bytes:
        """One message; unix_ns: see `RawHeader`."""
        frame, camera = depth_frame.frame, depth_frame.intrinsics
        values, codes = self._values(depth_frame)
        header = RawHeader(
            kind=self._kind,
            unit=depth_frame.unit,
            height=values.shape[0],
            width=values.shape[1],
            sequence=self._sequence,
            pts=frame.pts,
            time_base=frame.time_base,
            captured_ns=frame.captured_ns,
            unix_ns=unix_ns,
            range=depth_frame.range,
            scale=codes.scale,
            offset=codes.offset,
            limits=self._limits,
            intrinsics=camera,
            distorted=camera is not None and camera.lens is not None,
            stale=depth_frame.stale,
            reset=depth_frame.reset,
        )
        self._sequence += 1
        return message(header, values, self._packer)

    def skip(self) -> None:
        """Count a frame that nobody wanted."""
        self._sequence += 1

    def _values(self, depth_frame: DepthFrame) -> tuple[NDArray[Any], Codes]:
        depth = depth_frame.depth
        match self._kind:
            case Kind.UINT16:
                codes = codes_for(depth, depth_frame.unit)
                return codes.encode(depth), codes
            case Kind.FLOAT16:
                # What is finite stays finite: an overflow would read as "nothing there".
                held = np.where(np.isfinite(depth), np.clip(depth, -_LIMIT_16, _LIMIT_16), depth)
                return held.astype(np.float16), Codes(1.0, 0.0)
            case Kind.FLOAT32:
                return depth, Codes(1.0, 0.0)


def message(header: RawHeader, values: NDArray[Any], packer: Packer | None = None) -> bytes:
    """Header and values as one message. values: [H, W] as the header says."""
    if values.shape != (header.height, header.width) or values.dtype != _DTYPES[header.kind]:
        raise ValueError(
            f"the header says {header.kind.name} {header.height}x{header.width}, "
            f"the values are {values.dtype} {list(values.shape)}"
        )
    payload = (packer or Packer()).packed(values)
    return header.pack(Packing.DELTA_SPLIT_ZSTD, len(payload)) + payload


def decode(received: bytes | memoryview, unpacker: Unpacker | None = None) -> RawDepth:
    """The map in a message; an unpacker that is kept makes a stream of them cheaper. Raises RawError."""
    header, packing, payload = unpack(received)
    dtype = _DTYPES[header.kind]
    if packing is Packing.DELTA_SPLIT_ZSTD:
        return RawDepth(header, (unpacker or Unpacker()).unpacked(payload, header.height, header.width, dtype))
    if len(payload) != header.height * header.width * dtype.itemsize:
        raise RawError(f"a plain payload of {len(payload)} bytes is not one of {header.height}x{header.width}")
    return RawDepth(header, np.frombuffer(payload, dtype).reshape(header.height, header.width))

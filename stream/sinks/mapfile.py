"""Maps as they are recorded for a `.npz`, which is a ZIP archive and readable only when it is complete.

Until then `NAME.part.npz` holds a line of JSON that describes the maps, then for each map its pts (int64) and its
values (float32 [H, W]), little-endian. What ends in the middle of a map ends before it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

_KIND = "depthcast maps"
_FORMAT = 1
_PTS = struct.Struct("<q")
_LONGEST_HEAD = 1 << 20


@dataclass(frozen=True, slots=True)
class MapsHead:
    """What is known when a recording begins.

    time_base: numerator and denominator of seconds. camera: as `stream.camera.described` has it.
    """

    height: int
    width: int
    unit: str
    polarity: str
    time_base: tuple[int, int]
    camera: Any
    model: str
    fps: float

    @property
    def record_bytes(self) -> int:
        """Of one map and its time."""
        return _PTS.size + 4 * self.height * self.width

    def line(self) -> bytes:
        """The first line of the file."""
        return json.dumps({"kind": _KIND, "format": _FORMAT, **asdict(self)}).encode() + b"\n"

    @classmethod
    def read(cls, file: BinaryIO) -> Self | None:
        """The head of a file from its beginning on; None for a file of another kind."""
        if file.read(1) != b"{":
            return None
        file.seek(0)
        fields = json.loads(file.readline(_LONGEST_HEAD))
        if fields.pop("kind", None) != _KIND or fields.pop("format", None) != _FORMAT:
            return None
        return cls(**{**fields, "time_base": tuple(fields["time_base"])})


def record(pts: int, depth: NDArray[np.float32]) -> bytes:
    """One map and its time."""
    return _PTS.pack(pts) + np.ascontiguousarray(depth, "<f4").tobytes()


def next_map(file: BinaryIO, head: MapsHead) -> tuple[int, NDArray[np.float32]] | None:
    """(pts, depth) of the next whole map; None where there is none."""
    data = file.read(head.record_bytes)
    if len(data) < head.record_bytes:
        return None
    depth = np.frombuffer(data, "<f4", offset=_PTS.size).reshape(head.height, head.width)
    return _PTS.unpack_from(data)[0], depth

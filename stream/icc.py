"""ICC profiles of RGB pictures that are a matrix and three curves (ICC.1:2022): Display P3, Adobe RGB."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HEADER, _ENTRY = 128, 12
_MOST_TAGS, _LONGEST_CURVE, _LONGEST_NAME = 256, 65536, 60
_PARAMETERS = (1, 3, 4, 5, 7)
"""Of the five kinds of parametric curves (10.18)."""
_SRGB_D50 = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""sRGB to XYZ as profiles have it, adapted to D50."""


@dataclass(frozen=True, slots=True)
class RgbProfile:
    """matrix: linear RGB to XYZ at D50, row by row. curves: of red, green, blue; parametric ones are sampled."""

    name: str
    matrix: tuple[float, ...]
    curves: tuple[tuple[float, ...], ...]

    def linear(self, codes: Floats) -> Floats:
        """Light float64 [3, N] of code values [N], all 0..1."""
        return np.stack([np.interp(codes, np.linspace(0, 1, len(curve)), curve) for curve in self.curves])

    @property
    def to_bt709(self) -> Floats:
        """float64 [3, 3]: linear RGB to that of BT.709."""
        return np.asarray(np.linalg.inv(_SRGB_D50) @ np.array(self.matrix).reshape(3, 3))


@lru_cache(maxsize=16)
def read_profile(data: bytes) -> RgbProfile | None:
    """The profile; None for one of another kind (CMYK, tables), or a damaged one."""
    try:
        if data[16:20] != b"RGB " or data[36:40] != b"acsp":
            return None
        tags = _tags(data)
        columns = [_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
        curves = tuple(_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        matrix = tuple(float(value) for value in np.array(columns).T.ravel())
        return RgbProfile(_name(tags.get(b"desc", b"")), matrix, curves)
    except (KeyError, ValueError, struct.error):
        return None


def _tags(data: bytes) -> dict[bytes, bytes]:
    (count,) = struct.unpack_from(">I", data, _HEADER)
    tags = {}
    for index in range(min(count, _MOST_TAGS)):
        name, start, length = struct.unpack_from(">4sII", data, _HEADER + 4 + index * _ENTRY)
        tags[name] = data[start : start + length]
    return tags


def _xyz(tag: bytes) -> tuple[float, float, float]:
    x, y, z = struct.unpack_from(">3i", tag, 8)
    return x / 65536, y / 65536, z / 65536


def _curve(tag: bytes) -> tuple[float, ...]:
    kind, count = struct.unpack_from(">4s4xI", tag)
    if kind == b"para":
        (function,) = struct.unpack_from(">H", tag, 8)
        if function >= len(_PARAMETERS):
            raise ValueError(f"unknown curve {function}")
        numbers = struct.unpack_from(f">{_PARAMETERS[function]}i", tag, 12)
        return _parametric(function, [number / 65536 for number in numbers])
    if kind != b"curv" or count > _LONGEST_CURVE:
        raise ValueError(f"unknown curve {kind!r}")
    if count < 2:
        gamma = struct.unpack_from(">H", tag, 12)[0] / 256 if count else 1.0
        return _parametric(0, [gamma])
    return tuple(value / 65535 for value in struct.unpack_from(f">{count}H", tag, 12))


def _parametric(function: int, numbers: list[float]) -> tuple[float, ...]:
    x = np.linspace(0, 1, 4096)
    gamma, a, b, c, d, e, f = numbers[0], 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    match function, numbers[1:]:
        case 1, [a, b]:
            d = -b / a
        case 2, [a, b, e]:
            d, f = -b / a, e
        case 3, [a, b, c, d]:
            pass
        case 4, [a, b, c, d, e, f]:
            pass
    curved = np.maximum(a * x + b, 0) ** gamma + e
    return tuple(np.clip(np.where(x >= d, curved, c * x + f), 0, 1).tolist())


def _name(tag: bytes) -> str:
    """From a textDescription of version 2 or a multiLocalizedUnicode of version 4."""
    if tag[:4] == b"desc":
        (length,) = struct.unpack_from(">I", tag, 8)
        return _printable(tag[12 : 12 + length].split(b"\0")[0].decode("ascii", "replace"))
    if tag[:4] == b"mluc":
        length, start = struct.unpack_from(">II", tag, 20)
        return _printable(tag[start : start + length].decode("utf-16-be", "replace"))
    return ""


def _printable(text: str) -> str:
    return "".join(filter(str.isprintable, text))[:_LONGEST_NAME]

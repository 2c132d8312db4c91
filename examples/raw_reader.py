"""Reads raw depth messages (docs/raw-depth.md); needs numpy, zstandard, for addresses websockets; not depthcast.

python raw_reader.py ws://127.0.0.1:8080/raw, or a file of messages
"""

import struct
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard

LAYOUT = struct.Struct("<4sBBBBHBxIQqIIqqIIddffff4d")
Header = namedtuple(
    "Header",
    "magic version kind unit flags header_bytes packing payload_bytes sequence pts time_base_num time_base_den "
    "captured_ns unix_ns height width scale offset range_low range_high near far fx fy cx cy",
)
DTYPES = {1: "<u2", 2: "<f2", 3: "<f4"}
UNITS = {1: "metre", 2: "relative inverse depth", 3: "inverse metre"}


def split(data: bytes) -> Iterator[bytes]:
    """The messages of a file."""
    while data:
        end = LAYOUT.size + Header._make(LAYOUT.unpack_from(data)).payload_bytes
        yield data[:end]
        data = data[end:]


def read(message: bytes) -> tuple[Header, np.ndarray, np.ndarray]:
    """(header, depth float32 [H, W] with NaN for no value, values as sent)."""
    header = Header._make(LAYOUT.unpack_from(message))
    if header.magic != b"DCRD" or header.version != 1:
        raise ValueError("no raw depth message of version 1")
    payload = message[header.header_bytes : header.header_bytes + header.payload_bytes]
    dtype, shape = np.dtype(DTYPES[header.kind]), (header.height, header.width)
    if header.packing == 0:
        values = np.frombuffer(payload, dtype)
    else:
        parts = np.frombuffer(zstandard.ZstdDecompressor().decompress(payload), np.uint8)
        zigzag = np.ascontiguousarray(parts.reshape(dtype.itemsize, -1).T).view(f"<u{dtype.itemsize}").reshape(shape)
        values = np.cumsum((zigzag >> 1) ^ (0 - (zigzag & 1)), axis=0, dtype=zigzag.dtype).view(dtype)
    values = values.reshape(shape)
    depth = values.astype(np.float32)
    if header.kind == 1:
        depth = np.where(values, depth * np.float32(header.scale) + np.float32(header.offset), np.float32(np.nan))
    return header, depth, values


def messages(place: str) -> Iterator[bytes]:
    """Those of a WebSocket address or of a file."""
    if not place.startswith("ws"):
        yield from split(Path(place).read_bytes())
        return
    from websockets.sync.client import connect

    with connect(place, max_size=None, compression=None) as socket:
        while True:
            yield socket.recv(decode=False)


if __name__ == "__main__":
    for header, depth, _ in map(read, messages(sys.argv[1])):
        nearest = np.nanmin(depth) if header.unit == 1 else np.nanmax(depth)
        print(f"{header.sequence}: {header.width}x{header.height}, nearest {nearest:.3f} {UNITS[header.unit]}")

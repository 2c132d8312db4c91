"""Point clouds as files: PLY and PCD, binary, little-endian, with colour where there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream.pointcloud import Cloud

_XYZ = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
_COLOURS = [("red", "u1"), ("green", "u1"), ("blue", "u1")]


def ply(cloud: Cloud) -> bytes:
    """A PLY file. One that is organised tells its rows by `obj_info num_rows` and `num_cols` and keeps NaN points."""
    record = _XYZ if cloud.colours is None else [*_XYZ, *_COLOURS]
    vertices = _vertices(cloud, record)
    lines = ["ply", "format binary_little_endian 1.0", "comment x right, y down, z forward, metres"]
    if cloud.is_organised:
        rows, columns = cloud.points.shape[:2]
        lines += [f"obj_info num_cols {columns}", f"obj_info num_rows {rows}"]
    lines.append(f"element vertex {len(vertices)}")
    lines += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in record]
    return "\n".join([*lines, "end_header", ""]).encode() + vertices.tobytes()


def pcd(cloud: Cloud) -> bytes:
    """A PCD file, version 0.7; an organised cloud keeps its rows, with NaN where there is no reading."""
    has_colours = cloud.colours is not None
    height, width = cloud.points.shape[:2] if cloud.is_organised else (1, len(cloud.points))
    count = 4 if has_colours else 3
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        "FIELDS x y z" + (" rgb" if has_colours else ""),
        "SIZE" + " 4" * count,
        "TYPE" + " F" * count,
        "COUNT" + " 1" * count,
        f"WIDTH {width}",
        f"HEIGHT {height}",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {width * height}",
        "DATA binary",
        "",
    ]
    points = _vertices(cloud, [*_XYZ, ("rgb", "<u4")] if has_colours else _XYZ)
    return "\n".join(lines).encode() + points.tobytes()


WRITERS: dict[str, Callable[[Cloud], bytes]] = {".ply": ply, ".pcd": pcd}


def _vertices(cloud: Cloud, record: list[tuple[str, str]]) -> NDArray[Any]:
    """[N] records of a cloud."""
    points = cloud.points.reshape(-1, 3)
    vertices = np.zeros(len(points), np.dtype(record))
    for axis, name in enumerate("xyz"):
        vertices[name] = points[:, axis]
    if cloud.colours is not None:
        colours = cloud.colours.reshape(-1, 3)
        if "rgb" in (vertices.dtype.names or ()):
            red, green, blue = colours.T.astype(np.uint32)
            vertices["rgb"] = red << 16 | green << 8 | blue
        else:
            for channel, (name, _) in enumerate(_COLOURS):
                vertices[name] = colours[:, channel]
    return vertices

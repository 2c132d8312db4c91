"""Poses and time stamps as the datasets write them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.sequence import DatasetError

Doubles = NDArray[np.float64]
_SINTEL_TAG = 202021.25


def read_list(path: Path) -> dict[float, str]:
    """`time name` lines of a TUM listing, comments left out."""
    if not path.exists():
        raise DatasetError(f"{path} is missing")
    rows = (line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#"))
    return {float(row[0]): row[1] for row in rows}


def read_tum_poses(path: Path) -> dict[float, Doubles]:
    """Camera to world by time, 4×4, of `time tx ty tz qx qy qz qw` lines; none where the file is missing."""
    if not path.exists():
        return {}
    poses = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            time_s, *values = (float(word) for word in line.split())
            poses[time_s] = pose_of(np.array(values[:3]), np.array(values[3:]))
    return poses


def pose_of(translation: Doubles, quaternion: Doubles) -> Doubles:
    """4×4 of a translation [3] and a quaternion [4] (x, y, z, w) of any length but zero."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = translation
    return pose


def associate(time_s: float, times: Mapping[float, object], most_s: float) -> float | None:
    """The nearest of `times`, which are in order; None where none lies within `most_s`."""
    ordered = list(times)
    at = bisect_left(ordered, time_s)
    near = min(ordered[max(0, at - 1) : at + 1], key=lambda other: abs(other - time_s), default=None)
    return near if near is not None and abs(near - time_s) <= most_s else None


def read_sintel_camera(path: Path) -> Doubles:
    """Intrinsic matrix 3×3 of a `.cam` file."""
    with path.open("rb") as file:
        tag = np.fromfile(file, "<f4", 1)
        if not tag.size or tag[0] != np.float32(_SINTEL_TAG):
            raise DatasetError(f"{path} is no Sintel camera file: its tag is wrong")
        matrix: Doubles = np.fromfile(file, "<f8", 9).reshape(3, 3)
    return matrix

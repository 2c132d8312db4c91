"""From metres and a camera to points: x to the right, y down, z forward, as ROS's optical frames have them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import cos, radians
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.camera import Intrinsics
from stream.errors import CameraError
from stream.frame import DepthFrame
from stream.metric import converted
from stream.undistort import bent

Points = NDArray[np.floating[Any]]
_UNBEND_ROUNDS = 20
STEEPEST = 87.0
"""Degrees; a floor one metre below the camera is kept up to 19 m."""


@dataclass(frozen=True, slots=True)
class CloudRule:
    """Which points of a map are kept.

    every: take each n-th pixel of each n-th row.
    edge_degrees: leave out points where the surface is seen at more than this angle from straight on: "flying pixels"
        between an edge and what lies behind it. 90 keeps all.
    voxel_m: one point, their mean, for all points in a cube of this size; None keeps them. It ends the organisation.
    """

    every: int = 1
    edge_degrees: float = STEEPEST
    voxel_m: float | None = None

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 < self.edge_degrees <= 90 or (self.voxel_m is not None and self.voxel_m <= 0):
            raise ValueError(
                f"a cloud takes every >= 1, 0 < edge_degrees <= 90, voxel_m > 0; got {self.every}, "
                f"{self.edge_degrees:g}, {self.voxel_m}"
            )


@dataclass(frozen=True, slots=True)
class Cloud:
    """points: float32 [H, W, 3] metres, organised, NaN for no reading; or [N, 3]. colours: uint8 of the same shape."""

    points: NDArray[np.float32]
    colours: NDArray[np.uint8] | None

    @property
    def is_organised(self) -> bool:
        """Points stand in the rows of the picture."""
        return self.points.ndim == 3

    def listed(self) -> Cloud:
        """The points that have a reading, [N, 3]."""
        seen = np.isfinite(self.points).all(axis=-1)
        return Cloud(self.points[seen], None if self.colours is None else self.colours[seen])


def cloud_of(depth_frame: DepthFrame, rule: CloudRule, image: NDArray[np.uint8] | None = None) -> Cloud:
    """The cloud of a frame. image: its colours, uint8 [H, W, 3] at the map's size.

    Raises CameraError where the camera is not known, UnitError for relative depth.
    """
    if depth_frame.intrinsics is None:
        raise CameraError("a point cloud needs the camera: give --camera FILE or --camera fov=DEGREES")
    return cloud_from(converted(depth_frame.depth, depth_frame.unit, Unit.METRE), depth_frame.intrinsics, rule, image)


def cloud_from(
    metres: NDArray[np.float32], camera: Intrinsics, rule: CloudRule, image: NDArray[np.uint8] | None = None
) -> Cloud:
    """The cloud of a map float32 [H, W] in metres."""
    if rule.edge_degrees < 90:
        metres = np.where(is_flying(metres, camera, rule.edge_degrees), np.float32(np.nan), metres)
    points = deprojected(metres, camera)[:: rule.every, :: rule.every]
    whole = Cloud(points, None if image is None else image[:: rule.every, :: rule.every])
    return whole if rule.voxel_m is None else thinned(whole, rule.voxel_m)


def deprojected(metres: NDArray[np.float32], camera: Intrinsics) -> NDArray[np.float32]:
    """Points float32 [H, W, 3] of a map float32 [H, W]; NaN where there is no distance above zero."""
    _check_size(metres, camera)
    known = np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(np.nan))
    points: NDArray[np.float32] = rays(camera) * known[..., None]
    return points


def projected(points: Points, camera: Intrinsics) -> tuple[Points, Points]:
    """Pixels (x, y) at which points [..., 3] in front of a camera are seen, its lens included."""
    x, y = points[..., 0] / points[..., 2], points[..., 1] / points[..., 2]
    if camera.lens is not None:
        x, y = bent(camera.lens, x, y)
    return x * camera.fx + camera.cx, y * camera.fy + camera.cy


@lru_cache(maxsize=8)
def rays(camera: Intrinsics) -> NDArray[np.float32]:
    """float32 [H, W, 3]: where each pixel looks, at z = 1; read-only."""
    y, x = np.mgrid[: camera.height, : camera.width].astype(np.float64)
    x, y = (x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy
    if camera.lens is not None:
        straight_x, straight_y = x, y
        for _ in range(_UNBEND_ROUNDS):
            bent_x, bent_y = bent(camera.lens, straight_x, straight_y)
            straight_x, straight_y = straight_x + x - bent_x, straight_y + y - bent_y
        x, y = straight_x, straight_y
    looking = np.stack([x, y, np.ones_like(x)], axis=-1).astype(np.float32)
    looking.flags.writeable = False
    return looking


def is_flying(metres: NDArray[np.float32], camera: Intrinsics, edge_degrees: float) -> NDArray[np.bool_]:
    """bool [H, W]: seen at more than this angle from straight on.

    In a plane the inverse distance is linear in the picture, so its slope gives the normal without a search: the plane
    n · P = 1 has 1/z = n · ray.
    """
    _check_size(metres, camera)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = np.where(metres > 0, 1 / metres, np.float32(np.nan))
        down, across = _steepest(inverse, 0) * camera.fy, _steepest(inverse, 1) * camera.fx
        looking = rays(camera)
        forward = inverse - looking[..., 0] * across - looking[..., 1] * down
        length = np.sqrt((across**2 + down**2 + forward**2) * (looking**2).sum(axis=-1))
        return np.asarray(inverse < cos(radians(edge_degrees)) * length)


def _steepest(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The larger of the slopes to the two neighbours along an axis, with its sign; 0 where there is none."""
    slope = np.diff(values, axis=axis)
    slope[~np.isfinite(slope)] = 0
    before = np.insert(slope, 0, 0, axis=axis)
    after = np.insert(slope, slope.shape[axis], 0, axis=axis)
    return np.where(np.abs(before) > np.abs(after), before, after)


def thinned(dense: Cloud, voxel_m: float) -> Cloud:
    """One point for each occupied cube: the mean of its points and of their colours, [N, 3]."""
    listed = dense.listed()
    if not len(listed.points):
        return listed
    cells = np.floor(listed.points / np.float32(voxel_m)).astype(np.int64)
    cells -= cells.min(axis=0)
    spans = cells.max(axis=0) + 1
    keys = (cells[:, 0] * spans[1] + cells[:, 1]) * spans[2] + cells[:, 2]
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    points = np.stack([np.bincount(place, axis) for axis in listed.points.T], axis=1) / counts[:, None]
    if listed.colours is None:
        return Cloud(points.astype(np.float32), None)
    colours = np.stack([np.bincount(place, axis) for axis in listed.colours.T], axis=1) / counts[:, None]
    return Cloud(points.astype(np.float32), np.rint(colours).astype(np.uint8))


def _check_size(metres: NDArray[np.float32], camera: Intrinsics) -> None:
    if metres.shape != (camera.height, camera.width):
        raise ValueError(f"the camera is for {camera.height}x{camera.width}, the map is {list(metres.shape)}")

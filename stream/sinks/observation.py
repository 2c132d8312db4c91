"""What messages of robotics say of one frame, whatever form they take: times, depth, camera, points, the picture."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from engines.spec import Unit
from stream.camera import Intrinsics, LensModel
from stream.clock import UnixClock
from stream.frame import DepthFrame, Frame
from stream.pointcloud import Cloud, CloudRule, cloud_of
from stream.preprocess import shown
from stream.sources import SourceInfo

FRAME_ID = "camera"
_SECOND_NS = 10**9


@dataclass(frozen=True, slots=True)
class Stamp:
    """A moment: whole seconds since 1970, or since a file's start, and nanoseconds beyond."""

    sec: int
    nsec: int

    @classmethod
    def of(cls, time_ns: int) -> Stamp:
        """From nanoseconds; nothing lies before the start."""
        return cls(*divmod(max(0, time_ns), _SECOND_NS))

    @property
    def ns(self) -> int:
        """In nanoseconds."""
        return self.sec * _SECOND_NS + self.nsec


@dataclass(frozen=True, slots=True)
class Matrices:
    """A camera as ROS and Foxglove write it: row by row."""

    k: tuple[float, ...]
    p: tuple[float, ...]
    lens_model: str
    d: tuple[float, ...]

    R = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def matrices_of(camera: Intrinsics, equidistant: str) -> Matrices:
    """equidistant: what that lens model is called where the matrices go."""
    fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
    model = LensModel.PLUMB_BOB.value
    coefficients: tuple[float, ...] = (0.0,) * LensModel.PLUMB_BOB.coefficients
    if camera.lens is not None:
        coefficients = camera.lens.coefficients
        model = equidistant if camera.lens.model is LensModel.EQUIDISTANT else camera.lens.model.value
    return Matrices(
        k=(fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0),
        p=(fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
        lens_model=model,
        d=coefficients,
    )


class Observer:
    """Turns the frames of one stream into what is told of them."""

    __slots__ = ("_clock", "_rule")

    def __init__(self, info: SourceInfo, rule: CloudRule) -> None:
        self._clock = UnixClock(info.live)
        self._rule = rule

    def stamp(self, frame: Frame) -> Stamp:
        """When the frame was taken."""
        return Stamp.of(self._clock.stamp_ns(frame))

    def cloud(self, depth_frame: DepthFrame) -> Cloud | None:
        """The points that have a reading; None where there is no camera or no scale."""
        if depth_frame.intrinsics is None or depth_frame.unit is Unit.RELATIVE:
            return None
        height, width = depth_frame.depth.shape
        colours = shown(depth_frame.frame, height, width)
        return cloud_of(depth_frame, self._rule, colours).listed()


def jpeg(frame: Frame) -> bytes:
    """The picture as it is shown: square pixels, sRGB."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = frame.height, frame.width
    encoder.pix_fmt, encoder.time_base, encoder.options = "yuvj420p", Fraction(1), {"qmin": "3", "qmax": "3"}
    # Not the picture's own converter: other sinks may have the same picture in hand, and two in it wait for ever.
    picture = av.VideoFrame.from_ndarray(shown(frame, *frame.size), format="rgb24")
    picture = VideoReformatter().reformat(
        picture,
        format="yuvj420p",
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


def packed(cloud: Cloud) -> NDArray[np.void]:
    """[N] records x, y, z float32, red, green, blue, alpha uint8: 16 bytes a point."""
    names = ("x", "y", "z", "red", "green", "blue", "alpha")
    record = np.dtype([(name, "<f4" if len(name) == 1 else "u1") for name in names])
    points: NDArray[np.void] = np.zeros(len(cloud.points), record)
    for axis, name in enumerate(names[:3]):
        points[name] = cloud.points[:, axis]
    if cloud.colours is not None:
        for channel, name in enumerate(names[3:6]):
            points[name] = cloud.colours[:, channel]
    points["alpha"] = 255
    return points

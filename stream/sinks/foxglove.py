"""Depth for Foxglove: a live server that its app connects to, and MCAP files that it opens.

Topics: /depth/image (RawImage, 32FC1, the values as they are), /depth/camera (CameraCalibration), /depth/points
(PointCloud), /image (CompressedImage). Each depth topic says its unit and polarity in its metadata.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import foxglove
from foxglove.channels import CameraCalibrationChannel, CompressedImageChannel, PointCloudChannel, RawImageChannel
from foxglove.mcap import MCAPWriteOptions, MCAPWriter
from foxglove.messages import (
    CameraCalibration,
    CompressedImage,
    PackedElementField,
    PackedElementFieldNumericType,
    PointCloud,
    Pose,
    Quaternion,
    RawImage,
    Timestamp,
    Vector3,
)

from stream.camera import Intrinsics
from stream.dataouts import FoxgloveServe
from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.pointcloud import Cloud, CloudRule
from stream.sinks.observation import FRAME_ID, Matrices, Observer, Stamp, jpeg, matrices_of, packed
from stream.sinks.unfinished import Unfinished
from stream.sources import SourceInfo

_BACKLOG = 8
"""Messages waiting for a viewer, two frames of four; older ones are dropped."""
_CHUNK_S = 1.0
"""A cut file is read up to its last whole chunk."""
_EVERYWHERE = "0.0.0.0"
_NUMBER = PackedElementFieldNumericType.Float32
_BYTE = PackedElementFieldNumericType.Uint8
_FIELDS = [
    *(PackedElementField(name=name, offset=4 * place, type=_NUMBER) for place, name in enumerate("xyz")),
    *(
        PackedElementField(name=name, offset=12 + place, type=_BYTE)
        for place, name in enumerate(("red", "green", "blue", "alpha"))
    ),
]
_HERE = Pose(position=Vector3(x=0, y=0, z=0), orientation=Quaternion(x=0, y=0, z=0, w=1))


class FoxgloveTopics:
    """The four topics of one stream. What nobody has asked for is not made."""

    __slots__ = ("_camera", "_context", "_depth", "_image", "_observer", "_points")

    def __init__(self, context: foxglove.Context, info: SourceInfo, rule: CloudRule) -> None:
        self._context = context
        self._observer = Observer(info, rule)
        self._depth: RawImageChannel | None = None
        self._camera = CameraCalibrationChannel("/depth/camera", context=context)
        self._points = PointCloudChannel("/depth/points", metadata={"unit": "metre"}, context=context)
        self._image = CompressedImageChannel("/image", context=context)

    def log(self, depth_frame: DepthFrame) -> None:
        """Tell one frame."""
        if self._depth is None:
            meaning = {"unit": depth_frame.unit.value, "polarity": depth_frame.unit.polarity}
            self._depth = RawImageChannel("/depth/image", metadata=meaning, context=self._context)
        stamp = self._observer.stamp(depth_frame.frame)
        time = Timestamp(sec=stamp.sec, nsec=stamp.nsec)
        if self._depth.has_sinks():
            self._depth.log(_raw_image(depth_frame, time), log_time=stamp.ns)
        camera = depth_frame.intrinsics
        if camera is not None and self._camera.has_sinks():
            self._camera.log(_calibration(camera, time), log_time=stamp.ns)
        self._log_more(depth_frame, stamp, time)

    def _log_more(self, depth_frame: DepthFrame, stamp: Stamp, time: Timestamp) -> None:
        """What is costly."""
        if self._points.has_sinks() and (cloud := self._observer.cloud(depth_frame)) is not None:
            self._points.log(_point_cloud(cloud, time), log_time=stamp.ns)
        if self._image.has_sinks():
            picture = CompressedImage(timestamp=time, frame_id=FRAME_ID, data=jpeg(depth_frame.frame), format="jpeg")
            self._image.log(picture, log_time=stamp.ns)


def _raw_image(depth_frame: DepthFrame, time: Timestamp) -> RawImage:
    height, width = depth_frame.depth.shape
    return RawImage(
        timestamp=time,
        frame_id=FRAME_ID,
        width=width,
        height=height,
        encoding="32FC1",
        step=4 * width,
        data=depth_frame.depth.tobytes(),
    )


def _calibration(camera: Intrinsics, time: Timestamp) -> CameraCalibration:
    matrices = matrices_of(camera, equidistant="kannala_brandt")
    return CameraCalibration(
        timestamp=time,
        frame_id=FRAME_ID,
        width=camera.width,
        height=camera.height,
        distortion_model=matrices.lens_model,
        D=[*matrices.d],
        K=[*matrices.k],
        R=[*Matrices.R],
        P=[*matrices.p],
    )


def _point_cloud(cloud: Cloud, time: Timestamp) -> PointCloud:
    points = packed(cloud)
    return PointCloud(
        timestamp=time,
        frame_id=FRAME_ID,
        pose=_HERE,
        point_stride=points.itemsize,
        fields=_FIELDS,
        data=points.tobytes(),
    )


class FoxgloveSink:
    """A server for Foxglove; slow viewers miss messages. Raises SinkError where it cannot listen."""

    kind = "foxglove"

    __slots__ = ("_server", "_topics")

    def __init__(self, uri: FoxgloveServe, info: SourceInfo, rule: CloudRule) -> None:
        context = foxglove.Context()
        try:
            self._server = foxglove.start_server(
                name=f"depthcast {info.name}",
                host=uri.host or _EVERYWHERE,
                port=uri.port,
                context=context,
                message_backlog_size=_BACKLOG,
            )
        except (RuntimeError, OSError, ValueError) as error:
            raise SinkError(f"cannot listen at {uri}: {error}; choose another port") from error
        self._topics = FoxgloveTopics(context, info, rule)

    @property
    def port(self) -> int:
        """The one that is listened on."""
        return int(self._server.port)

    def write(self, depth_frame: DepthFrame) -> None:
        """Tell one frame; a stale one, with the time of its showing."""
        self._topics.log(depth_frame)

    def close(self) -> None:
        """Leave the viewers."""
        self._server.stop()

    def abort(self) -> None:
        """Leave the viewers."""
        self._server.stop()


class FoxgloveFileSink:
    """An MCAP file of the topics. A run without a frame leaves none. Raises SinkError."""

    kind = "mcap"

    __slots__ = ("_file", "_flushed_s", "_topics", "_writer", "_written")

    def __init__(self, path: Path, info: SourceInfo, rule: CloudRule) -> None:
        self._written = 0
        self._flushed_s: float | None = None
        self._file = Unfinished(path, lambda _: self._flushed_s is not None)
        context = foxglove.Context()
        try:
            with self._file.errors():
                # One thread for its compression: the pictures need the others.
                options = MCAPWriteOptions(compression_threads=0)
                self._writer: MCAPWriter = foxglove.open_mcap(self._file, context=context, writer_options=options)
        except BaseException:
            self._file.discard()
            raise
        self._topics = FoxgloveTopics(context, info, rule)

    def write(self, depth_frame: DepthFrame) -> None:
        """Append one frame."""
        if depth_frame.stale:
            return
        time_s = float(depth_frame.frame.pts * depth_frame.frame.time_base)
        with self._file.errors(), _told():
            self._topics.log(depth_frame)
            if self._flushed_s is None or time_s - self._flushed_s >= _CHUNK_S:
                self._writer.flush()
                self._flushed_s = time_s
        self._written += 1

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._file.is_over:
            return
        if not self._written:
            self.abort()
            return
        with self._file.errors(), self._file.finishing(), _told():
            self._writer.close()
        self._file.commit()

    def abort(self) -> None:
        """Drop the file."""
        self._file.discard()
        with suppress(OSError, RuntimeError):
            self._writer.close()


@contextmanager
def _told() -> Iterator[None]:
    """Turns what Foxglove's library raises into an OSError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EIO, str(error)) from error

"""ROS 2 messages in MCAP, without ROS: `ros2 bag play` and every reader of such files takes them.

Topics: /depth/image (sensor_msgs/Image, 32FC1), /depth/camera_info (sensor_msgs/CameraInfo), /image/compressed
(sensor_msgs/CompressedImage, JPEG). The record of metadata `depth` says unit and polarity. Definitions: ROS 2
common_interfaces, sensor_msgs; depth as REP 118 has it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Channel, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap_ros2.decoder import DecoderFactory
from mcap_ros2.writer import Writer
from zstandard import ZstdError

from engines.spec import Unit
from stream.camera import Intrinsics, Lens, LensModel
from stream.errors import SourceError
from stream.frame import DepthFrame
from stream.pointcloud import CloudRule
from stream.recorded import RecordedDepth, tell_cut
from stream.sinks.observation import FRAME_ID, Matrices, Observer, Stamp, jpeg, matrices_of
from stream.sinks.unfinished import Unfinished
from stream.sources import SourceInfo

_RULE = "=" * 80
_TIME = "int32 sec\nuint32 nanosec"
_HEADER = "builtin_interfaces/Time stamp\nstring frame_id"
_WITH_HEADER = f"\n{_RULE}\nMSG: std_msgs/Header\n{_HEADER}\n{_RULE}\nMSG: builtin_interfaces/Time\n{_TIME}"
_ROI = "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify"
_IMAGE = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
    f"uint8[] data{_WITH_HEADER}"
)
_COMPRESSED = "std_msgs/Header header\nstring format\nuint8[] data" + _WITH_HEADER
_CAMERA = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\nfloat64[] d\nfloat64[9] k\n"
    "float64[9] r\nfloat64[12] p\nuint32 binning_x\nuint32 binning_y\nsensor_msgs/RegionOfInterest roi"
    f"{_WITH_HEADER}\n{_RULE}\nMSG: sensor_msgs/RegionOfInterest\n{_ROI}"
)
_DEPTH_TOPIC, _CAMERA_TOPIC, _IMAGE_TOPIC = "/depth/image", "/depth/camera_info", "/image/compressed"
_NOTHING = {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False}
_MAGIC = b"\x89MCAP0\r\n"
_NANOSECONDS = Fraction(1, 10**9)


class Ros2FileSink:
    """An MCAP file of ROS 2 messages. A run without a frame leaves none. Raises SinkError."""

    kind = "ros2"

    __slots__ = ("_camera", "_compressed", "_file", "_image", "_observer", "_writer", "_written")

    def __init__(self, path: Path, info: SourceInfo) -> None:
        self._written = 0
        self._file = Unfinished(path, lambda _: self._written > 0)
        self._observer = Observer(info, CloudRule())
        try:
            with self._file.errors():
                # A chunk ends with the map of its frame, the largest message: what is whole in a cut file is frames.
                self._writer = Writer(self._file, chunk_size=2 * info.height * info.width)
        except BaseException:
            self._file.discard()
            raise
        self._image = self._writer.register_msgdef("sensor_msgs/msg/Image", _IMAGE)
        self._camera = self._writer.register_msgdef("sensor_msgs/msg/CameraInfo", _CAMERA)
        self._compressed = self._writer.register_msgdef("sensor_msgs/msg/CompressedImage", _COMPRESSED)

    def write(self, depth_frame: DepthFrame) -> None:
        """Append one frame."""
        if depth_frame.stale:
            return
        stamp = self._observer.stamp(depth_frame.frame)
        with self._file.errors():
            if not self._written:
                meaning = {"unit": depth_frame.unit.value, "polarity": depth_frame.unit.polarity}
                self._writer.add_metadata("depth", meaning)
            if depth_frame.intrinsics is not None:
                self._put(_CAMERA_TOPIC, self._camera, _camera_info(depth_frame.intrinsics, stamp), stamp)
            picture = {"header": _header(stamp), "format": "jpeg", "data": jpeg(depth_frame.frame)}
            self._put(_IMAGE_TOPIC, self._compressed, picture, stamp)
            self._put(_DEPTH_TOPIC, self._image, _image(depth_frame, stamp), stamp)
        self._written += 1

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._file.is_over:
            return
        if not self._written:
            self.abort()
            return
        with self._file.errors(), self._file.finishing():
            self._writer.finish()
        self._file.commit()

    def abort(self) -> None:
        """Drop the file."""
        self._file.discard()

    def _put(self, topic: str, schema: Any, message: dict[str, Any], stamp: Stamp) -> None:
        self._writer.write_message(topic, schema, message, stamp.ns, stamp.ns, self._written)


def _header(stamp: Stamp) -> dict[str, Any]:
    return {"stamp": {"sec": stamp.sec, "nanosec": stamp.nsec}, "frame_id": FRAME_ID}


def _image(depth_frame: DepthFrame, stamp: Stamp) -> dict[str, Any]:
    height, width = depth_frame.depth.shape
    return {
        "header": _header(stamp),
        "height": height,
        "width": width,
        "encoding": "32FC1",
        "is_bigendian": 0,
        "step": 4 * width,
        "data": depth_frame.depth.tobytes(),
    }


def _camera_info(camera: Intrinsics, stamp: Stamp) -> dict[str, Any]:
    matrices = matrices_of(camera, equidistant=LensModel.EQUIDISTANT.value)
    return {
        "header": _header(stamp),
        "height": camera.height,
        "width": camera.width,
        "distortion_model": matrices.lens_model,
        "d": [*matrices.d],
        "k": [*matrices.k],
        "r": [*Matrices.R],
        "p": [*matrices.p],
        "binning_x": 0,
        "binning_y": 0,
        "roi": _NOTHING,
    }


def read(path: Path) -> Iterator[RecordedDepth]:
    """See `stream.recorded.read`; the times are the stamps, in nanoseconds."""
    try:
        with path.open("rb") as file:
            if _is_cut(file):
                yield from _read_cut(path, file)
                return
            reader = make_reader(file, decoder_factories=[DecoderFactory()])
            unit = _unit_of(reader.iter_metadata(), path)
            topics = [_DEPTH_TOPIC, _CAMERA_TOPIC]
            cameras = {
                message.log_time: _intrinsics(decoded)
                for _, _, message, decoded in reader.iter_decoded_messages(topics[1:])
            }
            for index, (_, _, message, image) in enumerate(reader.iter_decoded_messages(topics[:1])):
                yield _recorded(image, unit, index, cameras.get(message.log_time))
    except (McapError, ValueError, KeyError) as error:
        raise SourceError(f"{path} is no recording of depth ({error})") from error


def _read_cut(path: Path, file: BinaryIO) -> Iterator[RecordedDepth]:
    """What stands in a file without an end, which has the index, in the order of writing."""
    decoders, topics, count = DecoderFactory(), dict[int, tuple[str, Schema]](), 0
    schemas: dict[int, Schema] = {}
    unit: Unit | None = None
    camera: Intrinsics | None = None
    for record in _whole_records(file):
        match record:
            case Metadata(name="depth"):
                unit = _unit_of([record], path)
            case Schema():
                schemas[record.id] = record
            case Channel():
                topics[record.id] = record.topic, schemas[record.schema_id]
            case Message():
                topic, schema = topics[record.channel_id]
                decode = decoders.decoder_for("cdr", schema) if topic in (_DEPTH_TOPIC, _CAMERA_TOPIC) else None
                if decode is not None and topic == _CAMERA_TOPIC:
                    camera = _intrinsics(decode(record.data))
                elif decode is not None:
                    yield _recorded(decode(record.data), unit or _unit_of([], path), count, camera)
                    count += 1
    tell_cut(path, count)


def _whole_records(file: BinaryIO) -> Iterator[McapRecord]:
    """The records up to the one that is cut or damaged."""
    records = StreamReader(file, validate_crcs=True).records
    while True:
        try:
            yield next(records)
        except StopIteration:
            return
        except (McapError, ValueError, ZstdError, struct.error):
            return


def _is_cut(file: BinaryIO) -> bool:
    """It begins as an MCAP file and does not end as one."""
    begins = file.read(len(_MAGIC)) == _MAGIC
    file.seek(max(file.seek(0, os.SEEK_END) - len(_MAGIC), 0))
    ends = file.read() == _MAGIC and file.tell() > len(_MAGIC)
    file.seek(0)
    return begins and not ends


def _unit_of(records: Iterable[Metadata], path: Path) -> Unit:
    for record in records:
        if record.name == "depth":
            return Unit(record.metadata["unit"])
    raise SourceError(f"{path} does not say what its depth means: `-o FILE.ros2.mcap` writes what it does")


def _recorded(image: Any, unit: Unit, index: int, camera: Intrinsics | None) -> RecordedDepth:
    depth = np.frombuffer(image.data, "<f4").reshape(image.height, image.width)
    pts = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
    return RecordedDepth(depth, unit, index, pts, _NANOSECONDS, camera)


def _intrinsics(info: Any) -> Intrinsics:
    fx, _, cx, _, fy, cy, *_ = info.k
    lens = Lens(LensModel(info.distortion_model), tuple(info.d)) if any(info.d) else None
    return Intrinsics(info.height, info.width, fx, fy, cx, cy, lens)

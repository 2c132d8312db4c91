"""Foxglove, ROS 2 and zenoh outputs, read by programs that are not ours."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from engines.spec import Unit
from stream.camera import Intrinsics, Lens, LensModel
from stream.dataouts import FoxgloveServe, ZenohOut
from stream.errors import ExtraMissing, SinkError, SourceError
from stream.extras import need
from stream.frame import DepthFrame
from stream.pointcloud import CloudRule, cloud_of
from stream.raw.codec import decode
from stream.recorded import read
from tests.fakes import ListSource, depth_frame, frame, textured

ROOT = Path(__file__).parent.parent
CAMERA = Intrinsics(24, 32, 30.25, 30.5, 15.5, 11.75)
BENT = replace(CAMERA, lens=Lens(LensModel.EQUIDISTANT, (0.1, 0.0, -0.01, 0.002)))
INFO = ListSource([frame(np.zeros((24, 32, 3), np.uint8))]).info


def frames(camera: Intrinsics | None = CAMERA, unit: Unit = Unit.METRE) -> list[DepthFrame]:
    random = np.random.default_rng(0)
    maps = [random.uniform(0.5, 9, (24, 32)).astype(np.float32) for _ in range(3)]
    maps[1][3, 4], maps[1][3, 5] = np.nan, 0
    scene = textured(1, 24, 32)
    return [
        replace(depth_frame(depth, 30 * index, unit), frame=frame(scene, index, 31 * index), intrinsics=camera)
        for index, depth in enumerate(maps)
    ]


def stamp_ns(one: DepthFrame) -> int:
    return round(one.frame.pts * one.frame.time_base * 10**9)


@pytest.mark.parametrize("camera", [CAMERA, BENT, None], ids=["pinhole", "lens", "unknown"])
def test_ros2_recordings_are_read_by_their_own_library(tmp_path: Path, camera: Intrinsics | None) -> None:
    mcap_ros2 = pytest.importorskip("mcap_ros2.reader", reason="needs mcap-ros2-support")
    from stream.sinks.ros2 import Ros2FileSink

    path, sent = tmp_path / "a.ros2.mcap", frames(camera)
    sink = Ros2FileSink(path, INFO)
    for one in [*sent, replace(sent[-1], stale=True)]:
        sink.write(one)
    sink.close()
    messages: dict[str, list[Any]] = {}
    for message in mcap_ros2.read_ros2_messages(path):
        assert message.log_time_ns == message.publish_time_ns
        messages.setdefault(message.channel.topic, []).append(message.ros_msg)
    for image, one in zip(messages["/depth/image"], sent, strict=True):
        assert (image.encoding, image.height, image.width, image.step) == ("32FC1", 24, 32, 128)
        assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == stamp_ns(one)
        got = np.frombuffer(image.data, "<f4").reshape(24, 32)
        assert np.array_equal(got.view(np.uint32), one.depth.view(np.uint32))
    pictures = [
        av.CodecContext.create("mjpeg", "r").decode(av.Packet(one.data))[0] for one in messages["/image/compressed"]
    ]
    assert [(picture.height, picture.width) for picture in pictures] == [(24, 32)] * 3
    assert ("/depth/camera_info" in messages) == (camera is not None)
    for info in messages.get("/depth/camera_info", []):
        assert list(info.k) == [30.25, 0, 15.5, 0, 30.5, 11.75, 0, 0, 1]
        assert (info.height, info.width, info.distortion_model) == (
            24,
            32,
            "equidistant" if camera is BENT else "plumb_bob",
        )
    for back, one in zip(read(path), sent, strict=True):
        assert (back.intrinsics, back.unit, back.time_s * 10**9) == (camera, Unit.METRE, Fraction(stamp_ns(one)))
        assert np.array_equal(back.depth, one.depth, equal_nan=True)


def test_a_foreign_bag_is_no_recording(tmp_path: Path) -> None:
    writer = pytest.importorskip("mcap_ros2.writer", reason="needs mcap-ros2-support")
    with (tmp_path / "a.mcap").open("wb") as file:
        writer.Writer(file).finish()
    with pytest.raises(SourceError, match="does not say"):
        list(read(tmp_path / "a.mcap"))
    (tmp_path / "b.mcap").write_bytes(b"nothing of the kind")
    with pytest.raises(SourceError, match="no recording"):
        list(read(tmp_path / "b.mcap"))


def protobuf_messages(path: Path) -> Iterator[tuple[str, int, Any]]:
    """(topic, log time, message) of an MCAP file, decoded with the schemas that it carries alone."""
    reader = pytest.importorskip("mcap.reader", reason="needs mcap")
    with path.open("rb") as file:
        for schema, channel, message in reader.make_reader(file).iter_messages():
            yield channel.topic, message.log_time, parsed(schema.name, schema.data, message.data)


def parsed(name: str, schema: bytes, data: bytes) -> Any:
    """A protobuf message by its own description."""
    pytest.importorskip("google.protobuf", reason="needs protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(schema).file:
        pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))()
    message.ParseFromString(data)
    return message


def test_foxglove_recordings_are_read_by_others(tmp_path: Path) -> None:
    pytest.importorskip("foxglove", reason="needs foxglove-sdk")
    from stream.sinks.foxglove import FoxgloveFileSink

    path, sent = tmp_path / "a.mcap", frames()
    sink = FoxgloveFileSink(path, INFO, CloudRule(every=2))
    for one in sent:
        sink.write(one)
    sink.close()
    messages: dict[str, list[Any]] = {}
    for topic, log_time, message in protobuf_messages(path):
        messages.setdefault(topic, []).append(message)
        assert log_time == message.timestamp.ToNanoseconds()
    for image, one in zip(messages["/depth/image"], sent, strict=True):
        assert (image.encoding, image.timestamp.ToNanoseconds()) == ("32FC1", stamp_ns(one))
        got = np.frombuffer(image.data, "<f4").reshape(image.height, image.width)
        assert np.array_equal(got, one.depth, equal_nan=True)
    assert [list(info.K) for info in messages["/depth/camera"]] == [[30.25, 0, 15.5, 0, 30.5, 11.75, 0, 0, 1]] * 3
    record = np.dtype([(name, "<f4") for name in "xyz"] + [(name, "u1") for name in ("red", "green", "blue", "alpha")])
    for message, one in zip(messages["/depth/points"], sent, strict=True):
        fields = [(field.name, field.offset) for field in message.fields]
        assert fields == [("x", 0), ("y", 4), ("z", 8), ("red", 12), ("green", 13), ("blue", 14), ("alpha", 15)]
        points = np.frombuffer(message.data, record)
        expected = cloud_of(one, CloudRule(every=2)).listed().points
        assert np.array_equal(np.stack([points[axis] for axis in "xyz"], axis=1), expected)
        assert points["alpha"].min() == 255
    assert len(messages["/image"]) == 3


@pytest.mark.parametrize("suffix", [".mcap", ".ros2.mcap"])
def test_recordings_that_are_dropped_leave_nothing(tmp_path: Path, suffix: str) -> None:
    from depthcast.dataouts import opened_data_file
    from depthcast.sensing import NO_SENSING

    for frames_written in (0, 2):
        sink = opened_data_file(tmp_path / f"a{suffix}", INFO, NO_SENSING)
        for one in frames()[:frames_written]:
            sink.write(one)
        if frames_written:
            sink.abort()
        else:
            sink.close()
        sink.abort()
        assert not list(tmp_path.iterdir())


def test_several_sinks_may_have_one_picture_in_hand() -> None:
    """In a process of its own: what is not made for two threads crashes or never ends."""
    script = """
import threading
import numpy as np
from stream.sinks.observation import jpeg
from tests.fakes import frame

one = frame(np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8), 0)
sinks = [threading.Thread(target=lambda: [jpeg(one) for _ in range(40)]) for _ in range(3)]
for sink in sinks:
    sink.start()
for sink in sinks:
    sink.join()
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=120, check=False)
    assert ended.returncode == 0


def test_foxglove_viewers_get_messages() -> None:
    pytest.importorskip("foxglove", reason="needs foxglove-sdk")
    from stream.sinks.foxglove import FoxgloveSink

    sink = FoxgloveSink(FoxgloveServe("127.0.0.1", 0), replace(INFO, live=True), CloudRule())
    sent = frames()[0]
    try:
        sink.write(sent)
        place = f"ws://127.0.0.1:{sink.port}"
        with connect(place, subprotocols=[Subprotocol("foxglove.sdk.v1")], max_size=None) as client:
            channels: dict[str, Any] = {}
            while len(channels) < 4:
                told = client.recv(timeout=20)
                if isinstance(told, str) and (heard := json.loads(told))["op"] == "advertise":
                    channels |= {channel["topic"]: channel for channel in heard["channels"]}
            wanted = channels["/depth/image"]
            assert wanted["schemaName"] == "foxglove.RawImage"
            request = {"op": "subscribe", "subscriptions": [{"id": 7, "channelId": wanted["id"]}]}
            client.send(json.dumps(request))
            message = _told(client, sink, sent)
        image = parsed("foxglove.RawImage", _schema(wanted["schema"]), message[13:])
        assert np.array_equal(np.frombuffer(image.data, "<f4").reshape(24, 32), sent.depth, equal_nan=True)
    finally:
        sink.close()
        sink.abort()


def _schema(text: str) -> bytes:
    import base64

    return base64.b64decode(text)


def _told(client: Any, sink: Any, sent: DepthFrame) -> bytes:
    """The first data message; the subscription takes a moment to be known."""
    for _ in range(200):
        sink.write(sent)
        try:
            message = client.recv(timeout=0.1)
        except TimeoutError:
            continue
        if isinstance(message, bytes) and message[0] == 1:
            return message
    pytest.fail("no message came")


def test_a_foxglove_port_in_use_is_refused() -> None:
    pytest.importorskip("foxglove", reason="needs foxglove-sdk")
    from stream.sinks.foxglove import FoxgloveSink

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(SinkError, match="cannot listen"):
            FoxgloveSink(FoxgloveServe("127.0.0.1", port), INFO, CloudRule())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_zenoh_subscribers_get_raw_messages() -> None:
    zenoh = pytest.importorskip("zenoh", reason="needs eclipse-zenoh")
    from stream.sinks.zenoh import ENCODING, ZenohSink, config_of

    place = f"tcp/127.0.0.1:{free_port()}"
    sink = ZenohSink(ZenohOut("robot/depth", listen=place), INFO, (0.5, 9.0))
    taken: list[Any] = []
    came = threading.Event()

    def take(sample: Any) -> None:
        taken.append((bytes(sample.payload), str(sample.encoding)))
        came.set()

    sent = frames()[0]
    sink.write(sent)
    with zenoh.open(config_of(ZenohOut("x", connect=place))) as session:
        session.declare_subscriber("robot/**", take)
        for _ in range(200):
            sink.write(sent)
            if came.wait(0.05):
                break
    sink.close()
    sink.abort()
    message, encoding = taken[0]
    assert encoding == ENCODING
    header = decode(message).header
    assert (header.limits, header.intrinsics, header.sequence > 0) == ((0.5, 9.0), CAMERA, True)


def test_a_zenoh_endpoint_that_is_none_is_refused() -> None:
    pytest.importorskip("zenoh", reason="needs eclipse-zenoh")
    from stream.sinks.zenoh import ZenohSink

    with pytest.raises(SinkError, match="cannot publish at zenoh:a"):
        ZenohSink(ZenohOut("a", connect="carrier-pigeon/home"), INFO)


def test_a_missing_package_is_named_with_its_command() -> None:
    with pytest.raises(ExtraMissing, match=r"pip install 'depthcast\[foxglove\]'"):
        need("no_such_package.part", "foxglove", "foxglove://")

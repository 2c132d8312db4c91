"""Whatever can be closed can be closed again, and is not used afterwards without a clear error."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import depthcast
from depthcast.models import NANO, find
from depthcast.plan import Wanted
from depthcast.service.jobs.store import Store
from depthcast.settings import Settings
from depthcast.shapes import ShapedSessions, own_steps
from engines.errors import EngineError, StepError
from engines.onnx import OnnxSession, OnnxWindowSession
from engines.openvino import OpenVinoSession, OpenVinoWindowSession
from engines.session import Session, StepPlan
from engines.spec import Unit, sha256_of
from engines.window import FeatureWindow
from export.engine_check import FirstRow
from export.reference import TorchSession
from stream.batching import BatchedSession
from stream.camera import Camera, Intrinsics, Lens, LensModel
from stream.dataouts import FoxgloveServe
from stream.estimator import DepthEstimator
from stream.mailbox import Mailbox, Overflow
from stream.pointcloud import CloudRule
from stream.rtsp.ports import PortPair
from stream.sinks import NullSink, Sink, kind_of, labels_of
from stream.sinks.foxglove import FoxgloveFileSink, FoxgloveSink
from stream.sinks.gray16 import Gray16Sink
from stream.sinks.npz import NpzSink
from stream.sinks.picture import Painter
from stream.sinks.publish import RtspPublishSink
from stream.sinks.raw import RawSink
from stream.sinks.repeated import Repeated
from stream.sinks.ros2 import Ros2FileSink
from stream.sinks.rtsp import RtspServeSink
from stream.sinks.segments import Segmented
from stream.sinks.stills import CloudSink, StillsSink
from stream.sinks.video import VideoSink
from stream.sinks.webrtc import Viewing, WebRtcSink
from stream.sinks.zenoh import ZenohSink
from stream.sources.file import FileSource
from stream.sources.limited import Limited
from stream.sources.paced import Looped, Paced
from stream.sources.synthetic import SyntheticSource
from stream.turns import Turns, TurnSession
from stream.twoway import TwoWaySession
from stream.undistort import Straightened
from stream.uris import parse_sink
from stream.webrtc.loop import LoopThread
from tests.fake_device import FakeDevice
from tests.fakes import FakeSession, depth_frame, spec
from tests.rtc import LOOPBACK
from tests.tiny import SPEC, make_clip, tiny_network
from tests.toy_engine import toy

pytestmark = pytest.mark.usefixtures("no_thread_stays")
SIZE = (32, 64)
SOURCE = SyntheticSource(48, 64, Fraction(30), frames=2)
LENS = Lens(LensModel.PLUMB_BOB, (0.1, 0, 0, 0, 0))


class Closable(Protocol):
    def close(self) -> object: ...


def window_network(folder: Path) -> Path:
    """As `tiny_network`, seeing a window of two frames."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [2, 3, *SIZE])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, [2, *SIZE])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["depth"], keepdims=0)
    graph = helper.make_graph([mean], "tiny", [images], [depth], [axes])
    path = folder / "window.onnx"
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    described = replace(SPEC, kind="window", frames=2, height=SIZE[0], width=SIZE[1], onnx_sha256=sha256_of(path))
    described.save(path.with_suffix(".json"))
    return path


def torch_session() -> TorchSession:
    return TorchSession(lambda image, *_: (image.mean(1),), spec(size=SIZE, multiple=32))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


SHOWN = SOURCE.info, Painter(SOURCE.info), SPEC.unit
FILES = ("video", "gray16", "npz", "stills", "clouds", "mcap", "ros2")
SESSIONS: dict[str, Callable[[Path], Session]] = {
    "onnx": lambda folder: OnnxSession(tiny_network(folder), SIZE),
    "openvino": lambda folder: OpenVinoSession(tiny_network(folder), SIZE),
    "tensorrt": lambda _: toy(FakeDevice()),
    "torch": lambda _: torch_session(),
}
WINDOWS: dict[str, Callable[[Path], Any]] = {
    "onnx": lambda folder: OnnxWindowSession(window_network(folder)),
    "openvino": lambda folder: OpenVinoWindowSession(window_network(folder)),
}
SINKS: dict[str, Callable[[Path], Sink]] = {
    "null": lambda _: NullSink(),
    "video": lambda folder: VideoSink(folder / "a.mp4", SOURCE.info),
    "gray16": lambda folder: Gray16Sink(folder / "a.mkv", SOURCE.info),
    "npz": lambda folder: NpzSink(folder / "a.npz", SOURCE.info, "fake"),
    "stills": lambda folder: StillsSink(folder / "%d.png"),
    "clouds": lambda folder: CloudSink(folder / "%d.ply", CloudRule()),
    "raw": lambda _: RawSink(SOURCE.info),
    "mcap": lambda folder: FoxgloveFileSink(folder / "a.mcap", SOURCE.info, CloudRule()),
    "ros2": lambda folder: Ros2FileSink(folder / "a.ros2.mcap", SOURCE.info),
    "foxglove": lambda _: FoxgloveSink(FoxgloveServe("127.0.0.1", free_port()), SOURCE.info, CloudRule()),
    "zenoh": lambda _: ZenohSink(parse_sink(f"zenoh:a?listen=tcp/127.0.0.1:{free_port()}"), SOURCE.info),  # type: ignore[arg-type]
    "rtsp": lambda _: RtspServeSink(parse_sink(f"rtsp://@127.0.0.1:{free_port()}/d"), *SHOWN),  # type: ignore[arg-type]
    "rtsp-publish": lambda _: RtspPublishSink(parse_sink("rtsp://127.0.0.1:1/d"), *SHOWN),  # type: ignore[arg-type]
    "webrtc": lambda _: WebRtcSink(SOURCE.info, Painter(SOURCE.info), LOOPBACK, Viewing()),
}
OTHERS: dict[str, Callable[[Path], Closable]] = {
    "batched": lambda _: BatchedSession(FakeSession(replace(spec(size=SIZE), batch=None)), 2),
    "first row": lambda folder: FirstRow(OnnxSession(tiny_network(folder), SIZE), 2),
    "turns": lambda _: TurnSession(FakeSession(), Turns()),
    "two ways": lambda folder: TwoWaySession(OnnxSession(tiny_network(folder), SIZE), 4),
    "estimator": lambda _: DepthEstimator(FakeSession()),
    "networks": lambda folder: opened_networks(folder),
    "open": lambda folder: depthcast.open("test:?size=64x48&frames=2", checkpoint=tiny_network(folder)),
    "camera loop": lambda folder: stepped_stream(folder),
    "client": lambda _: depthcast.Client("http://127.0.0.1:1"),
    "file": lambda folder: FileSource(make_clip(folder / "a.mp4", frames=2)),
    "looped": lambda folder: Looped(make_clip(folder / "a.mp4", frames=2)),
    "paced": lambda folder: Paced(FileSource(make_clip(folder / "a.mp4", frames=2))),
    "limited": lambda _: Limited(SyntheticSource(48, 64), 2, None),
    "synthetic": lambda _: SyntheticSource(48, 64),
    "straightened": lambda _: Straightened(SyntheticSource(48, 64), Camera(Intrinsics(48, 64, 60, 60, 31, 23, LENS))),
    "mailbox": lambda _: Mailbox(1, Overflow.WAIT),
    "loop": lambda _: LoopThread("test"),
    "jobs": lambda folder: Store(folder / "jobs.db"),
    "repeated": lambda folder: Repeated(VideoSink(folder / "a.mp4", SOURCE.info), Fraction(30), Fraction(30)),
    "segments": lambda folder: Segmented(
        folder / "a.npz", Fraction(9), lambda path, _: NpzSink(path, SOURCE.info, "a")
    ),
}


def opened_networks(folder: Path) -> ShapedSessions[Session]:
    wanted, settings = Wanted(find(NANO), checkpoint=tiny_network(folder)), Settings(folder)
    networks = ShapedSessions(wanted, own_steps(settings), settings, print)
    networks.session_for(48, 64)
    return networks


def stepped_stream(folder: Path) -> depthcast.DepthStream:
    stream = depthcast.DepthStream(checkpoint=tiny_network(folder))
    stream.step(np.zeros((48, 64, 3), np.uint8))
    return stream


def plan_of(session: Session) -> StepPlan:
    return FeatureWindow(session.spec.window).plan()


@pytest.mark.parametrize("name", SESSIONS)
def test_sessions_and_their_memory(name: str, tmp_path: Path) -> None:
    session = SESSIONS[name](tmp_path)
    first, second = session.new_cache(), session.new_cache()
    kept = session.step(second, [plan_of(session)])
    for _ in range(2):
        first.close()
    with pytest.raises(EngineError, match="memory is closed"):
        session.step(first, [plan_of(session)])
    with pytest.raises(EngineError, match="memory is closed"):
        _ = first.image
    # The others of the session go on.
    np.testing.assert_array_equal(session.step(second, [plan_of(session)]), kept)
    for _ in range(2):
        session.close()
    with pytest.raises(EngineError, match="closed"):
        session.new_cache()
    with pytest.raises(EngineError, match="closed"):
        session.step(second, [plan_of(session)])
    for _ in range(2):
        second.close()
    assert np.isfinite(kept).all()


@pytest.mark.parametrize("name", WINDOWS)
def test_window_sessions(name: str, tmp_path: Path) -> None:
    session = WINDOWS[name](tmp_path)
    images = np.ones((2, 3, *SIZE), np.float32)
    np.testing.assert_allclose(session.run(images), 1)
    for _ in range(2):
        session.close()
    with pytest.raises(EngineError, match="the session of tiny is closed: open another"):
        session.run(images)


@pytest.mark.parametrize("name", OTHERS)
def test_everything_else(name: str, tmp_path: Path) -> None:
    thing = OTHERS[name](tmp_path)
    for _ in range(3):
        thing.close()


@pytest.mark.parametrize("frames", [0, 2])
@pytest.mark.parametrize("name", SINKS)
def test_outputs_and_their_names(name: str, frames: int, tmp_path: Path) -> None:
    sink = SINKS[name](tmp_path)
    camera = Intrinsics(48, 64, 60, 60, 31.5, 23.5)
    for index in range(frames):
        sent = depth_frame(np.full((48, 64), 1 + index, np.float32), index, Unit.METRE)
        sink.write(replace(sent, intrinsics=camera))
    sink.close()
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for _ in range(2):
        sink.close()
    sink.abort()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written
    assert bool(written) is (frames > 0 and name in FILES)
    assert kind_of(sink) == name


def test_two_of_a_kind_are_told_apart_and_others_do_not_move() -> None:
    class Strange:
        def write(self, depth_frame: object) -> None: ...
        def close(self) -> None: ...
        def abort(self) -> None: ...

    raw, null = RawSink(SOURCE.info), NullSink()
    assert labels_of([raw, null, raw, Strange(), null, raw]) == ["raw", "null", "raw 2", "other", "null 2", "raw 3"]


def test_a_stream_that_is_closed_says_so(tmp_path: Path) -> None:
    estimator = DepthEstimator(OnnxSession(tiny_network(tmp_path), SIZE))
    estimator.close()
    with pytest.raises(EngineError, match="memory is closed"):
        estimator.step_array(np.zeros((48, 64, 3), np.uint8))


def test_ports_and_the_asynchronous_client() -> None:
    async def run() -> None:
        pair = PortPair("127.0.0.1", socket.AF_INET, lambda _: None)
        client = depthcast.AsyncClient("http://127.0.0.1:1")
        for _ in range(2):
            pair.close()
            await client.close()

    asyncio.run(run())


def test_a_failed_stream_gives_its_row_back_while_its_error_is_held() -> None:
    """No collection of garbage is needed: the error holds the frames of the call, and they the estimator."""
    session = BatchedSession(FakeSession(replace(spec(size=SIZE), batch=None), fail_at=0), 1)
    held: list[BaseException] = []
    with session:
        try:
            with DepthEstimator(session) as estimator:
                estimator.step_array(np.zeros((32, 64, 3), np.uint8))
        except StepError as error:
            held.append(error)
        assert held
        assert session.streams == 0
        with DepthEstimator(session) as estimator:
            assert estimator.step_array(np.zeros((32, 64, 3), np.uint8)).reset

"""Depth inside other programs."""

from __future__ import annotations

import threading
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import depthcast
from depthcast.inprocess import _picture
from engines.spec import Unit
from stream.errors import CameraError, UnitError
from tests.cameras import MjpegCamera, jpeg
from tests.tiny import SPEC, make_clip, tiny_network
from tests.videos import gray_levels


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return tiny_network(tmp_path)


@pytest.fixture
def metric(tmp_path: Path) -> Path:
    path = tiny_network(tmp_path)
    replace(SPEC.load(path.with_suffix(".json")), unit=Unit.METRE).save(path.with_suffix(".json"))
    return path


IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)


def test_a_source_is_opened_by_name(tmp_path: Path, metric: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=3)
    with depthcast.open(clip, checkpoint=metric, camera="fov=90", far_m=9) as stream:
        assert (stream.unit, stream.info.height, stream.device_depth) == (Unit.METRE, 48, None)
        got = list(stream)
    assert [depth.frame.index for depth in got] == [0, 1, 2]
    camera = got[0].intrinsics
    assert camera is not None
    assert camera.fx == pytest.approx(32)
    stream.close()


def test_a_source_of_a_live_scene_can_be_left(network: Path) -> None:
    with depthcast.open("test:?size=64x48&rate=50", checkpoint=network) as stream:
        for count, depth in enumerate(stream):
            assert depth.depth.shape == (48, 64)
            if count == 3:
                break


def test_a_camera_that_hangs_is_stale_until_it_is_back(network: Path) -> None:
    with MjpegCamera([jpeg(image) for image in gray_levels(5)]) as camera:
        with depthcast.open(camera.url, checkpoint=network, stale_after_s=0.3) as stream:
            frames = iter(stream)
            fresh = next(frames)
            camera.hung.set()
            stale = next(frame for frame in frames if frame.stale)
            camera.hung.clear()
            back = next(frame for frame in frames if not frame.stale)
        assert (fresh.stale, stale.reset) == (False, False)
        assert stale.frame.captured_ns > fresh.frame.captured_ns
        assert stale.frame.pts > fresh.frame.pts
        assert back.frame.captured_ns > stale.frame.captured_ns


def test_a_reader_is_closed_while_its_camera_sends_nothing(network: Path) -> None:
    with MjpegCamera([jpeg(image) for image in gray_levels(5)]) as camera:
        stream = depthcast.open(camera.url, checkpoint=network, stale_after_s=5)
        frames = iter(stream)
        next(frames)
        camera.hung.set()
        stream.close()
        assert not [one for one in threading.enumerate() if one.name == "capture"]
        assert next((frame for frame in frames if not frame.stale), None) is None


def test_a_closed_reader_reads_no_further(tmp_path: Path, network: Path) -> None:
    """Its file is closed, and FFmpeg must not be asked for more of it."""
    clip = make_clip(tmp_path / "clip.mkv", frames=9)
    for source in (str(clip), f"file://{clip}?realtime=1", f"file://{clip}?loop=1", f"file://{clip}?loop=1&realtime=1"):
        stream = depthcast.open(source, checkpoint=network)
        frames = iter(stream)
        next(frames)
        stream.close()
        assert len(list(frames)) <= 1


def test_a_slow_source_is_no_pause(tmp_path: Path, network: Path) -> None:
    """At a frame in two seconds the second one is two seconds behind the first."""
    slow = make_clip(tmp_path / "slow.mkv", frames=4, rate=Fraction(1, 2))
    with depthcast.open(slow, checkpoint=network, scene_cut=False) as stream:
        assert [depth.reset for depth in stream] == [True, False, False, False]
    assert [depth.reset for depth in depthcast.estimate(slow, checkpoint=network, scene_cut=False)] == [
        True, False, False, False,
    ]  # fmt: skip


def test_a_file_at_its_own_pace_ends(tmp_path: Path, network: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=2)
    stream = depthcast.open(f"file://{clip}?realtime=1", checkpoint=network)
    assert len(list(stream)) >= 1
    stream.close()


def test_what_cannot_be_is_said_before_the_first_frame(tmp_path: Path, network: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=2)
    with pytest.raises(UnitError, match="no scale"):
        depthcast.open(clip, checkpoint=network, unit=Unit.METRE)
    with pytest.raises(CameraError):
        depthcast.open(clip, checkpoint=network, camera="fov=0")
    with pytest.raises(ValueError, match="near < far"):
        depthcast.open(clip, checkpoint=network, near_m=3, far_m=2)


def test_pictures_of_ones_own_loop_are_stepped(network: Path) -> None:
    with depthcast.DepthStream(checkpoint=network) as stream:
        assert stream.device_depth is None
        stream.reset()
        first, second = stream.step(IMAGE, time_s=5.0), stream.step(IMAGE, time_s=5.04)
        late = stream.step(IMAGE, time_s=9.0)
        other = stream.step(IMAGE[:32], time_s=9.04)
        back = stream.step(IMAGE, time_s=9.0)
    assert [one.reset for one in (first, second, late, other, back)] == [True, False, True, True, True]
    assert np.array_equal(first.depth, second.depth)
    assert other.depth.shape == (32, 64)
    times = [one.frame.pts for one in (first, second, late, other, back)]
    assert times == sorted(set(times))
    assert (first.frame.pts, first.frame.index, back.frame.index) == (5_000_000, 0, 4)


def test_ones_own_loop_may_be_slow(network: Path) -> None:
    """What is usual is not known before the second frame has come; after that, three times as much is a pause."""
    with depthcast.DepthStream(checkpoint=network) as stream:
        assert [stream.step(IMAGE, time_s=time_s).reset for time_s in (0, 2, 4, 6, 13)] == [
            True, False, False, False, True,
        ]  # fmt: skip
        stream.reset()
        again = [stream.step(IMAGE, time_s=time_s) for time_s in (0.0, 0.04, 3.0)]
    assert [one.reset for one in again] == [True, False, True]
    assert [one.frame.pts for one in again] == [0, 40_000, 3_000_000]


def test_the_order_of_channels_is_the_callers(network: Path) -> None:
    with depthcast.DepthStream(checkpoint=network) as stream:
        rgb = stream.step(IMAGE, time_s=0)
        bgr = stream.step(np.ascontiguousarray(IMAGE[..., ::-1]), order="bgr", time_s=0.1)
    assert np.allclose(rgb.depth, bgr.depth, atol=1e-5)


def test_arrays_are_used_where_they_lie() -> None:
    image = IMAGE.copy()
    for shared in (image, image[4:40], image[:, 3:20]):
        picture = _picture(shared, "rgb")
        shared[0, 0] = 7, 8, 9
        assert picture.to_ndarray()[0, 0].tolist() == [7, 8, 9]
        assert (picture.height, picture.width) == shared.shape[:2]
    for copied in (image[:, ::-1], image[::-1], image[:, ::2]):
        assert np.array_equal(_picture(copied, "rgb").to_ndarray(), copied)
    locked = image.copy()
    locked.flags.writeable = False
    assert np.array_equal(_picture(locked, "bgr").to_ndarray(), locked)


def test_tensors_of_other_libraries_are_pictures(network: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    with depthcast.DepthStream(checkpoint=network) as stream:
        ours, theirs = stream.step(IMAGE, time_s=0), stream.step(torch.from_numpy(IMAGE.copy()), time_s=0.1)
    assert np.array_equal(ours.depth, theirs.depth)


@pytest.mark.parametrize(
    "image", [IMAGE.astype(np.float32), IMAGE[..., 0], IMAGE[:0], np.zeros((4, 4, 4), np.uint8), "text"]
)
def test_other_arrays_are_refused(network: Path, image: object) -> None:
    with depthcast.DepthStream(checkpoint=network) as stream, pytest.raises(ValueError, match="uint8 \\[H, W, 3\\]"):
        stream.step(image)


def test_streams_share_a_network(network: Path) -> None:
    with depthcast.open_model(48, 64, checkpoint=network) as session:
        left, right = depthcast.DepthStream(session=session), depthcast.DepthStream(session=session, camera="fov=60")
        assert np.array_equal(left.step(IMAGE).depth, right.step(IMAGE).depth)
        left.close()
        assert right.step(IMAGE).intrinsics is not None
        # Another size is one that the shared network takes too.
        assert right.step(IMAGE[:24]).depth.shape == (24, 64)


def test_a_recording_is_read_back(tmp_path: Path, network: Path) -> None:
    from depthcast.cli import status_of

    clip = make_clip(tmp_path / "clip.mkv", frames=3)
    words = ["run", str(clip), "-o", str(tmp_path / "a.npz"), "--checkpoint", str(network)]
    assert status_of(words) == 0
    with np.load(tmp_path / "a.npz") as archive:
        maps = archive["depths"]
    got = list(depthcast.read(tmp_path / "a.npz"))
    assert np.array_equal(np.stack([one.depth for one in got]), maps)
    assert [float(one.time_s) for one in got] == [pytest.approx(index / 24, abs=1e-3) for index in range(3)]

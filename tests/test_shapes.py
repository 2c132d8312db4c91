"""The picture changes shape in mid-stream: the network's input is planned anew, outputs keep their own size."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import depthcast
from depthcast.board import Board
from depthcast.errors import ModelError
from depthcast.exports import Progress, Say
from depthcast.job import Job, Outcome, prepared
from depthcast.many import NamedJob, Streams
from depthcast.models import NANO, PACKAGED_NANO, find
from depthcast.networks import step_session
from depthcast.outputs import Look
from depthcast.plan import Engine, Mode, Wanted
from depthcast.sensing import Sensing
from depthcast.settings import Settings
from depthcast.shapes import KEPT, ShapedSessions, own_steps
from engines.errors import EngineError
from engines.onnx import OnnxSession
from engines.session import Session
from engines.spec import ModelSpec, sha256_of
from stream.camera import Camera, Intrinsics
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame
from stream.preprocess import network_size
from stream.refine import Refinement
from stream.shape import are_alike, fitted
from stream.sinks.gray16 import read_gray16
from stream.uris import parse_sink, parse_source
from tests.cameras import MjpegCamera, jpeg
from tests.fakes import FakeSession, clip, frame, spec, textured
from tests.tiny import SPEC, tiny_network
from tests.videos import write_video

LYING, STANDING = (48, 96), (96, 48)
COUNT = 4
SMALL = 64
"""Of the network's input: quick, and still as far from square as the pictures are."""
OPEN_SPEC = spec(size=None, multiple=14, input_size=28)


def images(size: tuple[int, int], seed: int = 0, count: int = COUNT) -> list[NDArray[np.uint8]]:
    return [textured(seed, *size) // np.uint8(2) + np.uint8(20 * index) for index in range(count)]


def part(path: Path, size: tuple[int, int], start: int = 0, seed: int = 0) -> Path:
    """A lossless transport stream whose frames are numbered from `start` on."""
    pts = range(start, start + COUNT)
    return write_video(path, images(size, seed), pts=pts, options={"qp": "0", "bf": "0"}, pixel_format="yuv444p")


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """Lying, standing, lying: three recordings, joined."""
    sizes = [LYING, STANDING, LYING]
    parts = [part(tmp_path / f"{n}.ts", size, n * COUNT, seed=n) for n, size in enumerate(sizes)]
    joined = tmp_path / "turned.ts"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    return joined


def run_job(source: Path, *outputs: Path, mode: Mode = Mode.STREAM, checkpoint: Path | None) -> Outcome:
    wanted = Wanted(find(NANO), mode, checkpoint=checkpoint, input_size=SMALL, threads=1)
    job = Job(parse_source(str(source)), tuple(parse_sink(str(path)) for path in outputs), wanted, Look())
    with prepared(job, Settings(source.parent), print) as ready:
        return ready.run()


@pytest.mark.parametrize(
    ("size", "meant", "shape", "wanted"),
    [
        ((720, 1280), (720, 1280), (360, 640), (720, 1280)),
        ((720, 1280), (720, 1280), (1280, 720), (720, 405)),
        ((720, 1280), (720, 1280), (480, 640), (720, 960)),
        ((720, 1280), (720, 1280), (817, 1920), (545, 1280)),
        # Pixels that are not square: 720x576 that is shown as 1024x576.
        ((576, 720), (576, 1024), (1024, 576), (576, 228)),
        ((2, 2), (2, 2), (1, 4000), (1, 2)),
    ],
)
def test_a_picture_keeps_its_shape_between_bars(
    size: tuple[int, int], meant: tuple[int, int], shape: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert fitted(size, meant, shape) == wanted


def test_rounding_is_no_other_shape() -> None:
    assert are_alike((480, 640), (360, 480))
    assert are_alike((1080, 1920), (270, 480))
    assert are_alike((213, 160), (640, 480))
    assert not are_alike((720, 1280), (480, 640))
    assert not are_alike((480, 640), (640, 480))


def test_the_estimator_goes_on_as_a_fresh_one_of_the_planned_size() -> None:
    def open_session(height: int, width: int) -> Session:
        return FakeSession(spec(size=network_size(OPEN_SPEC, height, width)))

    sessions = {size: open_session(*size) for size in (LYING, STANDING)}
    frames = [frame(image, n) for n, image in enumerate([*images(LYING), *images(STANDING, 1), *images(LYING, 2)])]
    with DepthEstimator(
        sessions[LYING], scene_cut=False, session_for=lambda height, width: sessions[height, width]
    ) as estimator:
        got = [estimator.step(one) for one in frames]
    assert [one.reset for one in got] == [n % COUNT == 0 for n in range(3 * COUNT)]
    for start, size in ((0, LYING), (COUNT, STANDING), (2 * COUNT, LYING)):
        with DepthEstimator(open_session(*size), scene_cut=False) as fresh:
            for n in range(start, start + COUNT):
                np.testing.assert_array_equal(got[n].depth, fresh.step(frames[n]).depth)


def test_another_size_of_the_same_shape_asks_for_no_network() -> None:
    asked: list[tuple[int, int]] = []
    session = FakeSession()

    def session_for(height: int, width: int) -> Session:
        asked.append((height, width))
        return session

    with DepthEstimator(session, session_for=session_for) as estimator:
        for size in ((480, 640), (360, 480), (213, 284), (480, 640)):
            assert estimator.step(frame(textured(0, *size))).depth.shape == size
    assert asked == [(480, 640)]


def test_the_memory_of_the_shape_before_is_given_back() -> None:
    sessions = {size: FakeSession() for size in (LYING, STANDING)}
    caches = []
    for session in sessions.values():
        session.new_cache = lambda batch=1, make=session.new_cache: caches.append(make(batch)) or caches[-1]  # type: ignore[method-assign, func-returns-value, misc]
    with DepthEstimator(sessions[LYING], session_for=lambda *size: sessions[size]) as estimator:
        for size in (LYING, STANDING, LYING):
            estimator.step(frame(textured(0, *size)))
            assert [cache.closed for cache in caches] == [True] * (len(caches) - 1) + [False]
    assert len(caches) == 3
    assert all(cache.closed for cache in caches)


class Lending:
    """Lends sessions of the size that would be planned; notes what is out, and what came back with which error."""

    def __init__(self, description: ModelSpec = OPEN_SPEC) -> None:
        self.out: list[tuple[int, int]] = []
        self.opened = 0
        self.errors: list[BaseException | None] = []
        self._spec = description

    @contextmanager
    def lent(self, _wanted: Wanted, size: tuple[int, int], _say: Say, _progress: Progress | None) -> Iterator[Session]:
        self.out.append(size)
        self.opened += 1
        try:
            yield FakeSession(replace(self._spec, height=size[0], width=size[1]))
            self.errors.append(None)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self.out.remove(size)


def test_a_bounded_number_of_networks_is_kept_and_the_last_one_is_not_opened_again(tmp_path: Path) -> None:
    lending = Lending()
    wanted = Wanted(find(NANO), checkpoint=tiny_network(tmp_path))
    with ShapedSessions(wanted, lending.lent, Settings(tmp_path), print) as sessions:
        first = sessions.session_for(*LYING)
        second = sessions.session_for(*STANDING)
        assert first is not second
        assert sessions.session_for(*LYING) is first
        assert sessions.session_for(*STANDING) is second
        assert lending.opened == 2
        sessions.session_for(64, 64)
        assert lending.out == [STANDING, (64, 64)]
        for width in range(64, 1024, 64):
            sessions.session_for(64, width)
            assert len(lending.out) <= KEPT
    assert lending.out == []
    sessions.close()


def test_networks_are_given_back_with_the_error_that_ended_the_stream(tmp_path: Path) -> None:
    lending, wanted = Lending(), Wanted(find(NANO), checkpoint=tiny_network(tmp_path))
    failure = EngineError("the engine is gone")
    sessions = ShapedSessions(wanted, lending.lent, Settings(tmp_path), print)
    sessions.session_for(*LYING)
    sessions.session_for(*STANDING)
    sessions.__exit__(EngineError, failure, None)
    assert lending.errors == [failure, failure]
    assert lending.out == []


def test_a_network_of_fixed_size_is_kept_and_that_is_said(tmp_path: Path) -> None:
    network = tiny_network(tmp_path)
    replace(SPEC, height=32, width=64, onnx_sha256=sha256_of(network)).save(network.with_suffix(".json"))
    said: list[str] = []
    wanted = Wanted(find(NANO), checkpoint=network)
    with ShapedSessions(wanted, own_steps(Settings(tmp_path)), Settings(tmp_path), said.append) as sessions:
        first = sessions.session_for(*LYING)
        assert sessions.notes == []
        assert sessions.session_for(*STANDING) is first
        assert sessions.session_for(*LYING) is first
        assert sessions.session_for(*STANDING) is first
    note = "pictures of 96x48 are stretched to the network's 32x64: its input size is fixed"
    assert sessions.notes == [note]
    assert said[1:] == [note]


def test_what_cannot_be_had_in_mid_stream_does_not_end_it(tmp_path: Path) -> None:
    lending, wanted = Lending(), Wanted(find(NANO), checkpoint=tiny_network(tmp_path))

    def lend(
        wanted: Wanted, size: tuple[int, int], say: Say, progress: Progress | None
    ) -> AbstractContextManager[Session]:
        if size == STANDING:
            raise ModelError("there is none")
        return lending.lent(wanted, size, say, progress)

    with ShapedSessions(wanted, lend, Settings(tmp_path), print) as sessions:
        with pytest.raises(ModelError):
            sessions.session_for(*STANDING)
        first = sessions.session_for(*LYING)
        assert sessions.session_for(*STANDING) is first
        assert sessions.notes == ["pictures of 96x48 are stretched to the network's 32x96: there is none"]
        # So long that no network takes it.
        assert sessions.session_for(1, 100_000) is not None


def test_a_live_stream_does_not_wait_for_an_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = tmp_path / "own.pth"
    checkpoint.write_bytes(b"weights")
    monkeypatch.setattr("depthcast.plan.steps_to_readiness", lambda *_: [])
    wanted, lending = Wanted(find("VDA-Small"), engine=Engine.ONNX, checkpoint=checkpoint), Lending()
    for waits, opened in ((True, 2), (False, 1)):
        lending.opened = 0
        with ShapedSessions(wanted, lending.lent, Settings(tmp_path), print, waits=waits) as sessions:
            first = sessions.session_for(*LYING)
            assert (sessions.session_for(*STANDING) is first) is not waits
        assert lending.opened == opened
    (note,) = sessions.notes
    assert "a live stream does not wait for one: run `depthcast export VDA-Small --size 924x462` beforehand" in note


def alone(path: Path, size: tuple[int, int], seed: int, mode: str) -> list[NDArray[np.float32]]:
    """What a recording of this part alone gives."""
    estimated = depthcast.estimate(part(path, size, seed=seed), mode=mode, input_size=SMALL, threads=1)  # type: ignore[arg-type]
    return [one.depth for one in estimated]


@pytest.mark.parametrize("mode", ["stream", "offline"])
def test_each_stretch_of_a_joined_file_is_as_if_it_were_alone(turned: Path, tmp_path: Path, mode: str) -> None:
    """With the network that ships; a squeezed one gives other numbers by far."""
    got = list(depthcast.estimate(turned, mode=mode, input_size=SMALL, threads=1))  # type: ignore[arg-type]
    wanted = [
        map_
        for seed, size in enumerate((LYING, STANDING, LYING))
        for map_ in alone(tmp_path / "alone.ts", size, seed, mode)
    ]
    assert [one.reset for one in got] == [n % COUNT == 0 for n in range(3 * COUNT)]
    assert [one.depth.shape for one in got] == [LYING] * COUNT + [STANDING] * COUNT + [LYING] * COUNT
    for one, map_ in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one.depth, map_, rtol=1e-5)


def test_open_and_the_camera_loop_follow_as_well(turned: Path) -> None:
    wanted = [one.depth for one in depthcast.estimate(turned, input_size=SMALL, threads=1)]
    with depthcast.open(str(turned), input_size=SMALL, threads=1) as reader:
        for one, map_ in zip(reader, wanted, strict=True):
            np.testing.assert_array_equal(one.depth, map_)
    with av.open(str(turned)) as container, depthcast.DepthStream(input_size=SMALL, threads=1) as stream:
        for n, (picture, map_) in enumerate(zip(container.decode(video=0), wanted, strict=True)):
            rgb = next(iter([picture])).to_ndarray(format="rgb24").astype(np.uint8)
            depth = stream.step(rgb, time_s=n / 30)
            assert depth.depth.shape == map_.shape
            assert depth.reset is (n % COUNT == 0)


def test_a_live_camera_that_is_turned_keeps_its_stream(tmp_path: Path) -> None:
    lying, standing = ([jpeg(image) for image in images(size)] for size in (LYING, STANDING))
    seen: dict[tuple[int, ...], DepthFrame] = {}
    with MjpegCamera(lying) as camera, depthcast.open(camera.url, checkpoint=tiny_network(tmp_path)) as reader:
        for depth in reader:
            if depth.stale:
                continue
            seen.setdefault(depth.depth.shape, depth)
            if len(seen) == 1:
                camera.pictures[:] = standing
            if len(seen) == 2:
                break
    assert list(seen) == [LYING, STANDING]
    assert seen[STANDING].reset
    with DepthEstimator(OnnxSession(tiny_network(tmp_path), network_size(SPEC, *STANDING))) as fresh:
        wanted = fresh.step(seen[STANDING].frame).depth
    np.testing.assert_allclose(seen[STANDING].depth, wanted, atol=1e-5)


def test_files_keep_their_size_and_show_a_turned_picture_between_bars(turned: Path, tmp_path: Path) -> None:
    mp4, npz, mkv = (tmp_path / f"depth.{suffix}" for suffix in ("mp4", "npz", "mkv"))
    outcome = run_job(turned, mp4, npz, mkv, checkpoint=tiny_network(tmp_path))
    assert not any("stretched" in note for note in outcome.notes)
    maps = np.load(npz)["depths"]
    assert maps.shape == (3 * COUNT, *LYING)
    standing = maps[COUNT : 2 * COUNT]
    assert np.isnan(standing[:, :, :36]).all()
    assert np.isnan(standing[:, :, 60:]).all()
    assert np.isfinite(standing[:, :, 36:60]).all()
    assert np.isfinite(maps[:COUNT]).all()
    assert np.isfinite(maps[2 * COUNT :]).all()
    codes = np.stack(list(read_gray16(mkv)))
    assert not codes[COUNT : 2 * COUNT][np.isnan(standing)].any()
    assert codes[COUNT : 2 * COUNT][np.isfinite(standing)].any()
    with av.open(str(mp4)) as container:
        shown = [picture.to_ndarray(format="gray") for picture in container.decode(video=0)]
    assert [picture.shape for picture in shown] == [LYING] * (3 * COUNT)
    for picture in shown[COUNT : 2 * COUNT]:
        assert picture[:, :32].max() <= 20
        assert picture[:, 64:].max() <= 20
        assert picture[:, 40:56].max() > 100


def test_streams_that_share_networks_each_have_that_of_their_shape(turned: Path, tmp_path: Path) -> None:
    network = tiny_network(tmp_path)
    sizes: list[tuple[int, int]] = []
    closed: list[tuple[int, int]] = []

    def open_session(
        wanted: Wanted, size: tuple[int, int], settings: Settings, say: Say, progress: Progress | None
    ) -> Session:
        session = step_session(wanted, size, settings, say, progress)
        close = session.close
        sizes.append(session.spec.size)
        session.close = lambda: (closed.append(session.spec.size), close())[1]  # type: ignore[method-assign, func-returns-value]
        return session

    wanted = Wanted(find(NANO), checkpoint=network, input_size=SMALL, threads=1)
    outputs = [tmp_path / f"{name}.npz" for name in "ab"]
    jobs = [
        NamedJob(path.stem, Job(parse_source(str(turned)), (parse_sink(str(path)),), wanted, Look()))
        for path in outputs
    ]
    ended = Streams(jobs, Settings(tmp_path), print, Board(), None, open_session).run(threading.Event())
    assert [one.error for one in ended] == ["", ""]
    alone = tmp_path / "alone.npz"
    run_job(turned, alone, checkpoint=network)
    for path in outputs:
        np.testing.assert_array_equal(np.load(path)["depths"], np.load(alone)["depths"])
    assert set(sizes) == {(32, 96), (96, 32)}
    assert sorted(closed) == sorted(sizes)


def test_a_job_that_looks_ahead_writes_every_frame(turned: Path, tmp_path: Path) -> None:
    npz = tmp_path / "depth.npz"
    outcome = run_job(turned, npz, mode=Mode.OFFLINE, checkpoint=None)
    assert outcome.stats.frames_out == 3 * COUNT
    assert outcome.stats.resets == 3
    assert np.load(npz)["depths"].shape == (3 * COUNT, *LYING)


CALIBRATED = Camera(Intrinsics(480, 640, 500, 500, 319.5, 239.5))
SEEN = Camera(fov_degrees=60)


@pytest.mark.parametrize(
    ("camera", "size", "wanted"),
    [
        (CALIBRATED, (480, 640), (500, 319.5)),
        (CALIBRATED, (240, 320), (250, 159.5)),
        (CALIBRATED, (640, 480), None),
        (CALIBRATED, (360, 640), None),
        (SEEN, (480, 640), (554.256, 319.5)),
        (SEEN, (240, 320), (277.128, 159.5)),
        # Turned on its side: the same lens, so the same focal length; the longer side is the one that sees 60 degrees.
        (SEEN, (640, 480), (554.256, 239.5)),
        (SEEN, (360, 640), None),
    ],
)
def test_intrinsics_follow_or_are_dropped(
    camera: Camera, size: tuple[int, int], wanted: tuple[float, float] | None
) -> None:
    refinement = Refinement(camera=camera, meant=(480, 640))
    depth_frame = DepthEstimator(FakeSession()).step(frame(textured(0, *size)))
    got = refinement.apply(depth_frame).intrinsics
    if wanted is None:
        assert got is None
    else:
        assert got is not None
        assert (got.height, got.width) == size
        assert (got.fx, got.cx) == pytest.approx(wanted, abs=1e-3)


def test_clouds_of_pictures_whose_camera_is_not_known_are_left_out_and_counted(turned: Path, tmp_path: Path) -> None:
    lines = "\n".join(["x,y,metres", "5,5,2.0", "40,30,1.0"])
    (tmp_path / "points.csv").write_text(lines)
    wanted = Wanted(find(NANO), checkpoint=PACKAGED_NANO, threads=1)
    camera = Camera(Intrinsics(48, 96, 80, 80, 47.5, 23.5))
    job = Job(
        parse_source(str(turned)),
        (parse_sink(str(tmp_path / "c%03d.pcd")),),
        wanted,
        Look(),
        sensing=Sensing(camera=camera, scale_to=tmp_path / "points.csv"),
    )
    with prepared(job, Settings(tmp_path), print) as ready:
        outcome = ready.run()
    assert outcome.stats.frames_out == 3 * COUNT
    assert len(list(tmp_path.glob("c*.pcd"))) == 2 * COUNT
    assert outcome.notes == (
        f"{COUNT} frames have no point cloud: the camera is not known for pictures of their shape",
    )


@pytest.mark.parametrize("name", ["a.npz", "a.mkv", "%03d.png", "%03d.exr"])
def test_a_recording_gives_no_frame_the_camera_of_another_shape(turned: Path, tmp_path: Path, name: str) -> None:
    wanted = Wanted(find(NANO), checkpoint=tiny_network(tmp_path), input_size=SMALL, threads=1)
    camera = Camera(Intrinsics(48, 96, 80, 80, 47.5, 23.5))
    job = Job(parse_source(str(turned)), (parse_sink(str(tmp_path / name)),), wanted, Look(), sensing=Sensing(camera))
    with prepared(job, Settings(tmp_path), print) as ready:
        notes = ready.run().notes
    known = [one.intrinsics is not None for one in depthcast.read(tmp_path / name)]
    if name.startswith("%"):
        assert known == [True] * COUNT + [False] * COUNT + [True] * COUNT
    else:
        # One camera for all: those that it is not for are told.
        assert f"{COUNT} frames of another shape stand between bars: the recording's camera is not theirs" in notes


def test_an_estimator_of_one_session_says_that_it_stretches(caplog: pytest.LogCaptureFixture) -> None:
    with DepthEstimator(FakeSession()) as estimator:
        estimator.step(clip(1)[0])
        estimator.step(frame(textured(0, 64, 36), 1))
        assert caplog.messages == ["pictures of 64x36 are stretched to the network's 28x42"]
        estimator.step(frame(textured(0, 48, 64), 2))
    assert len(caplog.messages) == 1

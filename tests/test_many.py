"""Many streams in one process: shared networks, a failure that stays with its stream, and the end of them all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from depthcast.board import Board, State
from depthcast.cli import status_of
from depthcast.errors import ModelError
from depthcast.exports import Progress, Say
from depthcast.job import Job
from depthcast.many import Ended, NamedJob, Streams, announced
from depthcast.models import NANO, find
from depthcast.networks import step_session
from depthcast.outputs import Look
from depthcast.plan import Wanted
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from depthcast.sharing import Open, SharedSessions
from engines.errors import EngineError, StepError
from engines.session import Cache, Session, StepPlan
from stream.batching import BatchedSession
from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.sinks import NullSink
from stream.turns import TurnSession
from stream.uris import parse_sink, parse_source
from stream.webrtc.watch import watch
from tests.cameras import MjpegCamera, jpeg
from tests.conditions import until
from tests.fakes import FakeCache, FakeSession, spec
from tests.tiny import tiny_network
from tests.videos import gray_levels

pytestmark = pytest.mark.usefixtures("no_thread_stays")


def frames_in(path: Path) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def job(network: Path, source: str, *outputs: str) -> Job:
    wanted = Wanted(find(NANO), checkpoint=network, threads=1)
    return Job(parse_source(source), tuple(map(parse_sink, outputs)), wanted, Look())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Opened:
    """Fake networks instead of real ones; counts them."""

    def __init__(self, session: type[FakeSession] = FakeSession, batch: int | None = 1) -> None:
        self.sessions: list[FakeSession] = []
        self.closed = 0
        self._type = session
        self._batch = batch

    def __call__(
        self, _wanted: Wanted, _frame: tuple[int, int], _settings: Settings, _say: Say, _progress: Progress | None
    ) -> Session:
        opened = self

        class Counted(self._type):  # type: ignore[name-defined, misc]
            def close(self) -> None:
                opened.closed += 1

        self.sessions.append(Counted(replace(spec(size=(32, 64), multiple=32), batch=self._batch)))
        return self.sessions[-1]


def run(
    jobs: Sequence[NamedJob], home: Path, opened: Open, stop: threading.Event | None = None
) -> tuple[tuple[Ended, ...], Board, list[str]]:
    board, said = Board(), list[str]()
    ended = Streams(jobs, Settings(home), said.append, board, None, opened, wait=lambda event, _: event.wait(0.01)).run(
        stop or threading.Event()
    )
    return ended, board, said


def test_streams_of_one_shape_share_a_network(tmp_path: Path) -> None:
    network, opened = tiny_network(tmp_path), Opened()
    outputs = [tmp_path / f"{name}.mkv" for name in "abc"]
    jobs = [NamedJob(path.stem, job(network, "test:?size=128x64&frames=20&realtime=0", str(path))) for path in outputs]
    ended, board, _ = run(jobs, tmp_path, opened)
    assert [one.error for one in ended] == ["", "", ""]
    assert [frames_in(path) for path in outputs] == [20, 20, 20]
    assert {status.state for status in board.statuses} == {State.ENDED}
    # A stream may be done before the next one begins.
    assert sum(session.steps for session in opened.sessions) == 60
    assert opened.closed == len(opened.sessions)


@pytest.mark.parametrize("opened", [Opened(), Opened(batch=None), step_session], ids=["turns", "together", "real"])
def test_maps_are_those_of_a_stream_alone(tmp_path: Path, opened: Open) -> None:
    network = tiny_network(tmp_path)
    source = "test:?size=128x64&frames=8&realtime=0"
    assert run([NamedJob("alone", job(network, source, str(tmp_path / "alone.npz")))], tmp_path, opened)[0][0].outcome
    together = [NamedJob(name, job(network, source, str(tmp_path / f"{name}.npz"))) for name in "ab"]
    run(together, tmp_path, opened)
    alone, *others = (np.load(tmp_path / f"{name}.npz")["depths"] for name in ("alone", "a", "b"))
    assert all(np.array_equal(alone, other) for other in others)


def test_a_missing_file_fails_alone(tmp_path: Path) -> None:
    network, output = tiny_network(tmp_path), tmp_path / "good.mkv"
    ended, board, said = run(
        [
            NamedJob("bad", job(network, str(tmp_path / "none.mp4"), "null:")),
            NamedJob("good", job(network, "test:?size=128x64&frames=5&realtime=0", str(output))),
        ],
        tmp_path,
        Opened(),
    )
    assert [bool(one.error) for one in ended] == [True, False]
    assert frames_in(output) == 5
    assert [status.state for status in sorted(board.statuses, key=lambda one: one.name)] == [State.FAILED, State.ENDED]
    assert [line for line in said if line.startswith("bad: ") and "none.mp4" in line]


class StumblesOnWhite(FakeSession):
    """Fails on bright pictures, seven times."""

    stumbles = 0

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        assert isinstance(cache, FakeCache)
        if cache.image.mean() > 2 and StumblesOnWhite.stumbles < 7:
            StumblesOnWhite.stumbles += 1
            raise StepError("the engine stumbled")
        return super().step(cache, plans)


def test_a_stream_whose_engine_fails_begins_again_and_the_others_do_not_notice(tmp_path: Path) -> None:
    network, output, stop = tiny_network(tmp_path), tmp_path / "good.mkv", threading.Event()
    white = [jpeg(np.full((48, 64, 3), 255, np.uint8))]
    opened = Opened(StumblesOnWhite)
    StumblesOnWhite.stumbles = 0
    with MjpegCamera(white) as camera:
        bad = replace(job(network, camera.url, "null:"), max_frames=20)
        good = job(network, "test:?size=128x96&frames=40&realtime=0", str(output))
        ended, board, said = run([NamedJob("bad", bad), NamedJob("good", good)], tmp_path, opened, stop)
    assert [one.error for one in ended] == ["", ""]
    assert board.status("bad").restarts == 1
    assert [line for line in said if line == "bad: the engine stumbled; again in 0.25 s"]
    stats = ended[1].outcome.stats if ended[1].outcome else None
    assert stats is not None
    assert (stats.frames_out, stats.resets, stats.failures) == (40, 1, 0)
    assert frames_in(output) == 40
    assert len(opened.sessions) == opened.closed


def test_an_absent_camera_is_asked_again_until_stopped_and_its_return_is_used(tmp_path: Path) -> None:
    network, stop = tiny_network(tmp_path), threading.Event()
    pictures = [jpeg(image) for image in gray_levels(8)]
    camera = MjpegCamera(pictures)
    camera.close()
    board, tries, cameras = Board(), list[float](), list[MjpegCamera]()

    def wait(_event: threading.Event, seconds: float) -> None:
        tries.append(seconds)
        if len(tries) == 3:
            cameras.append(MjpegCamera(pictures, camera.port))

    one = NamedJob("camera", replace(job(network, camera.url, "null:"), max_frames=4))
    try:
        ended = Streams([one], Settings(tmp_path), lambda _: None, board, None, Opened(), wait).run(stop)
    finally:
        for one_camera in cameras:
            one_camera.close()
    assert tries == [0.25, 0.5, 1.0]
    assert ended[0].outcome is not None
    assert ended[0].outcome.stats.frames_out == 4
    assert board.status("camera").restarts == 3


def test_a_stream_whose_output_fails_while_its_camera_is_away_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, stop, failures = tiny_network(tmp_path), threading.Event(), list[int]()

    def write(_sink: NullSink, depth_frame: DepthFrame) -> None:
        camera.hung.set()
        if depth_frame.stale:
            failures.append(1)
            raise SinkError("the disk is full")

    def wait(_event: threading.Event, _seconds: float) -> None:
        camera.hung.clear()
        if len(failures) == 2:
            stop.set()

    monkeypatch.setattr(NullSink, "write", write)
    board, said = Board(), list[str]()
    with MjpegCamera([jpeg(image) for image in gray_levels(8)]) as camera:
        one = NamedJob("camera", job(network, camera.url, "null:"))
        (ended,) = Streams([one], Settings(tmp_path), said.append, board, None, Opened(), wait).run(stop)
    assert said[:2] == [f"camera: the disk is full; again in {pause} s" for pause in (0.25, 0.25)]
    assert (ended.error, board.status("camera").state) == ("the disk is full", State.FAILED)


def test_stop_ends_all_streams_and_their_files_can_be_played(tmp_path: Path) -> None:
    network, stop = tiny_network(tmp_path), threading.Event()
    outputs = [tmp_path / f"{name}.mkv" for name in "ab"]
    jobs = [NamedJob(path.stem, job(network, "test:?size=128x64&rate=100", str(path))) for path in outputs]

    def told(_status: object) -> None:
        if all((stats := board.status(one.name).stats) and stats.frames_out > 3 for one in jobs):
            stop.set()

    board = Board(told)
    ended = Streams(jobs, Settings(tmp_path), lambda _: None, board, None, Opened()).run(stop)
    assert [one.error for one in ended] == ["", ""]
    assert all(frames_in(path) > 3 for path in outputs)


def test_a_fault_of_ours_ends_its_stream_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    network, output = tiny_network(tmp_path), tmp_path / "good.mkv"

    class Broken(FakeSession):
        def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
            if threading.current_thread().name == "bad":
                raise ZeroDivisionError("divided by nothing")
            return super().step(cache, plans)

    jobs = [
        NamedJob("bad", job(network, "test:?size=128x64&frames=5", "null:")),
        NamedJob("good", job(network, "test:?size=128x64&frames=5&realtime=0", str(output))),
    ]
    ended, _, _ = run(jobs, tmp_path, Opened(Broken))
    assert ended[0].error == "an error that was not expected: divided by nothing"
    assert not ended[1].error
    assert frames_in(output) == 5
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("batch", "streams", "kind"), [(None, 3, BatchedSession), (1, 3, TurnSession), (None, 1, TurnSession)]
)
def test_networks_that_take_several_streams_a_call_run_them_together(
    tmp_path: Path, batch: int | None, streams: int, kind: type[Session]
) -> None:
    wanted = Wanted(find(NANO), checkpoint=tiny_network(tmp_path))
    opened = Opened(batch=batch)
    shared = SharedSessions(streams, Settings(tmp_path), opened)
    with (
        shared.lent(wanted, (48, 64), print, None) as first,
        shared.lent(wanted, (48, 64), print, None) as second,
        shared.lent(wanted, (480, 64), print, None) as other,
    ):
        assert first is second is not other
        assert isinstance(first, kind)
        assert shared.open == 2
    assert (shared.open, opened.closed) == (0, 2)


def test_a_network_that_failed_is_opened_anew(tmp_path: Path) -> None:
    wanted = Wanted(find(NANO), checkpoint=tiny_network(tmp_path))
    opened = Opened()
    shared = SharedSessions(2, Settings(tmp_path), opened)
    with shared.lent(wanted, (48, 64), print, None) as first:
        with pytest.raises(EngineError), shared.lent(wanted, (48, 64), print, None):
            raise EngineError("the device is lost")
        assert opened.closed == 0
        with shared.lent(wanted, (48, 64), print, None) as second:
            assert second is not first
    assert opened.closed == len(opened.sessions) == 2


def test_a_network_that_cannot_be_had_is_final(tmp_path: Path) -> None:
    def refuse(*_: object) -> Session:
        raise ModelError("no weights: pull them")

    one = NamedJob("a", job(tiny_network(tmp_path), "test:", "null:"))
    board = Board()
    ended = Streams([one], Settings(tmp_path), lambda _: None, board, None, refuse).run(threading.Event())
    assert ended[0].error == "no weights: pull them"
    assert board.status("a").restarts == 0


def test_the_command_runs_a_file_of_streams_and_its_status_tells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    config = tmp_path / "streams.toml"
    config.write_text(
        f'checkpoint = "{tiny_network(tmp_path)}"\nthreads = 1\n'
        f'[stream.a]\nsource = "test:?size=128x64&frames=4&realtime=0"\noutput = "{tmp_path}/a.mkv"\n'
        f'[stream.b]\nsource = "test:?size=96x96&frames=5&realtime=0"\noutput = "{tmp_path}/b.mp4"\n'
    )
    assert status_of(["run", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert "a: " in said
    assert "4 frames in" in said
    assert "5 frames in" in said
    assert frames_in(tmp_path / "b.mp4") == 5
    with config.open("a") as file:
        file.write(f'[stream.c]\nsource = "{tmp_path}/none.mp4"\noutput = "null:"\n')
    assert status_of(["run", "--config", str(config)]) == 1
    assert "1 of 3 streams failed: c" in capsys.readouterr().err
    assert status_of(["run", "test:", "--config", str(config), "-o", "null:"]) == 2
    assert "write SOURCE, --output there" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_leaves_every_file_playable(tmp_path: Path, number: signal.Signals) -> None:
    config, folder = tmp_path / "streams.toml", tmp_path / "out"
    folder.mkdir()
    outputs = [folder / "a.mp4", folder / "b.mkv"]
    tables = [f'[stream.{path.stem}]\nsource = "test:?size=160x120"\noutput = "{path}"\n' for path in outputs]
    config.write_text(f'checkpoint = "{tiny_network(tmp_path)}"\nthreads = 1\n' + "".join(tables))
    process = subprocess.Popen(
        [sys.executable, "-m", "depthcast", "run", "--config", str(config)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "DEPTHCAST_HOME": str(tmp_path)},
    )
    assert process.stderr is not None
    until(lambda: sum(path.stat().st_size > 0 for path in folder.iterdir()) == 2, 60)
    process.send_signal(number)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 128 + number, rest
    assert "Traceback" not in rest
    assert all(frames_in(path) for path in outputs)


def test_streams_are_watched_at_one_address_and_one_that_began_again_is_there_too(tmp_path: Path) -> None:
    """The second one's engine fails until the stream has begun anew."""
    port, stop, board = free_port(), threading.Event(), Board()
    network, opened, seen = tiny_network(tmp_path), Opened(StumblesOnWhite), dict[str, list[tuple[int, int]]]()
    StumblesOnWhite.stumbles = 0
    url = f"http://127.0.0.1:{port}/whep"

    def watched() -> None:
        try:
            until(lambda: all(status.stats for status in board.statuses) and len(board.statuses) == 2)
            for name in "ab":
                with closing(watch(f"{url}/{name}")) as pictures:
                    seen[name] = [(picture.height, picture.width) for picture, _ in islice(pictures, 3)]
        finally:
            stop.set()

    with MjpegCamera([jpeg(np.full((96, 128, 3), 255, np.uint8))]) as camera:
        jobs = [
            NamedJob("a", job(network, "test:?size=256x192", f"webrtc://@127.0.0.1:{port}/a")),
            NamedJob("b", job(network, camera.url, f"webrtc://@127.0.0.1:{port}/b")),
        ]
        watching = threading.Thread(target=watched)
        watching.start()
        ports = announced(jobs, HttpPorts())
        with ports.serving():
            ended = Streams(
                jobs, Settings(tmp_path), lambda _: None, board, ports, opened, lambda event, _: event.wait(0.01)
            ).run(stop)
        watching.join()
    assert [one.error for one in ended] == ["", ""]
    assert board.status("b").restarts == 1
    assert seen == {"a": [(192, 256)] * 3, "b": [(96, 128)] * 3}


def test_what_still_waits_for_a_publisher_does_not_keep_the_process(tmp_path: Path) -> None:
    config, output, port = tmp_path / "streams.toml", tmp_path / "a.mkv", free_port()
    config.write_text(
        f'checkpoint = "{tiny_network(tmp_path)}"\nthreads = 1\n'
        f'[stream.brought]\nsource = "whip://@127.0.0.1:{port}/cam"\noutput = "null:"\n'
        f'[stream.scene]\nsource = "test:?size=128x64&frames=4&realtime=0"\noutput = "{output}"\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "depthcast", "run", "--config", str(config)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEPTHCAST_HOME": str(tmp_path)},
    )
    until(output.exists, 60)
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "brought: stopped before it began" in said
    assert "scene: " in said
    assert f"brought: waiting for a publisher at http://127.0.0.1:{port}/whip/cam" in complained
    assert "Traceback" not in complained
    assert frames_in(output) == 4

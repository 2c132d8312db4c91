"""Figures for Prometheus, read back with its own parser."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import closing
from itertools import islice
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from depthcast.board import Board, State, Status
from depthcast.cli import status_of
from depthcast.commands.metrics import parse_address
from depthcast.errors import UsageError
from depthcast.service.app import create_app
from depthcast.service.metrics import metrics_router
from depthcast.service.server import serving
from stream.estimator import DepthEstimator
from stream.pipeline import run
from stream.sinks import NullSink
from stream.stats import EDGES_MS, SinkStats, StageTimes, Stats
from stream.webrtc.watch import watch
from tests.conditions import until
from tests.fakes import FakeSession, ListSource, clip
from tests.tiny import tiny_network

Figures = dict[tuple[str, tuple[str, ...]], float]


def figures_of(text: str) -> Figures:
    """Value by name and label values, in order of the labels' names."""
    families: list[Metric] = list(text_string_to_metric_families(text))
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def asked(board: Board) -> Figures:
    with serving(create_app(metrics_router(board)), "127.0.0.1", 0) as url:
        answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return figures_of(answer.text)


def test_a_run_is_told_in_full() -> None:
    board, times = Board(), StageTimes()
    for ms in (0.5, 3, 20, 20.5, 70_000):
        times.add("infer", ms)
    sinks = SinkStats("null", 1, 2), SinkStats("rtsp", 0, 3, viewers=4, sent_bytes=1000)
    stats = Stats(40, 30, 9, 5, 2, 1, 3, 6, 7, 10.0, times.summary(), times.summary(), 1, sinks, 0.004)
    board.put(Status("door", State.WAITING, stats, restarts=8, error="gone"))
    board.put(Status("yard"))
    figures = asked(board)
    assert figures["depthcast_flicker_ratio", ("door",)] == 0.004
    assert {name: figures[f"depthcast_{name}_total", ("door",)] for name in COUNTS} == COUNTS
    assert figures["depthcast_frames_dropped_total", ("", "network busy", "door")] == 9
    assert figures["depthcast_frames_dropped_total", ("rtsp", "output busy", "door")] == 3
    assert figures["depthcast_queue_frames", ("network", "door")] == 1
    assert figures["depthcast_queue_frames", ("null", "door")] == 1
    assert figures["depthcast_viewers", ("rtsp", "door")] == 4
    assert figures["depthcast_sent_bytes_total", ("rtsp", "door")] == 1000
    assert ("depthcast_viewers", ("null", "door")) not in figures
    assert figures["depthcast_stream_state", ("waiting", "door")] == 1
    assert figures["depthcast_stream_state", ("running", "door")] == 0
    assert figures["depthcast_stream_state", ("opening", "yard")] == 1
    within = {edge: figures["depthcast_stage_seconds_bucket", (edge, "infer", "door")] for edge in ("0.001", "0.02")}
    assert within == {"0.001": 1, "0.02": 3}
    assert figures["depthcast_stage_seconds_bucket", ("+Inf", "infer", "door")] == 5
    assert figures["depthcast_age_seconds_sum", ("infer", "door")] == pytest.approx(70.044)


COUNTS = {
    "frames_in": 40, "frames_out": 30, "window_resets": 2, "frames_held": 1, "step_failures": 3, "source_damaged": 6,
    "source_reconnects": 7, "stream_restarts": 8,
}  # fmt: skip


def test_boards_of_one_process_are_apart() -> None:
    one, other = Board(), Board()
    one.put(Status("door"))
    assert ("depthcast_stream_state", ("opening", "door")) in asked(one)
    assert ("depthcast_stream_state", ("opening", "door")) not in asked(other)
    assert ("process_resident_memory_bytes", ()) in asked(other)


def test_a_stream_that_is_taken_down_is_told_no_more() -> None:
    board = Board()
    board.tell("door", run(ListSource(clip(3)), DepthEstimator(FakeSession()).step, [NullSink()]))
    assert board.statuses[0].state is State.RUNNING
    board.take_down("door")
    board.take_down("door")
    assert board.statuses == ()


def test_stats_of_a_run_count_every_duration() -> None:
    stats = run(ListSource(clip(7)), DepthEstimator(FakeSession()).step, [NullSink(), NullSink()])
    assert [sink.name for sink in stats.sinks] == ["null", "null 2"]
    assert {age.name for age in stats.ages} == {"null", "null 2"}
    capture = next(stage for stage in stats.stages if stage.name == "capture")
    assert len(capture.within) == len(EDGES_MS)
    assert list(capture.within) == sorted(capture.within)
    assert capture.within[-1] == capture.count
    assert capture.sum_ms > 0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize("with_config", [False, True])
def test_the_command_serves_its_figures_while_it_runs(
    tmp_path: Path, with_config: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    port, seen = free_port(), dict[tuple[str, tuple[str, ...]], float]()
    network = tiny_network(tmp_path)
    words = ["test:?size=96x64&rate=30", "-o", "null:", "--checkpoint", str(network)]
    name = "synthetic"
    if with_config:
        config, name = tmp_path / "s.toml", "scene"
        config.write_text(f'[stream.scene]\nsource = "{words[0]}"\noutput = "null:"\ncheckpoint = "{network}"\n')
        words = ["--config", str(config)]

    def ask() -> bool:
        try:
            seen.update(figures_of(httpx.get(f"http://127.0.0.1:{port}/metrics").text))
        except httpx.TransportError:
            return False
        return seen.get(("depthcast_age_seconds_count", ("null", name)), 0) >= 3

    def ask_and_stop() -> None:
        try:
            until(ask)
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask_and_stop)
    asking.start()
    assert status_of(["run", *words, "--metrics", str(port)]) == 130
    asking.join()
    assert seen["depthcast_frames_in_total", (name,)] >= 3
    assert seen["depthcast_stream_state", ("running", name)] == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9090", ("127.0.0.1", 9090)),
        (":9090", ("", 9090)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("host:80", ("host", 80)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "65536", "a:b:1", "1.2.3.4", "1.2.3.4:"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--metrics takes a port or ADDRESS:PORT"):
        parse_address(text)


def test_viewers_over_webrtc_are_counted_at_the_address_they_come_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures and viewers share a port."""
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    port, seen = free_port(), Figures()
    base = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        try:
            return httpx.get(f"{base}/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def view() -> None:
        until(is_up)
        with closing(watch(f"{base}/whep/depth")) as pictures:
            for _ in islice(pictures, 20):
                pass
            seen.update(figures_of(httpx.get(f"{base}/metrics").text))

    viewing = threading.Thread(target=view)
    viewing.start()
    words = ["test:?size=160x120&rate=30&frames=150", "-o", f"webrtc://@127.0.0.1:{port}/depth"]
    network = tiny_network(tmp_path)
    assert status_of(["run", *words, "--checkpoint", str(network), "--metrics", str(port)]) == 0
    viewing.join()
    assert seen["depthcast_viewers", ("webrtc", "synthetic")] == 1
    assert seen["depthcast_sent_bytes_total", ("webrtc", "synthetic")] > 1000


def test_streams_without_a_name_are_numbered_and_told_only_while_they_last() -> None:
    board = Board()
    stats = run(ListSource(clip(2)), DepthEstimator(FakeSession()).step, [NullSink()])
    with board.place("browser") as first:
        with board.place("browser"):
            first(stats)
            assert [(one.name, one.state) for one in board.statuses] == [
                ("browser 1", State.RUNNING), ("browser 2", State.OPENING),
            ]  # fmt: skip
        with board.place("browser"), board.place("other"):
            assert [one.name for one in board.statuses] == ["browser 1", "browser 2", "other 1"]
    assert board.statuses == ()

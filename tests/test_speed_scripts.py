"""The scripts that measure speed, on networks and rounds so small that only the form of what they write counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import latency, roofline, scaling, throughput
from export.config import CONFIGS
from tests.standin import TINY
from tests.tiny import tiny_network


def run(command: Any, results: Path, *words: str) -> dict[str, Any]:
    app = typer.Typer()
    app.command()(command)
    finished = CliRunner().invoke(app, [*words, "--results", str(results)])
    assert finished.exit_code == 0, f"{finished.output} {finished.exception!r}"
    [path] = results.glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    (tmp_path / "network").mkdir()
    return f"nano:engine=onnx,checkpoint={tiny_network(tmp_path / 'network')}"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


def test_latency_of_stages_and_batches(tiny: str, results: Path) -> None:
    found = run(latency.main, results, tiny, f"{tiny},batch=3", "--frame", "48x64", "--frames", "3", "--warm-up", "1")
    one, three = found["variants"]
    assert (one["model"], one["size"], one["engine"], one["batch"], three["batch"]) == ("tiny", "64x64", "onnx", 1, 3)
    assert set(one["stages"]) == {"preprocess", "infer", "postprocess"}
    assert all(stage["count"] == 3 for stage in one["stages"].values())
    assert sum(stage["mean_ms"] for stage in one["stages"].values()) <= one["total"]["mean_ms"]
    assert one["ratio_to_first"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert found["conditions"]["cores"] >= 1


def test_latency_of_the_network_alone(tiny: str, results: Path) -> None:
    found = run(latency.main, results, tiny, "--frame", "48x64", "--frames", "2", "--step-only")
    assert found["variants"][0]["stages"] == {}


def test_streams_share_weights_in_three_ways(tiny: str, results: Path) -> None:
    options = ("--streams", "1,2", "--frame", "48x64", "--rounds", "2", "--warm-up", "1")
    found = run(throughput.main, results, tiny, *options)
    assert [(part["streams"], part["way"]) for part in found["parts"]] == [
        (1, "in turn, all threads"),
        (2, "in turn, all threads"),
        (2, "spread, a thread each"),
        (2, "in one call"),
    ]
    for part in found["parts"]:
        assert part["fps"] == pytest.approx(1e3 * part["streams"] / part["round"]["p50_ms"], rel=1e-3)
        assert part["at_30"] == int(part["fps"] // 30)


def test_a_step_stands_under_measured_ceilings(tiny: str, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(roofline.SIDE, "cpu", 128)
    monkeypatch.setitem(roofline.COPIED_BYTES, "cpu", 1 << 20)
    found = run(roofline.main, results, f"{tiny},threads=1", "--frame", "48x64", "--rounds", "3", "--warm-up", "1")
    [part] = found["parts"]
    assert part["flops"] == 3 * 64 * 64  # a mean over three channels
    assert part["bound"] in ("arithmetic", "memory")
    assert part["share"] == pytest.approx(part["least_ms"] / part["p50_ms"], rel=0.02, abs=1e-4)
    assert min(part["ceilings"].values()) > 0


def test_cost_against_size_and_time(results: Path) -> None:
    words = ("--input-sizes", "32,64", "--windows", "", "--minutes", "0.02", "--rounds", "2", "--threads", "1")
    found = run(scaling.main, results, *words)
    assert [each["size"] for each in found["size"]] == ["32x32", "64x96"]
    assert found["window"] is None
    assert found["run"]["frames"] == 36
    assert len(found["run"]["p50_ms_of_each_part"]) == len(found["run"]["memory_mb_of_each_part"]) == 12


@pytest.mark.slow
def test_shorter_windows_need_less_memory(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "VDA-Small", TINY)
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    words = ("--input-sizes", "32", "--windows", "8", "--window-size", "28x28", "--minutes", "0", "--rounds", "2")
    found = run(scaling.main, results, *words)
    assert found["run"] is None
    [eight] = found["window"]
    assert eight["slots"] == 7
    assert eight["stream_bytes"] == 7 * 4 * 2 * (4 * 64 + 64 + 4 * 64 + 16 * 64)

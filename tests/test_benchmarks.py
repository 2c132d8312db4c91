"""What the figures are made with: rounds, ratios, counted work, the report; and accuracy from folder to files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper
from PIL import Image
from typer.testing import CliRunner

from benchmarks import accuracy, report, windows
from benchmarks.evaluate import noisy_copies, still_flicker
from benchmarks.flops import count
from benchmarks.measure import Durations, Ratio, interleave
from benchmarks.predictors import each_alone, streaming
from benchmarks.variants import cache_bytes, parse
from depthcast.models import PACKAGED_NANO
from engines.onnx import OnnxSession
from engines.spec import CacheSpec, ModelSpec
from stream.sources.synthetic import SyntheticSource
from tests.tiny import SPEC, tiny_network

CONDITIONS = {"cpu": "Some CPU", "cores": 2, "load": 0.1, "engine": "onnxruntime 1"}


def invoke(command: Any, *words: str | Path) -> str:
    app = typer.Typer()
    app.command()(command)
    finished = CliRunner().invoke(app, [str(word) for word in words])
    assert finished.exit_code == 0, f"{finished.output} {finished.exception}"
    return finished.output


def test_variants_take_turns_and_warm_up_is_not_counted() -> None:
    order: list[str] = []
    variants = {name: (lambda name=name: order.append(name)) for name in ("a", "b", "c")}
    ms = interleave(variants, rounds=4, warm_up=2, rest_s=0)
    assert {name: len(values) for name, values in ms.items()} == {"a": 4, "b": 4, "c": 4}
    rounds = ["".join(order[start : start + 3]) for start in range(0, len(order), 3)]
    assert rounds == ["bca", "cab", "abc", "bca", "cab", "abc"]


def test_durations_and_ratios() -> None:
    durations = Durations.of(np.arange(1, 102))
    assert (durations.count, durations.p50_ms, durations.p95_ms, durations.mean_ms) == (101, 51, 96, 51)
    assert Ratio.of([2, 6, 12], [1, 2, 3]) == Ratio(3, 2.5, 3.5)
    with pytest.raises(ValueError, match="nothing was measured"):
        Durations.of([])


def test_variants_are_words() -> None:
    variant = parse("nano:threads=3,input_size=160,batch=2")
    assert (variant.wanted.threads, variant.wanted.input_size, variant.batch) == (3, 160, 2)
    with pytest.raises(ValueError, match="unknown speed; known are engine"):
        parse("nano:speed=9")


def test_cache_of_nano() -> None:
    spec = ModelSpec.load(PACKAGED_NANO.with_suffix(".json")).at(192, 256)
    each = sum(cache.cells(192, 256) * cache.channels * 4 for cache in spec.caches)
    assert cache_bytes(spec) == each * spec.window.slots
    assert cache_bytes(spec, 2) == each * 2


def test_work_of_a_graph_is_counted(tmp_path: Path) -> None:
    """A convolution 3→4 of 3×3, a product over the channels, a ReLU: by hand."""
    weights = [
        helper.make_tensor("kernel", TensorProto.FLOAT, [4, 3, 3, 3], np.ones(108)),
        helper.make_tensor("matrix", TensorProto.FLOAT, [6, 5], np.ones(30)),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["kept"]),
        helper.make_node("MatMul", ["kept", "matrix"], ["depth"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "counted", [image], [depth], weights)
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), tmp_path / "g.onnx")
    spec = replace(SPEC, caches=(CacheSpec("c", "f", 2, 7),), height=8, width=6)
    cost = count(tmp_path / "g.onnx", spec)
    assert cost.flops_by_operator == {"Conv": 2 * 4 * 48 * 27, "MatMul": 2 * 4 * 8 * 5 * 6, "Relu": 4 * 48}
    assert cost.weight_bytes == 4 * (108 + 30)
    assert cost.cache_bytes == 4 * 12 * 7 * (spec.window.slots + 1)
    assert cost.io_bytes == 4 * (3 * 48 + 48)
    # image, features twice, kept twice, depth
    assert cost.activation_bytes == 4 * (144 + 2 * 192 + 2 * 192 + 160)


def test_work_of_nano_is_that_of_its_layers() -> None:
    spec = ModelSpec.load(PACKAGED_NANO.with_suffix(".json"))
    small, large = (count(PACKAGED_NANO, spec.at(*size)) for size in ((96, 128), (192, 256)))
    assert large.weight_bytes == small.weight_bytes
    assert 3.8 < large.flops / small.flops < 4.1
    assert large.flops_by_operator["Conv"] > 0.5 * large.flops


def test_still_pictures_are_shaken_the_same_way_each_time() -> None:
    grey = np.full((20, 30, 3), 128, np.uint8)
    one, other = (np.stack(list(noisy_copies(grey, 5))) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert 3 < float(np.std(one)) < 6


def test_the_memory_of_the_packaged_model_lowers_its_flicker() -> None:
    picture = SyntheticSource(192, 256).render(0)
    with OnnxSession(PACKAGED_NANO, (96, 128), threads=1) as session:
        streamed, alone = (still_flicker(way(session), picture) for way in (streaming, each_alone))
    assert streamed < 0.75 * alone


def make_sequence(folder: Path, frames: int = 60) -> Path:
    """A ramp that slides; the picture's brightness is the inverse of its depth."""
    (folder / "rgb").mkdir(parents=True)
    (folder / "depth").mkdir()
    for index in range(frames):
        bright = (150 + 45 * (1 + np.sin((np.arange(128) + 2 * index) / 20)) + np.zeros((96, 1))).astype(np.uint8)
        Image.fromarray(np.repeat(bright[:, :, None], 3, axis=2)).save(folder / f"rgb/{index:04}.png")
        Image.fromarray(np.rint(200_000 / bright).astype(np.uint16)).save(folder / f"depth/{index:04}.png")
    meta = {"width": 128, "fx": 100, "fy": 100, "cx": 64, "cy": 48}
    (folder / "meta.json").write_text(json.dumps(meta))
    lines = [f"{index} 0 0 0 0 0 0 1" for index in range(frames)]
    (folder / "groundtruth.txt").write_text("\n".join(lines))
    (folder / "frames.csv").write_text("frame,time_s\n" + "\n".join(f"{index},{index}" for index in range(frames)))
    return folder


def test_accuracy_from_a_folder_to_json_csv_and_pictures(tmp_path: Path) -> None:
    data, network = make_sequence(tmp_path / "data", 12), tiny_network(tmp_path)
    options = ("--checkpoint", network, "--engine", "onnx", "--modes", "stream,frame", "--name", "ramp")
    invoke(accuracy.main, "plain", data, *options, "--out", tmp_path / "out", "--results", tmp_path / "results")
    found = json.loads((tmp_path / "results" / "accuracy-ramp-nano.json").read_text())
    for way in ("stream", "frame"):
        assert found["mean"][way]["abs_rel"] < 0.02
        assert found["mean"][way]["delta1"] == 1
        assert found["mean"][way]["abs_rel_first_frame"] < 0.02
    assert found["mean"]["stream"]["tae"] == found["mean"]["frame"]["tae"]  # this network has no memory
    assert found["sequences"][0]["poses"] == "given"
    assert len(found["sequences"][0]["over_time"]["stream"]["tae"]) == 11
    with (tmp_path / "out" / "ramp-nano-data.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 12
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {
        "ramp-nano-data-error.png",
        "ramp-nano-data-column.png",
    }


def test_windows_are_compared_on_a_spliced_sequence(tmp_path: Path) -> None:
    data, network = make_sequence(tmp_path / "data", 52), tiny_network(tmp_path)
    options = ("--checkpoint", network, "--engine", "onnx", "--rounds", "2", "--results", tmp_path)
    invoke(windows.main, "--data", f"plain:{data}", *options)
    found = json.loads((tmp_path / "windows-tiny.json").read_text())
    assert [each["policy"] for each in found["policies"]] == [
        "as trained",
        "as trained, cuts ignored",
        "2, no anchor",
        "each frame alone",
    ]
    assert all(each["sequence"]["abs_rel"] < 0.02 for each in found["policies"])
    assert windows.spliced(104)[:3] + windows.spliced(104)[25:27] == [0, 1, 2, 52, 53]


def live(transport: str) -> dict[str, object]:
    durations = {"p50_ms": 40.0, "p95_ms": 55.0, "p99_ms": 70.0}
    return {"benchmark": "live", "transport": transport, **durations, "machine": "Some CPU"}


def make_root(tmp_path: Path) -> Path:
    """A repository with a README and two results."""
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "README.md").write_text(f"# Title\n{report.BEGIN}\nold\n{report.END}\ntail\n")
    durations = {"p50_ms": 12.0, "p95_ms": 13.0, "p99_ms": 14.0}
    stages = dict.fromkeys(("preprocess", "infer", "postprocess"), durations)
    variant = {"model": "nano", "size": "1x1", "engine": "onnx", "threads": 2, "total": durations, "stages": stages}
    latency = {"benchmark": "latency", "variants": [variant], "conditions": CONDITIONS}
    (tmp_path / "benchmarks/results/latency-cpu.json").write_text(json.dumps(latency))
    (tmp_path / "benchmarks/results/live-rtsp.json").write_text(json.dumps(live("rtsp")))
    (tmp_path / "benchmarks/results/live-more.json").write_text(json.dumps(live("whep")))
    return tmp_path


def test_the_report_draws_what_the_results_say(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    invoke(report.main, "--root", root)
    readme = (root / "README.md").read_text()
    assert readme.startswith("# Title\n")
    assert readme.endswith("tail\n")
    assert "| nano | 1x1 | onnx | 2 | 12.0 | 12.0 | 12.0 | 12.0 | 13.0 | 14.0 |" in readme
    assert "| rtsp | 40 | 55 | 70 | Some CPU |" in readme
    assert "| whep | 40 | 55 | 70 | Some CPU |" in readme
    assert "## Glass to glass" in (root / "docs/benchmarks.md").read_text()
    invoke(report.main, "--root", root, "--check")


@pytest.mark.parametrize("stale", ["README.md", "docs/benchmarks.md", "benchmarks/results/live-more.json"])
def test_a_report_that_is_out_of_date_is_refused(tmp_path: Path, stale: str) -> None:
    root = make_root(tmp_path)
    invoke(report.main, "--root", root)
    path = root / stale
    path.write_text(path.read_text().replace("40", "41").replace("whep", "whip"))
    app = typer.Typer()
    app.command()(report.main)
    finished = CliRunner().invoke(app, ["--root", str(root), "--check"])
    assert finished.exit_code == 1
    assert "not what benchmarks/results says; run `make report`" in finished.output


def test_nothing_measured_is_said() -> None:
    assert report.section({}) == report.NOTHING
    assert report.page({}).startswith("# Benchmarks")


def test_readme_and_page_are_what_the_results_say() -> None:
    invoke(report.main, "--check")

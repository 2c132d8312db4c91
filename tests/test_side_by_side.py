"""The comparison with the official code, on a stand-in checkout whose class has the same interface."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import typer
from onnx import TensorProto, helper
from typer.testing import CliRunner

from benchmarks.official import OfficialError, official_class
from benchmarks.peer import PeerError, PeerNetwork
from benchmarks.side_by_side import main
from tests.standin import checkpoint
from tests.tiny import tiny_network

STAND_IN = '''
"""The official interface around our own torch network."""

import numpy as np
import torch

from engines.spec import ModelSpec
from export.config import CONFIGS
from export.describe import vda_spec
from export.graph import VdaStep
from export.model.depth import VideoDepthAnything as Network
from export.reference import TorchSession
from stream.estimator import DepthEstimator


class VideoDepthAnything:
    def __init__(self, encoder="vitl", features=256, out_channels=(256, 512, 1024, 1024)):
        assert (encoder, features, out_channels) == ("vits", 64, [48, 96, 192, 384])
        self.network, self.estimator = Network(CONFIGS["VDA-Small"]), None

    def load_state_dict(self, tensors, strict):
        self.network.load_state_dict(tensors, strict=strict)

    def to(self, device):
        assert device == "cpu"
        return self

    def eval(self):
        self.network.eval()
        return self

    def infer_video_depth_one(self, frame, input_size=518, device="cuda", fp32=False):
        assert (input_size, device, fp32) == (42, "cpu", True)
        if self.estimator is None:
            spec = vda_spec(CONFIGS["VDA-Small"], metric=False, size=(42, 56), weights_sha256="")
            session = TorchSession(VdaStep(self.network, 42, 56), spec)
            self.estimator = DepthEstimator(session, scene_cut=False)
        return self.estimator.step_array(frame).depth * SCALE
'''


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "checkout" / "video_depth_anything"
    folder.mkdir(parents=True)
    (folder / "video_depth_stream.py").write_text(STAND_IN.replace("SCALE", "1.0"))
    yield folder.parent
    for name in [name for name in sys.modules if name.partition(".")[0] == "video_depth_anything"]:
        del sys.modules[name]


def run(tmp_path: Path, *words: str | Path) -> dict[str, object]:
    clip = [
        "--clip",
        "test:?size=56x42&realtime=0",
        "--input-size",
        "42",
        "--warm-up",
        "1",
        "--threads",
        "1",
        "--memory-frames",
        "2",
    ]
    command = [str(word) for word in (*words, *clip, "--results", tmp_path / "results")]
    app = typer.Typer()
    app.command()(main)
    finished = CliRunner().invoke(app, command, catch_exceptions=False)
    assert finished.exit_code == 0, finished.output
    [path] = (tmp_path / "results").glob("*.json")
    found: dict[str, object] = json.loads(path.read_text())
    return found


@pytest.mark.slow
def test_both_sides_see_the_same_frames_and_their_maps_are_compared(tmp_path: Path, checkout: Path) -> None:
    weights = checkpoint("VDA-Small", tmp_path)
    options = ("--checkpoint", weights, "--engine", "torch", "--device", "cpu", "--frames", "3")
    found = run(tmp_path, "--official", checkout, *options)
    assert (found["model"], found["size"], found["engine"]) == ("VDA-Small", "42x56", "torch")
    difference, ratio, memory = found["largest_difference_over_mean"], found["speed_ratio"], found["memory_mb"]
    assert isinstance(difference, float)
    assert difference < 1e-5
    assert isinstance(ratio, dict)
    assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
    assert isinstance(memory, dict)
    assert memory["official"] > 100
    assert memory["ours"] > 100


@pytest.mark.slow
def test_maps_that_differ_are_told(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "video_depth_anything" / "video_depth_stream.py").write_text(STAND_IN.replace("SCALE", "1.1"))
    monkeypatch.setattr("benchmarks.side_by_side.memory_alone", lambda *_: 1)
    weights = checkpoint("VDA-Small", tmp_path)
    options = ("--checkpoint", weights, "--engine", "torch", "--device", "cpu", "--frames", "2")
    found = run(tmp_path, "--official", checkout, *options)
    difference = found["largest_difference_over_mean"]
    assert isinstance(difference, float)
    assert difference > 0.09


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(OfficialError, match="is no checkout of the official repository"):
        official_class(tmp_path)


def test_official_code_that_lacks_a_package(checkout: Path) -> None:
    (checkout / "video_depth_anything" / "video_depth_stream.py").write_text("import no_such_package\n")
    with pytest.raises(OfficialError, match="cannot be imported: No module named 'no_such_package'"):
        official_class(checkout)


def test_official_code_of_another_shape(checkout: Path) -> None:
    (checkout / "video_depth_anything" / "video_depth_stream.py").write_text("class VideoDepthAnything: pass\n")
    with pytest.raises(OfficialError, match=r"has no VideoDepthAnything\.infer_video_depth_one"):
        official_class(checkout)


def peer_network(path: Path, inputs: int = 1) -> Path:
    """Brightness as depth, as a per-frame network gives it: one picture in, [1, H, W] out."""
    pictures = [
        helper.make_tensor_value_info(f"image_{number}", TensorProto.FLOAT, [1, 3, "h", "w"])
        for number in range(inputs)
    ]
    depth = helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, "h", "w"])
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    mean = helper.make_node("ReduceMean", ["image_0", "axes"], ["depth"], keepdims=0)
    graph = helper.make_graph([mean], "peer", pictures, [depth], [axes])
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def test_a_peer_is_compared_by_speed_and_flicker(tmp_path: Path) -> None:
    peer = peer_network(tmp_path / "peer.onnx")
    options = ("--model", "nano", "--checkpoint", tiny_network(tmp_path), "--engine", "onnx", "--frames", "3")
    found = run(tmp_path, "--peer", peer, *options)
    assert (found["benchmark"], found["peer"], found["peer_size"], found["size"]) == (
        "peer",
        "peer.onnx",
        "42x56",
        "32x64",
    )
    flicker = found["still_flicker_percent"]
    assert isinstance(flicker, dict)
    # Both say how bright the picture is, so both flicker as its noise does.
    assert flicker["ours"] == pytest.approx(flicker["peer"], rel=0.5)
    assert flicker["peer"] > 0.1


def test_a_graph_with_other_inputs_is_no_peer(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="a per-frame network takes one picture"):
        PeerNetwork(peer_network(tmp_path / "two.onnx", inputs=2))

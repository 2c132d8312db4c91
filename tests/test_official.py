"""The command line on the official networks with stand-in weights: exported once, then run; refused when wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import Tensor

from depthcast.cli import status_of
from export.config import CONFIGS
from tests.standin import TINY, checkpoint, state_dict, tiny_checkpoint
from tests.tiny import make_clip

NAME = "pretrained.blocks.3.attn.qkv.weight"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint("VDA-Small", tmp_path_factory.mktemp("weights"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(tmp_path: Path, weights: Path, *options: str) -> int:
    clip = make_clip(tmp_path / "clip.mkv", 4, 42, 56)
    wanted = ["--model", "VDA-Small", "--checkpoint", str(weights), "--input-size", "42"]
    return status_of(["run", str(clip), "-o", str(tmp_path / "depth.npz"), *wanted, *options])


def depths(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with np.load(path) as raw:
        maps: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = raw["depths"]
    return maps


@pytest.mark.slow
def test_network_is_exported_once_and_equals_torch(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CONFIGS, "VDA-Small", TINY)
    weights = tiny_checkpoint(tmp_path)
    assert run(tmp_path, weights, "--precision", "fp32") == 0
    assert "exporting VDA-Small for 42x56" in capsys.readouterr().err
    assert {path.suffix for path in (home / "networks").iterdir()} == {".onnx", ".json"}
    exported = depths(tmp_path / "depth.npz")
    assert run(tmp_path, weights, "--engine", "onnx") == 0
    assert "exported for this size before" in capsys.readouterr().err
    assert run(tmp_path, weights, "--engine", "torch") == 0
    assert "VDA-Tiny at 42x56 on torch" in capsys.readouterr().err
    np.testing.assert_allclose(depths(tmp_path / "depth.npz"), exported, atol=2e-3)


def test_offline_mode_runs_on_torch(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, weights, "--engine", "torch", "--mode", "offline", "--metric") == 0
    assert "VDA-Small-Metric at 42x56 on torch" in capsys.readouterr().err
    assert depths(tmp_path / "depth.npz").shape == (4, 42, 56)


def _missing(tensors: dict[str, Tensor]) -> None:
    del tensors[NAME]


def _extra(tensors: dict[str, Tensor]) -> None:
    tensors["head.another"] = tensors[NAME].clone()


def _misshapen(tensors: dict[str, Tensor]) -> None:
    tensors[NAME] = tensors[NAME][:, :-1].contiguous()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(_missing, f"missing: {NAME}"), (_extra, "unexpected: head.another"), (_misshapen, f"{NAME} is (1152, 383)")],
)
def test_wrong_checkpoint_fails_with_the_tensor_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: object, words: str
) -> None:
    tensors = state_dict("VDA-Small")
    assert callable(spoil)
    spoil(tensors)
    save_file(tensors, tmp_path / "wrong.safetensors")
    assert run(tmp_path, tmp_path / "wrong.safetensors", "--engine", "torch") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("depthcast: wrong.safetensors")
    assert words in last
    assert not (tmp_path / "depth.npz").exists()

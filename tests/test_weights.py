"""Checkpoints are read strictly and never run code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from export.config import CONFIGS
from export.errors import CheckpointError
from export.weights import load_network
from tests.standin import state_dict

SMALL = CONFIGS["VDA-Small"]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return state_dict("VDA-Small")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_official_files_load(tmp_path: Path, state: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"small{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    loaded = load_network(SMALL, path).state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_a_missing_tensor_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    rest = {name: value for name, value in state.items() if name != "pretrained.norm.bias"}
    save_file(rest, tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=r"1 missing: pretrained\.norm\.bias"):
        load_network(SMALL, tmp_path / "c.safetensors")


def test_an_unexpected_tensor_is_named(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state | {"head.extra": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=r"1 unexpected: head\.extra"):
        load_network(SMALL, tmp_path / "c.safetensors")


def test_a_misshapen_tensor_is_named_with_both_shapes(tmp_path: Path, state: dict[str, Tensor]) -> None:
    save_file(state | {"pretrained.norm.bias": torch.zeros(7)}, tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match=r"pretrained\.norm\.bias is \(7,\) instead of \(384,\)"):
        load_network(SMALL, tmp_path / "c.safetensors")


class Bomb:
    """Unpickling one would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("plain", [True, False])
def test_a_pickle_with_code_is_not_run(tmp_path: Path, plain: bool) -> None:
    path, mark = tmp_path / "c.pth", tmp_path / "ran"
    if plain:
        path.write_bytes(pickle.dumps({"pretrained.norm.bias": Bomb(mark)}))
    else:
        torch.save({"pretrained.norm.bias": Bomb(mark)}, path)
    with pytest.raises(CheckpointError):
        load_network(SMALL, path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["c.pth", "c.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a checkpoint at all"])
def test_rubbish_is_one_clear_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^{name}"):
        load_network(SMALL, tmp_path / name)


def test_a_truncated_file_is_one_clear_error(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = tmp_path / "c.pth"
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_network(SMALL, path)


def test_another_object_than_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="no state dict"):
        load_network(SMALL, tmp_path / "c.pth")


def test_a_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="depthcast pull"):
        load_network(SMALL, tmp_path / "c.pth")

"""`depthcast export` on a network in miniature: forms, checks, and what is said meanwhile."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from torch import nn

from depthcast.cli import status_of
from engines.spec import ModelSpec
from export import to_onnx
from export.config import CONFIGS
from export.graph import Adapted, VdaWindow
from tests.standin import TINY, tiny_checkpoint


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CONFIGS, "VDA-Small", TINY)
    return tmp_path / "home"


@pytest.fixture
def _traced_before(tiny_step: Path, tiny_open_step: Path, tiny_window: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds of torch's exporter are saved for each: its graphs of the same network are at hand."""

    def at_hand(function: nn.Module, *_: object) -> onnx.ModelProto:
        if isinstance(function, VdaWindow):
            return onnx.load(tiny_window)
        assert isinstance(function, Adapted)
        return onnx.load(tiny_open_step if function.bytes_in else tiny_step)

    monkeypatch.setattr(to_onnx, "trace", at_hand)


def export(folder: Path, *words: str | Path, size: str = "70x98") -> int:
    weights = tiny_checkpoint(folder)
    return status_of(["export", "VDA-Small", "--checkpoint", str(weights), "--size", size, *map(str, words)])


@pytest.mark.usefixtures("_traced_before")
def test_bytes_in_another_size_out_any_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "open.onnx"
    form = ("--batch", "any", "--pixels", "uint8", "--resized-to", "20x30", "--precision", "fp16")
    assert export(tmp_path, *form, "--parity-limit", "0.05", "--parity-frames", "5", "-o", out, size="28x42") == 0
    spec = ModelSpec.load(out.with_suffix(".json"))
    assert (spec.batch, spec.pixels, spec.resized_to, spec.precision) == (None, "uint8", (20, 30), "fp16")
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "comparing it with the original, 5 frames" in said.err


@pytest.mark.usefixtures("_traced_before")
@pytest.mark.parametrize(("mode", "precision", "size"), [("stream", "fp32", "70x98"), ("offline", "fp16", "28x42")])
def test_what_departs_is_not_written_unless_allowed(
    tmp_path: Path, home: Path, mode: str, precision: str, size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--mode", mode, "--precision", precision, "--parity-frames", "3", "--parity-limit")
    assert export(tmp_path, *words, "1e-9", size=size) == 1
    assert "departs from the torch oracle by" in capsys.readouterr().err
    assert not list(home.rglob("*.onnx"))
    assert export(tmp_path, *words, "0.5", size=size) == 0
    assert len(list(home.rglob("*.onnx"))) == 1


@pytest.mark.usefixtures("_traced_before")
def test_no_check_at_all_is_a_choice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path, "--parity-frames", "0") == 0
    assert "comparing" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--batch", "0"), "a number from 1, or any"),
        (("--batch", "two"), "a number from 1, or any"),
        (("--resized-to", "0x5"), "must be above zero"),
        (("--resized-to", "wide"), "a size is written"),
        (("--batch", "any"), "--output FILE.onnx"),
        (("--mode", "offline", "--pixels", "uint8", "-o", "a.onnx"), "--mode stream"),
    ],
)
def test_forms_that_cannot_be_fail(
    tmp_path: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tmp_path, *words) == 2
    assert message in capsys.readouterr().err

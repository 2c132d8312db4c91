"""`depthcast export` on a network in miniature: forms, checks, and what is said meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from depthcast.cli import status_of
from engines.spec import ModelSpec
from export.config import CONFIGS
from tests.standin import TINY, tiny_checkpoint


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(CONFIGS, "VDA-Small", TINY)
    return tmp_path / "home"


def export(folder: Path, *words: str | Path) -> int:
    weights = tiny_checkpoint(folder)
    return status_of(["export", "VDA-Small", "--checkpoint", str(weights), "--size", "28x42", *map(str, words)])


@pytest.mark.slow
def test_bytes_in_another_size_out_any_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "open.onnx"
    form = ("--batch", "any", "--pixels", "uint8", "--resized-to", "20x30", "--parity-frames", "5")
    assert export(tmp_path, *form, "-o", out) == 0
    spec = ModelSpec.load(out.with_suffix(".json"))
    assert (spec.batch, spec.pixels, spec.resized_to) == (None, "uint8", (20, 30))
    said = capsys.readouterr()
    assert said.out == f"{out}\n"
    assert "comparing it with the original, 5 frames" in said.err


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "offline"])
def test_what_departs_is_not_written_unless_allowed(
    tmp_path: Path, home: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--mode", mode, "--precision", "fp16", "--parity-frames", "3", "--parity-limit")
    assert export(tmp_path, *words, "1e-9") == 1
    assert "departs from the torch oracle by" in capsys.readouterr().err
    assert not list(home.rglob("*.onnx"))
    assert export(tmp_path, *words, "0.5") == 0
    assert len(list(home.rglob("*.onnx"))) == 1


@pytest.mark.slow
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

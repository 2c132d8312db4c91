"""`depthcast build` with TensorRT for RTX, which needs no GPU, on a network in miniature."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from depthcast.cli import status_of
from engines.spec import ModelSpec
from engines.store import read_record, record_path
from export.config import CONFIGS
from tests.standin import TINY, tiny_checkpoint
from tests.test_build import needs_rtx
from tests.tiny import tiny_network

QUICK = ("--level", "0")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def build(*words: str | Path) -> int:
    return status_of(["build", *map(str, words)])


@needs_rtx
def test_a_network_given_is_built_and_the_closing_line_says_all(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = tiny_network(tmp_path)
    assert build("nano", "--checkpoint", network, "--size", "64x96", *QUICK) == 0
    said = capsys.readouterr()
    engine = next((home / "engines").glob("*.engine"))
    assert re.fullmatch(
        rf"{re.escape(str(engine))}: [\d.]+ MB, \d+ layers, built in [\d.]+ s, not verified: built without a GPU\n",
        said.out,
    )
    assert re.search(r"64x96 with TensorRT-RTX [\d.]+: builds without a GPU; no GPU is used: ", said.err)
    assert "there is none for this network and size yet" in said.err


@needs_rtx
@pytest.mark.slow
def test_a_checkpoint_is_exported_then_built_for_many_streams(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CONFIGS, "VDA-Small", TINY)
    out, weights = tmp_path / "many.engine", tiny_checkpoint(tmp_path)
    options = ("--checkpoint", weights, "--size", "28x42", "--batch", "3", "--parity-limit", "0.05", *QUICK)
    assert build("VDA-Small", *options, "-o", out) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: ")
    assert "comparing it with the original, 60 frames" in said.err
    spec, record = ModelSpec.load(out.with_suffix(".json")), read_record(record_path(out))
    assert (spec.precision, spec.batch, spec.size) == ("fp16", None, (28, 42))
    assert record.key.options.batch.largest == 3
    assert record.engine_bytes == out.stat().st_size
    assert [path.name.endswith("-step-28x42-fp16-batch-any.onnx") for path in (home / "networks").glob("*.onnx")] == [
        True
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nano", "-o", "engine.bin"), "written to a .engine file"),
        (("nano", "--checkpoint", "own.pth", "--size", "64x64"), "--checkpoint needs to know the network"),
        (("VDA-Small", "--size", "100x100"), "multiples of 14"),
        (("VDA-Small", "--mode", "offline", "--batch", "2"), "--batch is for streaming networks"),
        (("VDA-Small",), "first `depthcast pull VDA-Small`"),
        (("VDA-Small", "--checkpoint", "absent.pth"), "no checkpoint at absent.pth"),
    ],
)
def test_what_cannot_be_built_fails_in_a_line(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(*words) != 0
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--precision", "fp16"), "is an fp32 network"), (("--mode", "offline"), "is a streaming network")],
)
def test_a_network_given_decides_what_it_is(
    tmp_path: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build("nano", "--checkpoint", tiny_network(tmp_path), "--size", "64x64", *words) == 2
    assert message in capsys.readouterr().err

"""What `depthcast doctor` finds, on machines that are made up and on this one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from depthcast import doctor
from depthcast.cli import status_of
from depthcast.commands.doctor import lines
from depthcast.doctor import Diagnosis, diagnose
from depthcast.gpu import Gpu
from depthcast.plan import Machine
from depthcast.settings import Settings
from engines.errors import EngineUnavailable
from engines.store import EngineKey, EngineStore
from tests.test_models import BARE, TENSORRT_ONLY, WITH_TENSORRT, WITH_TORCH, put, put_checkpoint, put_network
from tests.test_store import ENGINE, KEY, record_of
from tests.toy_engine import spec_of

HERE = replace(KEY, version="11.4.0", gpu="Fake GPU", capability="9.0")
"""Of an engine for the machines that are made up."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


@pytest.fixture(autouse=True)
def _no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Gpu:
        raise EngineUnavailable("there is no NVIDIA driver here")

    monkeypatch.setattr(doctor, "first_gpu", absent)


def small(found: Diagnosis) -> doctor.ModelState:
    return next(model for model in found.models if model.model == "VDA-Small")


def test_packages_and_processor_are_told(settings: Settings, tmp_path: Path) -> None:
    found = diagnose(settings, BARE)
    versions = {package.name: package.version for package in found.packages}
    assert versions["numpy"]
    assert versions["tensorrt"] is None or versions["tensorrt"][0].isdecimal()
    assert "CPUExecutionProvider" in found.providers
    listing = tmp_path / "cpuinfo"
    listing.write_text("model name\t: Some CPU\nflags\t\t: fpu avx2 avx512_vnni amx_int8\n")
    assert doctor.processor(listing).flags == ("avx2", "avx512_vnni", "amx_int8")
    assert doctor.processor(listing).model == "Some CPU"
    assert doctor.processor(tmp_path / "absent").flags == ()


def test_nothing_here_is_told_with_what_to_do(settings: Settings) -> None:
    found = diagnose(settings, BARE)
    assert (found.gpu, found.gpu_why, found.engines) == (None, "there is no NVIDIA driver here", ())
    assert small(found).engine is None
    assert "`depthcast pull VDA-Small`" in small(found).why


@pytest.mark.parametrize(
    ("machine", "engine", "why_not"),
    [(WITH_TORCH, "onnx", "there is no NVIDIA driver here"), (WITH_TENSORRT, "tensorrt", "")],
)
def test_the_engine_of_each_model_and_why_not_the_faster_one(
    settings: Settings, machine: Machine, engine: str, why_not: str
) -> None:
    checkpoint = put_checkpoint(settings)
    state = small(diagnose(settings, machine))
    assert (state.engine, state.why_not, state.checkpoint) == (engine, why_not, str(checkpoint))


def test_a_network_of_another_size_is_found(settings: Settings) -> None:
    network = put_network(settings)
    state = small(diagnose(settings, BARE))
    assert (state.engine, state.frame, state.networks) == ("onnx", "518x686", (network.name,))


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (HERE, ""),
        (replace(HERE, gpu="Another GPU"), "the one here is for Another GPU (9.0), needed is Fake GPU (9.0)"),
        (replace(HERE, version="10.9.0"), "the one here was built by version 10.9.0, installed is 11.4.0"),
    ],
)
def test_engines_that_would_be_used_and_why_not_the_others(settings: Settings, key: EngineKey, why: str) -> None:
    path = EngineStore(settings.engines).put(ENGINE, spec_of(), record_of(ENGINE, key)).path
    (state,) = diagnose(settings, TENSORRT_ONLY).engines
    assert (state.path, state.accepted, state.why) == (str(path), not why, why)


def test_damaged_engines_are_told(settings: Settings) -> None:
    put(settings.engines / "half.engine")
    EngineStore(settings.engines).put(ENGINE, spec_of(), record_of(ENGINE, HERE)).path.write_bytes(b"harm")
    states = diagnose(settings, TENSORRT_ONLY).engines
    assert [state.accepted for state in states] == [False, False]
    assert sorted(state.why.partition("(")[0].partition(":")[0].strip() for state in states) == [
        "it was not written to its end",
        "the one here is truncated",
    ]
    assert "no NVIDIA driver" in diagnose(settings, BARE).tensorrt


def test_people_read_the_card_and_what_would_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "first_gpu", lambda: Gpu("Fake GPU", (9, 0), 80_000_000_000, "CUDA 13.1"))
    EngineStore(settings.engines).put(ENGINE, spec_of(), record_of(ENGINE, HERE))
    put_checkpoint(settings)
    text = "\n".join(lines(diagnose(settings, TENSORRT_ONLY)))
    for words in (
        "gpu           Fake GPU, capability 9.0, 80.0 GB, driver CUDA 13.1",
        "TensorRT      TensorRT 11.4.0: made for it",
        "VDA-Small: cannot run",
        ".engine: would be used",
    ):
        assert words in text


def test_the_command_never_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    assert status_of(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "onnxruntime" in said
    assert "gpu           none: there is no NVIDIA driver here" in said
    assert status_of(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["home"] == str(tmp_path)
    assert {model["model"] for model in told["models"]} >= {"nano", "VDA-Small", "VDA-Large --metric"}

"""Networks on TensorRT as a run opens them: built once, found again, rebuilt with a reason, passed over with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import engines.tensorrt
import export.to_tensorrt
from depthcast import builds
from depthcast.errors import ModelError
from depthcast.gpu import Accelerator, Workshop
from depthcast.models import find
from depthcast.networks import step_session
from depthcast.plan import Engine, Machine, Wanted
from depthcast.settings import Settings
from engines.backend import Backend
from engines.onnx import OnnxSession
from engines.session import Session
from engines.store import BatchRange, BuildOptions
from engines.tensorrt import TensorRtSession
from export.errors import BuildError
from export.to_tensorrt import Built
from export.verify import Departure
from tests.fake_device import FakeDevice, FakeNetwork
from tests.tiny import SPEC, tiny_network

Hurt = Callable[[Path], object]


class Stand:
    """A machine with a GPU that is made up, and a network to run on it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.failure: BuildError | None = None
        self.device = FakeDevice()
        self.backend = Backend("tensorrt", "11.4.0", None)
        self.settings = Settings(folder / "home")
        self.network = tiny_network(folder)
        monkeypatch.setattr(export.to_tensorrt, "build_engine", self.build)
        monkeypatch.setattr(export.to_tensorrt, "TensorRtNetwork", self.load)
        monkeypatch.setattr(export.to_tensorrt, "engine_departure", lambda *_: Departure(1e-4, 0.1, 60))
        monkeypatch.setattr(engines.tensorrt, "load_network", self.load)

    def build(self, *_: object) -> Built:
        if self.failure:
            raise self.failure
        return Built(b"an engine", 7, (), 1.5)

    def load(self, *_: object) -> FakeNetwork:
        return FakeNetwork(SPEC.at(64, 64), self.device, (1, 1))

    def open(self, engine: Engine = Engine.TENSORRT) -> Session:
        self.said.clear()
        machine = Machine(lambda _package: False, lambda: False, self.accelerator)
        wanted = Wanted(find("nano"), engine=engine, checkpoint=self.network)
        return step_session(wanted, (48, 64), self.settings, self.said.append, machine=machine)

    def accelerator(self) -> Accelerator:
        return Accelerator(self.device, self.backend, "made for it")

    def build_with(self, options: BuildOptions) -> None:
        asked = builds.Plan(Wanted(find("nano"), checkpoint=self.network), (64, 64), options)
        builds.build(asked, self.settings, Workshop(self.backend, self.device, ""), self.said.append)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(tmp_path, monkeypatch)


def test_an_engine_is_built_for_the_first_run_and_found_for_the_next(stand: Stand) -> None:
    for engine in (Engine.TENSORRT, Engine.AUTO):
        with stand.open(engine) as session:
            assert isinstance(session, TensorRtSession)
        assert len(list(stand.settings.engines.glob("*.engine"))) == 1
        assert stand.said[-1] == "tiny at 64x64 on tensorrt: the network given"
        assert any("there is none for this network and size yet" in line for line in stand.said) == (
            engine is Engine.TENSORRT
        )


@pytest.mark.parametrize(
    ("hurt", "reason"),
    [
        (lambda path: path.write_bytes(b"short"), "the one here is truncated"),
        (lambda path: path.write_bytes(b"an ENGINE"), "the one here is corrupt"),
        (lambda path: path.with_suffix(".json").unlink(), "not written to its end"),
        (lambda path: path.with_suffix(".build.json").write_text("{"), "cannot be read"),
    ],
)
def test_a_damaged_engine_is_built_again(stand: Stand, hurt: Hurt, reason: str) -> None:
    stand.open().close()
    hurt(next(stand.settings.engines.glob("*.engine")))
    stand.open().close()
    assert any(reason in line for line in stand.said)


def test_the_engine_of_another_gpu_or_version_is_not_used(stand: Stand) -> None:
    stand.open().close()
    stand.device.name = "Another GPU"
    stand.open().close()
    assert any("the one here is for Fake GPU (9.0), needed is Another GPU (9.0)" in line for line in stand.said)
    stand.backend = replace(stand.backend, version="12.0.0")
    stand.open().close()
    assert any("built by version 11.4.0, installed is 12.0.0" in line for line in stand.said)


def test_an_engine_built_with_other_options_is_used(stand: Stand) -> None:
    stand.build_with(BuildOptions(BatchRange(1, 4, 4), level=5))
    stand.open().close()
    assert stand.said == ["tiny at 64x64 on tensorrt: the network given"]


def test_auto_falls_back_where_an_engine_cannot_be_built(stand: Stand) -> None:
    stand.failure = BuildError("TensorRT cannot read tiny.onnx")
    with stand.open(Engine.AUTO) as session:
        assert isinstance(session, OnnxSession)
    assert stand.said[-1] == (
        "tiny at 64x64 on onnx: the network given; not on tensorrt: TensorRT cannot read tiny.onnx"
    )


def test_tensorrt_asked_for_does_not_fall_back(stand: Stand) -> None:
    stand.failure = BuildError("TensorRT cannot read tiny.onnx")
    with pytest.raises(ModelError, match=r"TensorRT cannot read tiny\.onnx"):
        stand.open()

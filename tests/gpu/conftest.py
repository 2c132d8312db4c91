"""What the tests on a GPU need; without it they are skipped, saying why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from engines.backend import Backend, choose_backend, load_backend, load_device
from engines.device import Device
from engines.errors import EngineUnavailable
from engines.store import BuildOptions, EngineFile, EngineStore
from engines.tensorrt import TensorRtSession
from export.config import CONFIGS
from export.to_onnx import Parity, export_step
from export.to_tensorrt import Check, ready_engine, request
from tests.standin import checkpoint


@dataclass(frozen=True, slots=True)
class Machine:
    """A GPU, its back end, and a folder for networks and engines."""

    device: Device
    backend: Backend
    folder: Path

    def graph(self, model: str, size: tuple[int, int], batch: int = 1) -> Path:
        """The exported float16 step of a stand-in, made once a test run."""
        path = self.folder / f"{model}-{size[0]}x{size[1]}-{batch}.onnx"
        if not path.exists():
            weights = checkpoint(model, self.folder)
            parity = Parity(frames=0)
            export_step(CONFIGS[model], weights, path, size, batch=batch, precision="fp16", parity=parity)
        return path

    def engine(self, graph: Path, check: Check) -> EngineFile:
        """Its engine, built once a test run."""
        wanted = request(graph, self.backend, self.device, BuildOptions())
        return ready_engine(wanted, EngineStore(self.folder / "engines"), print, check)

    def session(self, model: str, size: tuple[int, int], batch: int = 1) -> TensorRtSession:
        """A session of it."""
        engine = self.engine(self.graph(model, size, batch), Check(frames=0))
        return TensorRtSession.open(engine.path, self.backend, self.device)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The GPU of this machine; skips where something is missing."""
    try:
        device = load_device()
        choice = choose_backend(device.capability)
        return Machine(device, load_backend(choice.name), tmp_path_factory.mktemp("gpu"))
    except EngineUnavailable as error:
        pytest.skip(str(error))

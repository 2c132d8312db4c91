"""OpenVINO on the CPU, for networks in bfloat16: the matrix units of newer x86 processors, idle in ONNX Runtime.

What is typed bfloat16 in the graph runs so; everything else stays as exact as it is typed. Processors without bfloat16
compute all of it in float32.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from engines.errors import EngineError, StepError
from engines.host import HostCache
from engines.onnx import load_spec_of
from engines.session import Cache, StepPlan
from engines.spec import ModelSpec

# When it is imported, OpenVINO reports that to its maker from a forked process. Nobody asked for that here, and a fork
# of a process with threads may never end and keep what it holds open. Without this module it reports nothing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
import openvino  # noqa: E402


class OpenVinoCache(HostCache):
    """The memory of B streams, bound for good to a request of its own."""

    def __init__(self, compiled: openvino.CompiledModel, spec: ModelSpec, batch: int) -> None:
        super().__init__(spec, batch)
        self.request = compiled.create_infer_request()
        for name, array in (self.inputs | self.outputs).items():
            self.request.set_tensor(name, openvino.Tensor(array, shared_memory=True))


class OpenVinoSession(Closing):
    """Steps streams on OpenVINO. See `engines.session.Session`, and `engines.onnx.OnnxSession` for the arguments."""

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec_of("step", path, size)
        self._compiled = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def new_cache(self, batch: int = 1) -> OpenVinoCache:
        """Preallocate and bind the memory of `batch` streams."""
        return OpenVinoCache(self._compiled, self._spec, batch)

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run one frame of each stream; see `engines.session.Session.step`."""
        assert isinstance(cache, OpenVinoCache)
        cache.plan(plans)
        try:
            cache.request.infer()
        except RuntimeError as error:
            raise StepError(f"openvino failed in a step of {self._spec.name}: {error}") from error
        cache.write(plans)
        return cache.depth

    def close(self) -> None:
        """Free the graph."""
        del self._compiled


class OpenVinoWindowSession(Closing):
    """Whole windows on OpenVINO. See `engines.session.WindowSession` and `OpenVinoSession`."""

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec_of("window", path, size)
        self._compiled = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]."""
        try:
            depth: NDArray[np.float32] = self._compiled({"images": images})["depth"]
        except RuntimeError as error:
            raise StepError(f"openvino failed in a window of {self._spec.name}: {error}") from error
        return depth

    def close(self) -> None:
        """Free the graph."""
        del self._compiled


def load_graph(path: Path, spec: ModelSpec, threads: int | None) -> openvino.CompiledModel:
    """Compile a graph for the CPU at the spec's size. Raises EngineError."""
    settings: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        # Pinned threads hand their one core on to every thread that is begun beside them: torch ran 15 times slower.
        "ENABLE_CPU_PINNING": False,
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    try:
        model = core.read_model(path)
        if spec.kind == "step" and spec.batch is not None:
            model.reshape({name: list(array.shape) for name, array in HostCache(spec, spec.batch).inputs.items()})
        return core.compile_model(model, "CPU", settings)
    except RuntimeError as error:
        raise EngineError(f"openvino cannot load {path.name}: {error}; export the model again") from error


def has_bfloat16() -> bool:
    """This processor computes in bfloat16."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

"""OpenVINO on the CPU, for networks in bfloat16: the matrix units of newer x86 processors, idle in ONNX Runtime.

What is typed bfloat16 in the graph runs so; everything else stays as exact as it is typed. Processors without bfloat16
compute all of it in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import openvino
from numpy.typing import NDArray

from engines.closing import Closing
from engines.errors import EngineError, StepError
from engines.host import HostCache
from engines.onnx import load_spec_of
from engines.session import Cache, StepPlan, closed_memory, still_open
from engines.spec import ModelSpec


class OpenVinoCache(HostCache):
    """The memory of B streams, bound for good to a request of its own."""

    def __init__(self, compiled: openvino.CompiledModel, spec: ModelSpec, batch: int) -> None:
        super().__init__(spec, batch)
        self._request: openvino.InferRequest | None = compiled.create_infer_request()
        for name, array in (self.inputs | self.outputs).items():
            self.request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    @property
    def request(self) -> openvino.InferRequest:
        """What runs the step. Raises EngineError once this is closed."""
        if self._request is None:
            raise closed_memory()
        return self._request

    def close(self) -> None:
        """Give the memory back."""
        # Before the arrays: its tensors lie in them.
        self._request = None
        super().close()


class OpenVinoSession(Closing):
    """Steps streams on OpenVINO. See `engines.session.Session`, and `engines.onnx.OnnxSession` for the arguments."""

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec_of("step", path, size)
        self._compiled: openvino.CompiledModel | None = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def new_cache(self, batch: int = 1) -> OpenVinoCache:
        """Preallocate and bind the memory of `batch` streams."""
        return OpenVinoCache(still_open(self._compiled, self._spec), self._spec, batch)

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run one frame of each stream; see `engines.session.Session.step`."""
        assert isinstance(cache, OpenVinoCache)
        still_open(self._compiled, self._spec)
        memory = cache.memory
        cache.plan(plans)
        try:
            cache.request.infer()
        except RuntimeError as error:
            raise StepError(f"openvino failed in a step of {self._spec.name}: {error}") from error
        cache.write(plans)
        return memory.depth

    def close(self) -> None:
        """Free the graph, once the last cache is closed too."""
        self._compiled = None


class OpenVinoWindowSession(Closing):
    """Whole windows on OpenVINO. See `engines.session.WindowSession` and `OpenVinoSession`."""

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec_of("window", path, size)
        self._compiled: openvino.CompiledModel | None = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]."""
        graph = still_open(self._compiled, self._spec)
        try:
            depth: NDArray[np.float32] = graph({"images": images})["depth"]
        except RuntimeError as error:
            raise StepError(f"openvino failed in a window of {self._spec.name}: {error}") from error
        return depth

    def close(self) -> None:
        """Free the graph."""
        self._compiled = None


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

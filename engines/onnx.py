"""ONNX Runtime on the CPU. Everything a step reads or writes is bound once, when a stream's memory is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from engines.closing import Closing
from engines.errors import EngineError, SpecError, StepError
from engines.host import HostCache
from engines.session import Cache, StepPlan, still_open
from engines.spec import Kind, ModelSpec, sha256_of

LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
RUN_ERRORS = (*LOAD_ERRORS, RuntimeError)
"""With bound memory ONNX Runtime raises a plain RuntimeError."""


class OnnxCache(HostCache):
    """The memory of B streams, bound to the graph for good."""

    def __init__(self, session: onnxruntime.InferenceSession, spec: ModelSpec, batch: int) -> None:
        super().__init__(spec, batch)
        self.binding: onnxruntime.IOBinding | None = session.io_binding()
        for name, array in self.inputs.items():
            self.binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            self.binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    def close(self) -> None:
        """Give the memory back."""
        # Before the arrays: it holds their addresses.
        self.binding = None
        super().close()


class OnnxSession(Closing):
    """A streaming step on ONNX Runtime. See `engines.session.Session`.

    path: the `.onnx` file, its spec beside it with suffix `.json`.
    size: (height, width), needed only where the graph leaves it free.
    threads: intra-op threads; None leaves the choice to ONNX Runtime (all cores).
    """

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec_of("step", path, size)
        self._session: onnxruntime.InferenceSession | None = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def new_cache(self, batch: int = 1) -> OnnxCache:
        """Preallocate and bind the memory of `batch` streams."""
        return OnnxCache(still_open(self._session, self._spec), self._spec, batch)

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run one frame of each stream; see `engines.session.Session.step`."""
        assert isinstance(cache, OnnxCache)
        graph, memory = still_open(self._session, self._spec), cache.memory
        cache.plan(plans)
        try:
            graph.run_with_iobinding(cache.binding)
        except RUN_ERRORS as error:
            raise StepError(f"onnxruntime failed in a step of {self._spec.name}: {error}") from error
        cache.write(plans)
        return memory.depth

    def close(self) -> None:
        """Free the graph, once the last cache is closed too."""
        self._session = None


class OnnxWindowSession(Closing):
    """Whole windows on ONNX Runtime. See `engines.session.WindowSession` and `OnnxSession` for the arguments."""

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec_of("window", path, size)
        self._session: onnxruntime.InferenceSession | None = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]."""
        graph = still_open(self._session, self._spec)
        try:
            depth: NDArray[np.float32] = graph.run(["depth"], {"images": images})[0]
        except RUN_ERRORS as error:
            raise StepError(f"onnxruntime failed in a window of {self._spec.name}: {error}") from error
        return depth

    def close(self) -> None:
        """Free the graph."""
        self._session = None


def load_spec(path: Path, size: tuple[int, int] | None) -> ModelSpec:
    """The spec beside an `.onnx` file, checked to describe that file. Raises SpecError."""
    if not path.is_file():
        raise SpecError(f"no model at {path}: export one with `depthcast export`")
    spec = ModelSpec.load(path.with_suffix(".json"))
    if spec.onnx_sha256 != sha256_of(path):
        raise SpecError(f"{path.name} is not the file its spec was written for: export the model again")
    return spec.at(*(size or spec.size))


def load_spec_of(kind: Kind, path: Path, size: tuple[int, int] | None) -> ModelSpec:
    """As `load_spec`, of a graph of this kind. Raises SpecError for another."""
    spec = load_spec(path, size)
    spec.require(kind, f"{path.name} is a")
    return spec


def load_graph(path: Path, spec: ModelSpec, threads: int | None) -> onnxruntime.InferenceSession:
    """Compile a graph for the CPU at the spec's size. Raises EngineError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    # Threads that wait for the next step by spinning take the cores from decoders, encoders and other streams.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    for name, value in free_dimensions(spec).items():
        options.add_free_dimension_override_by_name(name, value)
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except LOAD_ERRORS as error:
        raise EngineError(f"onnxruntime cannot load {path.name}: {error}; export the model again") from error


def free_dimensions(spec: ModelSpec) -> dict[str, Any]:
    """Values of the named dimensions a free-size graph leaves open: height, width and cells of each stride."""
    height, width = spec.size
    cells = {f"cells_{cache.stride}": cache.cells(height, width) for cache in spec.caches}
    return {"height": height, "width": width, **cells}

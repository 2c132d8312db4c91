"""ONNX Runtime on the CPU. Everything a step reads or writes is bound once, when a stream's memory is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from engines.errors import EngineError, SpecError, StepError
from engines.session import Cache, Image, StepPlan
from engines.spec import ModelSpec, sha256_of

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


class OnnxCache:
    """The memory of B streams in host arrays that are bound to the graph for good."""

    def __init__(self, session: onnxruntime.InferenceSession, spec: ModelSpec, batch: int) -> None:
        height, width = spec.size
        slots = spec.window.slots
        self._image: Image = np.zeros(spec.image_shape(batch), spec.pixels)
        self.positions = np.zeros((batch, slots + 1), np.int64)
        self.mask = np.zeros((batch, slots + 1), np.float32)
        self.depth = np.zeros((batch, *spec.map_size), np.float32)
        shapes = [(cache.cells(height, width), cache.channels) for cache in spec.caches]
        dtype = np.float16 if spec.precision == "fp16" else np.float32
        self.caches = [np.zeros((batch, cells, slots, channels), dtype) for cells, channels in shapes]
        self.features = [np.zeros((batch, cells, channels), dtype) for cells, channels in shapes]
        self.binding = session.io_binding()
        inputs: dict[str, NDArray[Any]] = {"image": self._image, "positions": self.positions, "mask": self.mask}
        inputs |= {cache.name: array for cache, array in zip(spec.caches, self.caches, strict=True)}
        outputs: dict[str, NDArray[Any]] = {"depth": self.depth}
        outputs |= {cache.feature: array for cache, array in zip(spec.caches, self.features, strict=True)}
        for name, array in inputs.items():
            self.binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for name, array in outputs.items():
            self.binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)

    @property
    def image(self) -> Image:
        """To be filled before each step."""
        return self._image

    def clear(self) -> None:
        """Zero all cached features."""
        for array in self.caches:
            array.fill(0.0)

    def plan(self, plans: Sequence[StepPlan | None]) -> None:
        """Set positions and masks; a row without a plan sees only its own frame."""
        for row, plan in enumerate(plans):
            if plan is None:
                self.positions[row], self.mask[row] = 0, 0.0
                self.mask[row, -1] = 1.0
            else:
                self.positions[row], self.mask[row] = plan.positions, plan.mask

    def write(self, plans: Sequence[StepPlan | None]) -> None:
        """Put the new features into their slots; nothing else moves."""
        for row, plan in enumerate(plans):
            if plan is not None:
                for cache, feature in zip(self.caches, self.features, strict=True):
                    cache[row][:, plan.write] = feature[row][:, None]


class OnnxSession:
    """A streaming step on ONNX Runtime. See `engines.session.Session`.

    path: the `.onnx` file, its spec beside it with suffix `.json`.
    size: (height, width), needed only where the graph leaves it free.
    threads: intra-op threads; None leaves the choice to ONNX Runtime (all cores).
    """

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec(path, size)
        if self._spec.kind != "step":
            raise SpecError(f"{path.name} is a {self._spec.kind} graph, a stream needs a step graph")
        self._session = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def new_cache(self, batch: int = 1) -> OnnxCache:
        """Preallocate and bind the memory of `batch` streams."""
        return OnnxCache(self._session, self._spec, batch)

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run one frame of each stream; see `engines.session.Session.step`."""
        assert isinstance(cache, OnnxCache)
        if len(plans) != len(cache.image):
            raise ValueError(f"this cache holds {len(cache.image)} streams, got {len(plans)} plans")
        cache.plan(plans)
        try:
            self._session.run_with_iobinding(cache.binding)
        except RUN_ERRORS as error:
            raise StepError(f"onnxruntime failed in a step of {self._spec.name}: {error}") from error
        cache.write(plans)
        return cache.depth

    def close(self) -> None:
        """Free the graph."""
        del self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OnnxWindowSession:
    """Whole windows on ONNX Runtime. See `engines.session.WindowSession` and `OnnxSession` for the arguments."""

    def __init__(self, path: Path, size: tuple[int, int] | None = None, threads: int | None = None) -> None:
        self._spec = load_spec(path, size)
        if self._spec.kind != "window":
            raise SpecError(f"{path.name} is a {self._spec.kind} graph, offline mode needs a window graph")
        self._session = load_graph(path, self._spec, threads)

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its size fixed."""
        return self._spec

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]."""
        try:
            depth: NDArray[np.float32] = self._session.run(["depth"], {"images": images})[0]
        except RUN_ERRORS as error:
            raise StepError(f"onnxruntime failed in a window of {self._spec.name}: {error}") from error
        return depth

    def close(self) -> None:
        """Free the graph."""
        del self._session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load_spec(path: Path, size: tuple[int, int] | None) -> ModelSpec:
    """The spec beside an `.onnx` file, checked to describe that file. Raises SpecError."""
    if not path.is_file():
        raise SpecError(f"no model at {path}: export one with `depthcast export`")
    spec = ModelSpec.load(path.with_suffix(".json"))
    if spec.onnx_sha256 != sha256_of(path):
        raise SpecError(f"{path.name} is not the file its spec was written for: export the model again")
    return spec.at(*(size or spec.size))


def load_graph(path: Path, spec: ModelSpec, threads: int | None) -> onnxruntime.InferenceSession:
    """Compile a graph for the CPU at the spec's size. Raises EngineError."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
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

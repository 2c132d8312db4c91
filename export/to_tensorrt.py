"""ONNX to a TensorRT engine. Needs no GPU with TensorRT-RTX; where there is one, the engine is verified on it.

The precision is in the graph: engines are strongly typed. Torch is not needed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.backend import Backend, Complaints
from engines.compiled import ELEMENTS, Binding, TensorRtNetwork
from engines.device import Device
from engines.errors import EngineError
from engines.onnx import free_dimensions, load_spec
from engines.spec import ModelSpec
from engines.store import (
    BatchRange,
    BuildOptions,
    EngineFile,
    EngineKey,
    EngineRecord,
    EngineStore,
    Verification,
    write_whole,
)
from export.engine_check import engine_departure
from export.errors import BuildError, ParityError
from export.progress import Progress, Reports, monitor
from export.verify import FRAMES, LIMITS

Say = Callable[[str], None]
"""Told, in a line, what is being done that takes long."""


@dataclass(frozen=True, slots=True)
class Check:
    """How an engine is verified where there is a GPU. frames 0: not at all. limit None: that of the precision."""

    frames: int = FRAMES
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What to build: the graph of an `.onnx` file, its spec with the size fixed, for this back end and GPU or none."""

    onnx: Path
    spec: ModelSpec
    backend: Backend
    device: Device | None
    options: BuildOptions

    @property
    def key(self) -> EngineKey:
        """Under which the engine is kept."""
        height, width = self.spec.size
        device = self.device
        return EngineKey(
            model=self.spec.name,
            kind=self.spec.kind,
            onnx_sha256=self.spec.onnx_sha256,
            height=height,
            width=width,
            backend=self.backend.name,
            version=self.backend.version,
            gpu=device.name if device else "",
            capability="{}.{}".format(*device.capability) if device else "",
            options=self.options,
        )


@dataclass(frozen=True, slots=True)
class Built:
    """A serialised engine and what its network looked like before TensorRT optimised it."""

    engine: bytes
    layers: int
    bindings: tuple[Binding, ...]
    build_s: float


def request(
    onnx: Path,
    backend: Backend,
    device: Device | None,
    options: BuildOptions,
    size: tuple[int, int] | None = None,
) -> Request:
    """A request for an exported graph. size: (height, width), where the graph leaves it free. Raises SpecError."""
    return Request(onnx, load_spec(onnx, size), backend, device, options)


def ready_engine(
    wanted: Request, store: EngineStore, say: Say, check: Check | None = None, progress: Progress | None = None
) -> EngineFile:
    """The engine from the store where it is whole, verified again by loading it; otherwise built, with the reason said.

    Raises BuildError, ParityError (nothing is kept then), or EngineError where a fresh engine does not load.
    """
    found = store.find(wanted.key)
    if isinstance(found, EngineFile):
        reason = _does_not_load(found, wanted)
        if reason is None:
            return found
        store.discard(wanted.key)
    else:
        reason = found.reason
    height, width = wanted.spec.size
    say(f"building the engine of {wanted.spec.name} at {height}x{width} with {wanted.backend.label}: {reason}")
    built = build_engine(wanted, store.timing_cache(wanted.key), progress)
    verified, note = _verified(built, wanted, check or Check(), say)
    record = EngineRecord(
        key=wanted.key,
        engine_sha256=hashlib.sha256(built.engine).hexdigest(),
        engine_bytes=len(built.engine),
        layers=built.layers,
        build_s=round(built.build_s, 3),
        verified=verified,
        note=note,
    )
    return store.put(built.engine, wanted.spec, record)


def _does_not_load(found: EngineFile, wanted: Request) -> str | None:
    if wanted.device is None:
        return None
    try:
        TensorRtNetwork(found.path.read_bytes(), wanted.backend, wanted.device)
    except EngineError as error:
        return f"the one here does not load ({error})"
    return None


def build_engine(wanted: Request, timings: Path | None = None, progress: Progress | None = None) -> Built:
    """Parse and compile. timings: file of TensorRT's timing cache. Raises BuildError."""
    trt, complaints = wanted.backend.trt, Complaints(wanted.backend.trt)
    started = time.monotonic()
    builder = trt.Builder(complaints.sink)
    network = builder.create_network(_network_flags(trt))
    parse(wanted, network, complaints)
    config = builder.create_builder_config()
    _configure(config, wanted)
    profile = builder.create_optimization_profile()
    if fix_shapes(network, profile, wanted.spec, wanted.options.batch):
        config.add_optimization_profile(profile)
    keep_timings = _load_timings(config, wanted, timings)
    reports, _listener = _report_progress(config, trt, progress)
    # Afterwards TensorRT may have taken the network apart.
    layers, bindings = network.num_layers, network_bindings(network)
    serialised = builder.build_serialized_network(network, config)
    if reports and reports.interrupted:
        raise KeyboardInterrupt
    if serialised is None:
        raise BuildError(f"{wanted.backend.label} cannot build {wanted.onnx.name}: {complaints.take()}")
    keep_timings()
    return Built(bytes(memoryview(serialised)), layers, bindings, time.monotonic() - started)


def _network_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    # TensorRT 8.6 has no strong typing, and a batch of its own unless told otherwise.
    return 1 << int(flags.STRONGLY_TYPED if hasattr(flags, "STRONGLY_TYPED") else flags.EXPLICIT_BATCH)


def parse(wanted: Request, network: Any, complaints: Complaints) -> None:
    """Read the graph into a network definition. Raises BuildError with all that the parser objects to."""
    parser = wanted.backend.trt.OnnxParser(network, complaints.sink)
    if parser.parse_from_file(str(wanted.onnx)):
        return
    errors = [_objection(parser.get_error(index)) for index in range(parser.num_errors)]
    raise BuildError(
        f"{wanted.backend.label} cannot read {wanted.onnx.name}: {'; '.join(errors) or complaints.take()}; "
        "export the network again, or use --engine onnx"
    )


def _objection(error: Any) -> str:
    where = f"{error.node_operator()} {error.node_name()}: " if hasattr(error, "node_name") else ""
    return f"{where}{error.desc().strip()}"


def _configure(config: Any, wanted: Request) -> None:
    trt, options = wanted.backend.trt, wanted.options
    half = wanted.spec.precision == "fp16"
    if not hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and half:
        config.set_flag(trt.BuilderFlag.FP16)
    # TF32 keeps ten bits, as float16 does: enough beside float16, not for a graph that says float32.
    (config.set_flag if half else config.clear_flag)(trt.BuilderFlag.TF32)
    if options.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.level is not None:
        config.builder_optimization_level = options.level
    if options.targets:
        _set_targets(config, wanted)


def _set_targets(config: Any, wanted: Request) -> None:
    trt, targets = wanted.backend.trt, wanted.options.targets
    if not hasattr(config, "set_compute_capability"):
        raise BuildError(f"{wanted.backend.label} builds for the GPU it runs on: leave --target out")
    known = {name: value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        name = f"SM{target.replace('.', '')}"
        if name not in known:
            raise BuildError(f"{wanted.backend.label} builds for {', '.join(known)}, asked for {target}")
        config.set_compute_capability(known[name], index)


def fix_shapes(network: Any, profile: Any, spec: ModelSpec, batch: BatchRange) -> bool:
    """Set the named free dimensions to the spec's size, give a free batch its number, or its range: then it is True.

    Raises BuildError for a free dimension without a known name.
    """
    sizes = free_dimensions(spec)
    has_free_batch = False
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        names = [tensor.get_dimension_name(axis) for axis in range(len(tensor.shape))]
        shape = [sizes.get(name, side) if side < 0 else side for side, name in zip(tensor.shape, names, strict=True)]
        if -1 in shape[1:] or (-1 in shape and spec.kind != "step"):
            raise BuildError(f"{tensor.name} of {spec.name} has a free dimension that nothing sets: {list(names)}")
        if shape[0] < 0 and batch.smallest == batch.largest:
            shape[0] = batch.largest
        tensor.shape = tuple(shape)
        if shape[0] < 0:
            has_free_batch = True
            ranges = [(count, *shape[1:]) for count in (batch.smallest, batch.typical, batch.largest)]
            profile.set_shape(tensor.name, *ranges)
    return has_free_batch


def network_bindings(network: Any) -> tuple[Binding, ...]:
    """Inputs and outputs of a network definition."""
    inputs = [(network.get_input(index), True) for index in range(network.num_inputs)]
    outputs = [(network.get_output(index), False) for index in range(network.num_outputs)]
    return tuple(
        Binding(tensor.name, is_input, ELEMENTS[tensor.dtype.name], tuple(int(side) for side in tensor.shape))
        for tensor, is_input in inputs + outputs
    )


def _report_progress(config: Any, trt: Any, progress: Progress | None) -> tuple[Reports | None, Any]:
    if progress is None or not hasattr(trt, "IProgressMonitor"):  # TensorRT 8.6 is silent
        return None, None
    reports, listener = monitor(trt, progress)
    config.progress_monitor = listener
    return reports, listener


def _load_timings(config: Any, wanted: Request, path: Path | None) -> Callable[[], None]:
    """Give the build what earlier ones have measured; the function returned keeps what this one adds."""
    if path is None or wanted.backend.name == "tensorrt_rtx":  # which measures nothing while it builds
        return lambda: None
    earlier = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(earlier) or config.create_timing_cache(b"")
    config.set_timing_cache(cache, False)

    def keep() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, bytes(memoryview(config.get_timing_cache().serialize())))

    return keep


def _verified(built: Built, wanted: Request, check: Check, say: Say) -> tuple[Verification | None, str]:
    """How the engine compares with its graph, or None and why that is not known."""
    if wanted.device is None:
        return None, "not verified: built without a GPU"
    if not check.frames:
        return None, "not verified: not asked for"
    spec = wanted.spec
    say(f"verifying it over {check.frames} frames against ONNX Runtime")
    network = TensorRtNetwork(built.engine, wanted.backend, wanted.device)
    limit = LIMITS[spec.precision] if check.limit is None else check.limit
    found = engine_departure(network, spec, wanted.onnx, wanted.device, check.frames)
    if not found.relative <= limit:  # a NaN is not
        raise ParityError(
            f"the engine of {spec.name} departs from its ONNX graph by {found.relative:.2e} of the mean depth "
            f"(limit {limit:.0e}) within {found.frames} frames and was not kept: build from an fp32 graph, or state "
            "another limit with --parity-limit"
        )
    return Verification(found.frames, found.relative, found.largest, limit), ""

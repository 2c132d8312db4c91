"""What is here: packages, processor, GPU, models, engines; and which engine would run each model."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import onnxruntime

from depthcast.errors import DepthcastError
from depthcast.gpu import Accelerator, Gpu, first_gpu
from depthcast.models import MODELS, PACKAGED_NANO, Model
from depthcast.plan import THIS_MACHINE, Machine, Wanted, plan, size_text
from depthcast.settings import Settings
from engines.errors import EngineError, EngineUnavailable
from engines.store import EngineFile, EngineKey, EngineStore, read_record, record_path
from stream.errors import StreamError

PACKAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("numpy", ("numpy",)),
    ("av", ("av",)),
    ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
    ("openvino", ("openvino",)),
    ("torch", ("torch",)),
    ("onnx", ("onnx",)),
    ("tensorrt", ("tensorrt",)),
    ("tensorrt_rtx", ("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings", "tensorrt-rtx")),
    ("cuda-python", ("cuda-bindings", "cuda-python")),
)
"""Names that people know, and the distributions that bring them."""
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16")
FRAME = (1080, 1920)


@dataclass(frozen=True, slots=True)
class Package:
    """version: None where it is not installed."""

    name: str
    version: str | None


@dataclass(frozen=True, slots=True)
class Processor:
    """cores: those that this process may use. flags: of the instructions that matter here, those that it has."""

    model: str
    cores: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model: what of it is here, and which engine would run it on frames of `frame`.

    engine: None where nothing can run it yet, and `why` says what to do first. why_not: why not the fastest engine.
    """

    model: str
    checkpoint: str | None
    networks: tuple[str, ...]
    frame: str
    engine: str | None
    why: str
    why_not: str


@dataclass(frozen=True, slots=True)
class EngineState:
    """A built engine, and whether a run would take it. why: it would not; empty where it would."""

    path: str
    accepted: bool
    why: str


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything. gpu: None where there is none, and `gpu_why` says so; tensorrt: why it cannot run, or its version."""

    python: str
    system: str
    packages: tuple[Package, ...]
    providers: tuple[str, ...]
    processor: Processor
    gpu: Gpu | None
    gpu_why: str
    tensorrt: str
    home: str
    home_is_usable: bool
    models: tuple[ModelState, ...]
    engines: tuple[EngineState, ...]


def diagnose(settings: Settings, machine: Machine = THIS_MACHINE) -> Diagnosis:
    """Look at everything; nothing that is missing or broken is an error."""
    there = _accelerator(machine)
    gpu = _gpu()
    return Diagnosis(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        packages=tuple(_package(name, distributions) for name, distributions in PACKAGES),
        providers=tuple(onnxruntime.get_available_providers()),
        processor=processor(Path("/proc/cpuinfo")),
        gpu=gpu if isinstance(gpu, Gpu) else None,
        gpu_why="" if isinstance(gpu, Gpu) else gpu,
        tensorrt=there if isinstance(there, str) else f"{there.backend.label}: {there.why}",
        home=str(settings.home),
        home_is_usable=settings.home_is_usable(),
        models=tuple(_model(model, settings, machine) for model in MODELS),
        engines=tuple(_engines(settings, there)),
    )


def _accelerator(machine: Machine) -> Accelerator | str:
    try:
        return machine.accelerator()
    except EngineError as error:
        return str(error)


def _gpu() -> Gpu | str:
    try:
        return first_gpu()
    except EngineUnavailable as error:
        return str(error)


def _package(name: str, distributions: tuple[str, ...]) -> Package:
    for distribution in distributions:
        try:
            return Package(name, version(distribution))
        except PackageNotFoundError:
            continue
    return Package(name, None)


def processor(listing: Path) -> Processor:
    """Of this machine, as Linux lists it; what is not listed is left out."""
    text = listing.read_text() if listing.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    listed = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(listed[1].split()) if listed else set()
    return Processor(
        model=model[1] if model else platform.processor() or "unknown",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        flags=tuple(flag for flag in FLAGS if flag in has),
    )


def _model(model: Model, settings: Settings, machine: Machine) -> ModelState:
    networks = _networks(model, settings)
    checkpoint = None if model.weights is None else model.weights.path(settings)
    state = ModelState(
        model=model.options,
        checkpoint=str(checkpoint) if checkpoint is not None and checkpoint.exists() else None,
        networks=networks,
        frame=size_text(FRAME),
        engine=None,
        why="",
        why_not="",
    )
    tried = [_planned(state, Wanted(model), FRAME, settings, machine)]
    for height, width in _step_sizes(networks):
        if tried[-1].engine is not None:
            break
        tried.append(_planned(state, Wanted(model, input_size=min(height, width)), (height, width), settings, machine))
    return next((found for found in tried if found.engine is not None), tried[0])


def _planned(
    state: ModelState, wanted: Wanted, frame: tuple[int, int], settings: Settings, machine: Machine
) -> ModelState:
    try:
        route = plan(wanted, *frame, settings, machine)
    except (DepthcastError, EngineError, StreamError) as error:
        return replace(state, frame=size_text(frame), why=str(error))
    return replace(state, frame=size_text(frame), engine=route.engine.value, why=route.why, why_not=route.why_not)


def _networks(model: Model, settings: Settings) -> tuple[str, ...]:
    if model.weights is None:
        return (PACKAGED_NANO.name,) if PACKAGED_NANO.exists() else ()
    return tuple(sorted(path.name for path in settings.networks.glob(f"{model.label}-[!M]*.onnx")))


def _step_sizes(networks: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for name in networks:
        if found := re.search(r"-step-(\d+)x(\d+)", name):
            yield int(found[1]), int(found[2])


def _engines(settings: Settings, there: Accelerator | str) -> Iterator[EngineState]:
    store = EngineStore(settings.engines)
    for path in sorted(settings.engines.glob("*.engine")):
        why = _refusal(path, store, there)
        yield EngineState(str(path), not why, why)


def _refusal(path: Path, store: EngineStore, there: Accelerator | str) -> str:
    """Why a run would not take an engine; empty where it would."""
    try:
        key = read_record(record_path(path)).key
    except (FileNotFoundError, ValueError) as error:
        return f"it was not written to its end ({error})"
    found = store.find(key)
    if not isinstance(found, EngineFile):
        return found.reason
    if isinstance(there, str):
        return f"nothing here can run it: {there}"
    needed = _key_here(key, there)
    other = store.find(needed)
    return "" if needed == key or isinstance(other, EngineFile) else other.reason


def _key_here(key: EngineKey, there: Accelerator) -> EngineKey:
    return replace(
        key,
        backend=there.backend.name,
        version=there.backend.version,
        gpu=there.device.name,
        capability="{}.{}".format(*there.device.capability),
    )

"""Builds engines and finds those built before. TensorRT and the door to `export` open only when called for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from depthcast.errors import ModelError, UsageError
from depthcast.exports import Form, Progress, Say, export_network, require_ready
from depthcast.gpu import Accelerator, Workshop
from depthcast.models import NANO, PACKAGED_NANO
from depthcast.plan import (
    THIS_MACHINE,
    Machine,
    Mode,
    Precision,
    Wanted,
    is_stored,
    official_spec,
    size_text,
    stored_network,
)
from depthcast.settings import Settings
from engines.onnx import load_spec
from engines.spec import ModelSpec
from engines.store import BuildOptions, EngineFile, EngineKey, EngineStore, read_record, record_path
from stream.preprocess import network_size


@dataclass(frozen=True, slots=True)
class Plan:
    """An engine that is asked for. limit: of its parity check; None: that of the precision."""

    wanted: Wanted
    size: tuple[int, int]
    options: BuildOptions
    limit: float | None = None


def size_to_build(wanted: Wanted, size: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) asked for, or the model's default: a square. Raises SpecError for one that it does not take."""
    spec = _spec_of(wanted)
    if size is None:
        return network_size(spec, spec.input_size, spec.input_size)
    return spec.at(*size).size


def build(
    asked: Plan,
    settings: Settings,
    workshop: Workshop,
    say: Say,
    progress: Progress | None = None,
    machine: Machine = THIS_MACHINE,
) -> EngineFile:
    """The engine from the store, or built, its network exported first where that is needed.

    Raises ModelError, UsageError or EngineError.
    """
    with settings.using_home():
        network = _network(asked, settings, say, progress, machine)
        say(f"{size_text(asked.size)} with {workshop.backend.label}: {workshop.why}")
        return _make(network, asked.size, asked.options, asked.limit, workshop, settings.engines, say, progress)


def engine_of(
    network: Path,
    size: tuple[int, int],
    accelerator: Accelerator,
    folder: Path,
    say: Say,
    progress: Progress | None = None,
) -> EngineFile:
    """An engine that steps one stream of a network, whatever other options it was built with; else one is built."""
    from export.to_tensorrt import request

    key = request(network, accelerator.backend, accelerator.device, BuildOptions(), size).key
    options = next((other.options for other in built(folder) if _serves(other, key)), BuildOptions())
    bench = Workshop(accelerator.backend, accelerator.device, accelerator.why)
    return _make(network, size, options, None, bench, folder, say, progress)


def has_engine(network: Path, size: tuple[int, int], accelerator: Accelerator, folder: Path) -> bool:
    """`engine_of` would find one, and needs not build it."""
    from export.to_tensorrt import request

    key = request(network, accelerator.backend, accelerator.device, BuildOptions(), size).key
    return any(_serves(other, key) for other in built(folder))


def built(folder: Path) -> list[EngineKey]:
    """What the engines of a folder were built from, the newest first; those with unreadable records are left out."""
    keys = []
    for path in sorted(folder.glob("*.build.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            keys.append(read_record(path).key)
        except ValueError:
            continue
    return keys


def _serves(other: EngineKey, key: EngineKey) -> bool:
    return replace(other, options=key.options) == key and other.options.batch.smallest == 1


def keep_copy(engine: EngineFile, out: Path) -> EngineFile:
    """The engine's three files beside each other under another name."""
    shutil.copyfile(engine.path.with_suffix(".json"), out.with_suffix(".json"))
    shutil.copyfile(record_path(engine.path), record_path(out))
    shutil.copyfile(engine.path, out)
    return EngineFile(out, engine.record)


def _spec_of(wanted: Wanted) -> ModelSpec:
    """Of the graph that is there, or would be exported."""
    if wanted.checkpoint is not None and wanted.checkpoint.suffix == ".onnx":
        return ModelSpec.load(wanted.checkpoint.with_suffix(".json"))
    if wanted.model.name == NANO:
        return ModelSpec.load(PACKAGED_NANO.with_suffix(".json"))
    return official_spec(wanted.model)


def _network(asked: Plan, settings: Settings, say: Say, progress: Progress | None, machine: Machine) -> Path:
    wanted = asked.wanted
    own = wanted.checkpoint
    if own is None and wanted.model.name == NANO:
        return _checked(asked, PACKAGED_NANO)
    if own is not None and own.suffix == ".onnx":
        return _checked(asked, own)
    if wanted.model.name == NANO:
        raise UsageError("--checkpoint needs to know the network: build VDA-Small, VDA-Base or VDA-Large with it")
    many = asked.options.batch.largest > 1
    if many and wanted.mode is Mode.OFFLINE:
        raise UsageError("--batch is for streaming networks: use --mode stream")
    if own is not None and not own.is_file():
        raise ModelError(f"there is no checkpoint at {own}")
    precise = wanted if wanted.precision is Precision.FP32 else replace(wanted, precision=Precision.FP16)
    form = Form(batch=None if many else 1, parity_limit=asked.limit)
    network = stored_network(precise, asked.size, settings, form.batch)
    if not is_stored(network):
        checkpoint = require_ready(precise, settings, machine)
        export_network(precise, checkpoint, network, asked.size, say, form, progress)
    return network


def _checked(asked: Plan, network: Path) -> Path:
    """A graph that is there decides its kind, precision and batch; UsageError where they were asked otherwise."""
    spec, wanted = load_spec(network, asked.size), asked.wanted
    if wanted.precision not in (Precision.AUTO, spec.precision):
        raise UsageError(f"{network.name} is an {spec.precision} network: leave --precision out")
    if wanted.mode is Mode.OFFLINE and spec.kind != "window":
        raise UsageError(f"{network.name} is a streaming network: leave --mode offline out")
    if spec.batch not in (None, asked.options.batch.largest) and spec.kind == "step":
        raise UsageError(f"{network.name} steps {spec.batch} streams a call: use --batch {spec.batch}")
    return network


def _make(
    network: Path,
    size: tuple[int, int],
    options: BuildOptions,
    limit: float | None,
    workshop: Workshop,
    folder: Path,
    say: Say,
    progress: Progress | None,
) -> EngineFile:
    from export.errors import ExportError
    from export.to_tensorrt import Check, ready_engine, request

    try:
        wanted = request(network, workshop.backend, workshop.device, options, size)
        return ready_engine(wanted, EngineStore(folder), say, Check(limit=limit), progress)
    except ExportError as error:
        raise ModelError(str(error)) from error

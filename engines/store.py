"""Where built engines are kept, under what they were built from. What does not fit, or is damaged, is built again.

An engine is three files: `x.engine`, its spec `x.json`, and `x.build.json`, written last, which records what it was
built from and with, its hash, and how it was verified.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engines.errors import SpecError
from engines.spec import ModelSpec

FORMAT = 1


@dataclass(frozen=True, slots=True)
class BatchRange:
    """Streams that step together: the smallest and largest number, and the one to be fastest at."""

    smallest: int = 1
    typical: int = 1
    largest: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.smallest <= self.typical <= self.largest:
            raise ValueError(f"a batch range rises from 1 up, got {self.smallest}, {self.typical}, {self.largest}")


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What may be chosen about a build.

    batch: used where the graph leaves the batch free; otherwise the graph decides.
    workspace_mb: most memory a layer's tactic may take, megabytes; None: the whole device.
    level: how long to look for fast kernels, 0..5; None: TensorRT's default.
    targets: compute capabilities ("8.9") to build for, TensorRT-RTX only; empty: as the back end thinks best.
    """

    batch: BatchRange = BatchRange()
    workspace_mb: int | None = None
    level: int | None = None
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineKey:
    """Everything that an engine depends on.

    gpu: name of the GPU; empty where it was built without one. capability: of that GPU ("9.0").
    """

    model: str
    kind: str
    onnx_sha256: str
    height: int
    width: int
    backend: str
    version: str
    gpu: str
    capability: str
    options: BuildOptions

    @property
    def stem(self) -> str:
        """Name of its files, without suffix."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.model}-{self.kind}-{self.height}x{self.width}-{digest[:16]}"


@dataclass(frozen=True, slots=True)
class Verification:
    """A comparison of the engine with its ONNX graph; see `export.verify.Departure`."""

    frames: int
    relative: float
    largest: float
    limit: float


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """What is known of a built engine. verified: None where it could not be run, and `note` says why."""

    key: EngineKey
    engine_sha256: str
    engine_bytes: int
    layers: int
    build_s: float
    verified: Verification | None
    note: str


@dataclass(frozen=True, slots=True)
class EngineFile:
    """An engine that was found whole."""

    path: Path
    record: EngineRecord


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no engine to use; `reason` is for people and completes "building the engine: …"."""

    reason: str


class EngineStore:
    """A folder of engines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: EngineKey) -> Path:
        """Where the engine of this key lies, or would lie."""
        return self._folder / f"{key.stem}.engine"

    def timing_cache(self, key: EngineKey) -> Path:
        """Timings of kernels, shared by all engines of one back end, version and GPU."""
        who = hashlib.sha256(f"{key.backend} {key.version} {key.gpu} {key.capability}".encode()).hexdigest()[:16]
        return self._folder / f"timings-{who}.bin"

    def find(self, key: EngineKey) -> EngineFile | Missing:
        """The engine for a key, or why it must be built."""
        path = self.path(key)
        if not path.exists():
            return Missing(self._why_absent(key))
        try:
            record = read_record(record_path(path))
            ModelSpec.load(path.with_suffix(".json"))
        except (FileNotFoundError, SpecError) as error:
            return Missing(f"the one here was not written to its end ({error})")
        except ValueError as error:
            return Missing(f"the record of the one here cannot be read ({error})")
        if record.key != key:
            return Missing("the one here was recorded for something else")
        damage = _damage(path, record)
        return Missing(damage) if damage else EngineFile(path, record)

    def put(self, engine: bytes, spec: ModelSpec, record: EngineRecord) -> EngineFile:
        """Keep an engine; a reader sees all of it or none."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self.path(record.key)
        record_path(path).unlink(missing_ok=True)
        write_whole(path, engine)
        sidecar = path.with_suffix(".json.part")
        spec.save(sidecar)
        sidecar.replace(path.with_suffix(".json"))
        write_whole(record_path(path), record_text(record).encode())
        return EngineFile(path, record)

    def discard(self, key: EngineKey) -> None:
        """Remove an engine that turned out not to work."""
        path = self.path(key)
        for file in (record_path(path), path.with_suffix(".json"), path):
            file.unlink(missing_ok=True)

    def _why_absent(self, key: EngineKey) -> str:
        """Compares with what was built before for the same network."""
        reasons = [_difference(other, key) for other in self._keys() if _same_network(other, key)]
        # The nearest relative tells most: the one that differs latest in the order of comparison.
        return max(reasons, default=(0, "there is none for this network and size yet"))[1]

    def _keys(self) -> Iterator[EngineKey]:
        for path in sorted(self._folder.glob("*.build.json")):
            try:
                yield read_record(path).key
            except (FileNotFoundError, ValueError):
                continue


def _same_network(other: EngineKey, key: EngineKey) -> bool:
    return (other.model, other.kind, other.height, other.width) == (key.model, key.kind, key.height, key.width)


def _difference(other: EngineKey, key: EngineKey) -> tuple[int, str]:
    """Rank and text of what first tells two keys apart."""
    if other.onnx_sha256 != key.onnx_sha256:
        return 1, "the network was exported again since"
    if other.backend != key.backend:
        return 2, f"the one here is for {other.backend}, needed is {key.backend}"
    if (other.gpu, other.capability) != (key.gpu, key.capability):
        return 3, f"the one here is for {_gpu(other)}, needed is {_gpu(key)}"
    if other.version != key.version:
        return 4, f"the one here was built by version {other.version}, installed is {key.version}"
    return 5, "the one here was built with other options"


def _gpu(key: EngineKey) -> str:
    return f"{key.gpu} ({key.capability})" if key.gpu else "no particular GPU"


def _damage(path: Path, record: EngineRecord) -> str | None:
    size = path.stat().st_size
    if size != record.engine_bytes:
        return f"the one here is truncated: {size} of {record.engine_bytes} bytes"
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != record.engine_sha256:
            return "the one here is corrupt: it is not the file that was built"
    return None


def record_path(engine: Path) -> Path:
    """The record beside an engine file."""
    return engine.with_suffix(".build.json")


def record_text(record: EngineRecord) -> str:
    """A record as JSON."""
    return json.dumps({"format": FORMAT, **asdict(record)}, indent=1, ensure_ascii=False) + "\n"


def read_record(path: Path) -> EngineRecord:
    """Raises FileNotFoundError, or ValueError for a record that cannot be read."""
    fields = json.loads(path.read_text())
    try:
        if fields.pop("format") != FORMAT:
            raise ValueError(f"this version reads format {FORMAT}")
        verified = fields.pop("verified")
        return EngineRecord(
            key=_read_key(fields.pop("key")), verified=Verification(**verified) if verified else None, **fields
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record of an engine: {error}") from error


def _read_key(fields: dict[str, Any]) -> EngineKey:
    options = fields.pop("options")
    batch, targets = BatchRange(**options.pop("batch")), tuple(options.pop("targets"))
    return EngineKey(options=BuildOptions(batch=batch, targets=targets, **options), **fields)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is never seen half written."""
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

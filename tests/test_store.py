"""The engine store: what is found, and every reason why an engine must be built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engines.spec import ModelSpec
from engines.store import (
    BatchRange,
    BuildOptions,
    EngineFile,
    EngineKey,
    EngineRecord,
    EngineStore,
    Missing,
    Verification,
    read_record,
    record_path,
)
from tests.toy_engine import spec_of

KEY = EngineKey(
    model="Toy",
    kind="step",
    onnx_sha256="a" * 64,
    height=14,
    width=28,
    backend="tensorrt",
    version="10.9.0",
    gpu="NVIDIA H200",
    capability="9.0",
    options=BuildOptions(BatchRange(1, 4, 16), workspace_mb=4096, level=4, targets=("8.6", "8.9")),
)
ENGINE = b"engine" * 100


def record_of(engine: bytes, key: EngineKey = KEY) -> EngineRecord:
    verified = Verification(60, 2e-3, 0.1, 1e-2)
    return EngineRecord(key, hashlib.sha256(engine).hexdigest(), len(engine), 700, 12.5, verified, "")


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    """A store that holds one engine."""
    filled = EngineStore(tmp_path / "engines")
    filled.put(ENGINE, spec_of(), record_of(ENGINE))
    return filled


def reason(store: EngineStore, key: EngineKey = KEY) -> str:
    found = store.find(key)
    assert isinstance(found, Missing)
    return found.reason


def test_an_engine_is_found_again_with_its_spec_and_record(store: EngineStore) -> None:
    found = store.find(KEY)
    assert found == EngineFile(store.path(KEY), record_of(ENGINE))
    assert found.path.read_bytes() == ENGINE
    assert ModelSpec.load(found.path.with_suffix(".json")) == spec_of()
    assert sorted(path.suffix for path in found.path.parent.iterdir()) == [".engine", ".json", ".json"]
    assert found.path.name.startswith("Toy-step-14x28-")


def test_an_empty_store_has_none(tmp_path: Path) -> None:
    assert reason(EngineStore(tmp_path / "no folder")) == "there is none for this network and size yet"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "Other"}, "there is none for this network and size yet"),
        ({"height": 28}, "there is none for this network and size yet"),
        ({"kind": "window"}, "there is none for this network and size yet"),
        ({"onnx_sha256": "b" * 64}, "the network was exported again since"),
        ({"backend": "tensorrt_rtx"}, "the one here is for tensorrt, needed is tensorrt_rtx"),
        ({"version": "10.10.0"}, "the one here was built by version 10.9.0, installed is 10.10.0"),
        (
            {"gpu": "NVIDIA L4", "capability": "8.9"},
            "the one here is for NVIDIA H200 (9.0), needed is NVIDIA L4 (8.9)",
        ),
        ({"gpu": "", "capability": ""}, "the one here is for NVIDIA H200 (9.0), needed is no particular GPU"),
        ({"options": BuildOptions()}, "the one here was built with other options"),
    ],
)
def test_what_does_not_fit_is_built_again_with_a_reason(
    store: EngineStore, change: dict[str, object], said: str
) -> None:
    assert reason(store, replace(KEY, **change)) == said  # type: ignore[arg-type]


def test_the_nearest_relative_gives_the_reason(store: EngineStore) -> None:
    newer = replace(KEY, version="10.10.0")
    foreign = replace(KEY, backend="tensorrt_rtx")
    store.put(ENGINE, spec_of(), record_of(ENGINE, foreign))
    assert reason(store, newer) == "the one here was built by version 10.9.0, installed is 10.10.0"


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_bytes(ENGINE[:-10]), "the one here is truncated: 590 of 600 bytes"),
        (lambda path: path.write_bytes(b""), "the one here is truncated: 0 of 600 bytes"),
        (
            lambda path: path.write_bytes(ENGINE[:-1] + b"?"),
            "the one here is corrupt: it is not the file that was built",
        ),
        (lambda path: record_path(path).unlink(), "was not written to its end"),
        (lambda path: path.with_suffix(".json").unlink(), "was not written to its end"),
        (lambda path: path.with_suffix(".json").write_text("{"), "was not written to its end"),
        (lambda path: record_path(path).write_text("{"), "record of the one here cannot be read"),
        (lambda path: record_path(path).write_text("[]"), "record of the one here cannot be read"),
        (lambda path: record_path(path).write_bytes(b"\xff\xfe"), "record of the one here cannot be read"),
        (lambda path: path.unlink(), "the one here was built with other options"),
    ],
)
def test_a_damaged_engine_is_built_again(store: EngineStore, harm: Callable[[Path], object], said: str) -> None:
    harm(store.path(KEY))
    assert said in reason(store)


@pytest.mark.parametrize(
    "change", [{"format": 2}, {"layers": None, "more": 1}, {"key": {}}, {"verified": {"frames": 1}}, {"key": 5}]
)
def test_a_record_of_another_make_cannot_be_read(store: EngineStore, change: dict[str, object]) -> None:
    path = record_path(store.path(KEY))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError):
        read_record(path)
    assert "cannot be read" in reason(store)


def test_a_record_that_was_moved_here_is_not_believed(store: EngineStore) -> None:
    path, other = store.path(KEY), replace(KEY, version="11.0")
    for suffix in (".engine", ".json", ".build.json"):
        path.with_suffix(suffix).rename(store.path(other).with_suffix(suffix))
    assert reason(store, other) == "the one here was recorded for something else"


def test_a_rebuild_takes_the_place_of_what_was_damaged(store: EngineStore) -> None:
    store.path(KEY).write_bytes(b"")
    store.put(ENGINE, spec_of(), record_of(ENGINE))
    assert isinstance(store.find(KEY), EngineFile)
    store.discard(KEY)
    assert list(store.path(KEY).parent.iterdir()) == []


def test_a_build_that_breaks_off_leaves_no_engine(store: EngineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.put(b"newer", spec_of(), record_of(b"newer"))
    monkeypatch.undo()
    assert "was not written to its end" in reason(store)
    assert not list(store.path(KEY).parent.glob("*.part"))


def test_timings_are_shared_by_engines_of_one_back_end_and_gpu(store: EngineStore) -> None:
    same = replace(KEY, onnx_sha256="b" * 64, options=BuildOptions())
    assert store.timing_cache(same) == store.timing_cache(KEY)
    assert store.timing_cache(replace(KEY, version="10.10.0")) != store.timing_cache(KEY)


@pytest.mark.parametrize("range_", [(0, 1, 1), (2, 1, 4), (1, 4, 2)])
def test_a_batch_range_rises(range_: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="rises from 1 up"):
        BatchRange(*range_)

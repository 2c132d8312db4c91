"""What a measurement was made on: a number without it says nothing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engines.backend import choose_backend, load_backend, load_device

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Conditions:
    """Machine, software and commit of a measurement.

    cores: usable by the process. load: one-minute average when it began, so that a busy machine shows.
    """

    date: str
    cpu: str
    cores: int
    load: float
    system: str
    python: str
    engine: str
    numpy: str
    commit: str


def conditions(engine: str) -> Conditions:
    """The conditions of a measurement that is made now, with `engine` onnx, torch or tensorrt."""
    return Conditions(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        cpu=_cpu(),
        cores=usable_cores(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        engine=_engine(engine),
        numpy=version("numpy"),
        commit=_commit(),
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_bytes() -> int:
    """Most memory this process has had at once so far (resident); 0 where the system does not tell."""
    return _status("VmHWM")


def memory_bytes() -> int:
    """Memory this process has now (resident); 0 where the system does not tell."""
    return _status("VmRSS")


def _status(field: str) -> int:
    listing = Path("/proc/self/status")
    lines = listing.read_text().splitlines() if listing.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """One JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


def _engine(engine: str) -> str:
    if engine == "tensorrt":
        return load_backend(choose_backend(load_device().capability).name).label
    package = "onnxruntime" if engine == "onnx" else engine
    return f"{package} {version(package)}"


def _cpu() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _commit() -> str:
    here = Path(__file__).parent
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"

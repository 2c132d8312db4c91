"""What crosses between host and device, counted by NVIDIA's profiler and not by us."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from export.to_tensorrt import Check
from tests.gpu.conftest import Machine

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]
KINDS = {1: "in", 2: "out"}
"""Of CUPTI's copy kinds those that cross; 8 is within the device."""


def copies(engine: Path, frames: int, folder: Path) -> Counter[str]:
    """Transfers of a whole run of so many frames."""
    report = folder / f"run{frames}.sqlite"
    profile = [
        "nsys",
        "profile",
        "--trace=cuda",
        "--cuda-graph-trace=node",
        "--export=sqlite",
        "--force-overwrite=true",
    ]
    run = [sys.executable, "-m", "tests.gpu.steps", str(engine), str(frames)]
    subprocess.run([*profile, "-o", str(report.with_suffix("")), *run], check=True, capture_output=True, cwd=ROOT)
    with closing(sqlite3.connect(report)) as tables:
        kinds = tables.execute("SELECT copyKind FROM CUPTI_ACTIVITY_KIND_MEMCPY").fetchall()
    return Counter(KINDS[kind] for (kind,) in kinds if kind in KINDS)


@pytest.mark.skipif(shutil.which("nsys") is None, reason="nsys, NVIDIA's profiler, is not on the path")
def test_a_frame_goes_in_and_a_map_comes_out_and_nothing_else(machine: Machine, tmp_path: Path) -> None:
    engine = machine.engine(machine.graph("VDA-Small", (70, 98)), Check(frames=0)).path
    few, many = copies(engine, 50, tmp_path), copies(engine, 80, tmp_path)
    assert many - few == Counter({"in": 30, "out": 30})

"""Graphs that tests of several files read, each exported once a test run: torch's exporter takes ten seconds for any.

Those of VDA-Small are not checked here: tests compare what they give with the goldens.
"""

from __future__ import annotations

from pathlib import Path

from engines.spec import Precision
from export.config import CONFIGS
from export.to_onnx import Parity, export_step, export_window
from tests.standin import TINY, checkpoint, tiny_checkpoint

SIZE = (70, 98)
QUICK, UNCHECKED = Parity(frames=2), Parity(frames=0)


def small_step(folder: Path, precision: Precision) -> Path:
    """The step of VDA-Small's stand-in at `SIZE`, for one stream."""
    path = folder / f"small-{precision}.onnx"
    export_step(
        CONFIGS["VDA-Small"], checkpoint("VDA-Small", folder), path, SIZE, precision=precision, parity=UNCHECKED
    )
    return path


def tiny_step(folder: Path) -> Path:
    """The step of the network in miniature at `SIZE`, for any number of streams."""
    path = folder / "tiny.onnx"
    export_step(TINY, tiny_checkpoint(folder), path, SIZE, batch=None, parity=QUICK)
    return path


def tiny_open_step(folder: Path) -> Path:
    """The step of the network in miniature in float16, 28 × 42: bytes in, maps of 20 × 30 out, for any batch."""
    path, weights = folder / "open.onnx", tiny_checkpoint(folder)
    to = (20, 30)
    export_step(
        TINY, weights, path, (28, 42), batch=None, precision="fp16", pixels="uint8", resized_to=to, parity=UNCHECKED
    )
    return path


def tiny_window(folder: Path) -> Path:
    """The window of the network in miniature in float16, 28 × 42."""
    path = folder / "window.onnx"
    export_window(TINY, tiny_checkpoint(folder), path, (28, 42), precision="fp16")
    return path

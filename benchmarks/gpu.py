"""Builds, verifies and measures engines on an NVIDIA GPU, and writes what it found to `results/`.

    python -m benchmarks.gpu --sizes 518x518 518x924 --batches 1 2 4 8 16

Speed does not depend on the values of the weights: without `--checkpoint` random ones serve. Each combination of size
and batch is a part; parts that no longer fit into `--budget` seconds are listed as left out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import RESULTS, conditions, write_result
from benchmarks.weights import random_checkpoint
from engines.backend import Backend, choose_backend, load_backend, load_device
from engines.device import Device
from engines.errors import EngineError
from engines.spec import Pixels, Precision
from engines.store import BatchRange, BuildOptions, EngineStore, Verification
from engines.tensorrt import TensorRtSession
from engines.window import FeatureWindow
from export.config import CONFIGS
from export.errors import ExportError
from export.to_onnx import Parity, export_step
from export.to_tensorrt import Check, ready_engine, request

WARM = 100
"""Frames before the clock starts: past the window's length, so that every slot has been recorded."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is measured, and on what."""

    model: str
    precision: Precision
    pixels: Pixels
    checkpoint: Path
    folder: Path
    seconds: float
    frames: int
    device: Device
    backend: Backend


@dataclass(frozen=True, slots=True)
class Part:
    """Result of one size and batch.

    step_*: one call of `step`, host to host, milliseconds. streams_fps: frames of all streams in a second with two
    in flight. Memory: of one stream, and of the engine's intermediate results, which all share.
    """

    size: str
    batch: int
    how: str
    build_s: float
    engine_bytes: int
    verified: Verification | None
    step_p50_ms: float
    step_p99_ms: float
    steps: int
    streams_fps: float
    stream_bytes: int
    scratch_bytes: int


def measure(setting: Setting, size: tuple[int, int], batch: int) -> Part:
    """Export, build, verify and time one size and batch."""
    options = BuildOptions(BatchRange(batch, batch, batch))
    wanted = request(exported(setting, size), setting.backend, setting.device, options)
    engine = ready_engine(wanted, EngineStore(setting.folder / "engines"), print, Check(frames=setting.frames))
    with TensorRtSession.open(engine.path, setting.backend, setting.device) as session:
        steps = step_times_ms(session, batch, setting.seconds)
        cache = session.new_cache(batch)
        return Part(
            size=f"{size[0]}x{size[1]}",
            batch=batch,
            how=cache.how,
            build_s=engine.record.build_s,
            engine_bytes=engine.record.engine_bytes,
            verified=engine.record.verified,
            step_p50_ms=float(np.percentile(steps, 50)),
            step_p99_ms=float(np.percentile(steps, 99)),
            steps=len(steps),
            streams_fps=throughput_fps(session, batch, setting.seconds),
            stream_bytes=cache.bytes_per_stream,
            scratch_bytes=session.scratch_bytes,
        )


def exported(setting: Setting, size: tuple[int, int]) -> Path:
    """The graph for any batch, from an earlier run where there is one."""
    path = setting.folder / f"{setting.model}-{setting.precision}-{setting.pixels}-{size[0]}x{size[1]}.onnx"
    if not path.with_suffix(".json").exists():
        print(f"exporting {path.name}")
        export_step(
            CONFIGS[setting.model],
            setting.checkpoint,
            path,
            size,
            batch=None,
            precision=setting.precision,
            pixels=setting.pixels,
            # The engine is compared with the graph; the graph with torch by the tests.
            parity=Parity(frames=0),
        )
    return path


def step_times_ms(session: TensorRtSession, batch: int, seconds: float) -> NDArray[np.float64]:
    """Duration of each step, one frame at a time."""
    cache, windows = session.new_cache(batch), [FeatureWindow(session.spec.window) for _ in range(batch)]
    times: list[float] = []

    def step() -> None:
        plans = [window.plan() for window in windows]
        begun = time.perf_counter()
        session.step(cache, plans)
        times.append((time.perf_counter() - begun) * 1e3)

    repeat(step, seconds)
    return np.array(times[WARM:])


def throughput_fps(session: TensorRtSession, batch: int, seconds: float) -> float:
    """Frames of all streams in a second, with two in flight."""
    cache, windows = session.new_cache(batch), [FeatureWindow(session.spec.window) for _ in range(batch)]
    session.submit(cache, [window.plan() for window in windows])
    ended: list[float] = []

    def step() -> None:
        session.submit(cache, [window.plan() for window in windows])
        session.collect(cache)
        ended.append(time.perf_counter())

    repeat(step, seconds)
    session.collect(cache)
    return batch * (len(ended) - WARM) / (ended[-1] - ended[WARM - 1])


def repeat(step: Callable[[], None], seconds: float) -> None:
    """Warm up, then go on for so many seconds."""
    for _ in range(WARM):
        step()
    end = time.perf_counter() + seconds
    while True:
        step()
        if time.perf_counter() >= end:
            return


def measure_all(
    setting: Setting, sizes: Sequence[tuple[int, int]], batches: Sequence[int], budget_s: float
) -> tuple[list[Part], list[str]]:
    """(parts, what was left out and why)."""
    end = time.monotonic() + budget_s
    longest, parts, left_out = 0.0, list[Part](), list[str]()
    for batch in batches:
        for height, width in sizes:
            name, begun = f"{height}x{width}, batch {batch}", time.monotonic()
            if begun + longest > end:
                left_out.append(f"{name}: no time left")
                continue
            try:
                parts.append(measure(setting, (height, width), batch))
                print(parts[-1])
            except (EngineError, ExportError) as error:
                left_out.append(f"{name}: {error}")
                print(left_out[-1])
            longest = max(longest, time.monotonic() - begun)
    return parts, left_out


def parse_size(text: str) -> tuple[int, int]:
    """ "518x924" to (518, 924)."""
    height, _, width = text.partition("x")
    return int(height), int(width)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description="Build, verify and measure TensorRT engines on this GPU.")
    parser.add_argument("--model", default="VDA-Small", choices=list(CONFIGS))
    parser.add_argument("--precision", default="fp16", choices=["fp16", "fp32"])
    parser.add_argument("--pixels", default="uint8", choices=["uint8", "float32"], help="what the graph takes")
    parser.add_argument("--sizes", nargs="+", type=parse_size, default=[(518, 518), (518, 924)])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--budget", type=float, default=3600.0, help="seconds for everything")
    parser.add_argument("--frames", type=int, default=60, help="of the comparison with ONNX Runtime; 0: none")
    parser.add_argument("--checkpoint", type=Path, help="official weights; default: random ones")
    parser.add_argument("--folder", type=Path, default=Path("build/gpu"), help="for networks and engines")
    return parser.parse_args()


def main() -> None:
    """Measure and write."""
    asked = arguments()
    asked.folder.mkdir(parents=True, exist_ok=True)
    device = load_device()
    choice = choose_backend(device.capability)
    backend = load_backend(choice.name)
    print(f"{device.name}: {backend.label}, {choice.why}")
    weights = asked.checkpoint or random_checkpoint(asked.model, asked.folder)
    setting = Setting(
        asked.model, asked.precision, asked.pixels, weights, asked.folder, asked.seconds, asked.frames, device, backend
    )
    parts, left_out = measure_all(setting, asked.sizes, asked.batches, asked.budget)
    result: dict[str, Any] = {
        "benchmark": "gpu",
        "model": asked.model,
        "precision": asked.precision,
        "pixels": asked.pixels,
        "weights": "official" if asked.checkpoint else "random",
        "gpu": device.name,
        "capability": "{}.{}".format(*device.capability),
        "memory_bytes": device.memory().total_bytes,
        "conditions": asdict(conditions("tensorrt")),
        "parts": [asdict(part) for part in parts],
        "left_out": left_out,
    }
    gpu = device.name.replace(" ", "-")
    write_result(RESULTS / f"gpu-{asked.model}-{asked.precision}-{gpu}.json", result)


if __name__ == "__main__":
    main()

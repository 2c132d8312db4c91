"""Latency of one streaming step of a network, nothing else: no decoding, no resizing, no encoding.

python -m benchmarks.step --model nano --size 256x448 --threads 2
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks.machine import Conditions, conditions, write_result
from depthcast.models import find
from depthcast.networks import open_step
from depthcast.plan import Engine, Wanted, plan, size_text
from depthcast.settings import Settings
from engines.session import Session
from stream.window import FeatureWindow

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class StepLatency:
    """Milliseconds of a step over `frames` steps, after `warm_up` more that are not counted."""

    benchmark: str
    model: str
    size: str
    engine: str
    threads: int | None
    batch: int
    warm_up: int
    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    conditions: Conditions


def main(
    model: Annotated[str, typer.Option(help="A name that `depthcast models` lists.")] = "nano",
    metric: Annotated[bool, typer.Option("--metric")] = False,
    checkpoint: Annotated[Path | None, typer.Option(help="Weights, or an exported .onnx file.")] = None,
    frame: Annotated[str, typer.Option(metavar="HxW", help="Size of the video's frames.")] = "1080x1920",
    input_size: Annotated[int | None, typer.Option(min=1)] = None,
    engine: Annotated[Engine, typer.Option()] = Engine.ONNX,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    warm_up: Annotated[int, typer.Option(min=0)] = 20,
    frames: Annotated[int, typer.Option(min=1)] = 200,
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print a line, and write JSON."""
    height, width = (int(side) for side in frame.split("x"))
    wanted = Wanted(find(model, metric), engine=engine, checkpoint=checkpoint, input_size=input_size, threads=threads)
    route = plan(wanted, height, width, Settings.from_environment())
    with open_step(route, wanted, typer.echo) as session:
        ms = measure(session, warm_up, frames)
    p50, p95, p99 = (float(value) for value in np.percentile(ms, (50, 95, 99)))
    size = size_text(route.size)
    result = StepLatency(
        benchmark="step",
        model=session.spec.name,
        size=size,
        engine=route.engine.value,
        threads=threads,
        batch=1,
        warm_up=warm_up,
        frames=frames,
        p50_ms=round(p50, 3),
        p95_ms=round(p95, 3),
        p99_ms=round(p99, 3),
        mean_ms=round(float(ms.mean()), 3),
        conditions=conditions(route.engine.value),
    )
    path = results / f"step-{session.spec.name}-{size}-{route.engine.value}-{threads or 'all'}.json"
    write_result(path, asdict(result))
    typer.echo(f"{session.spec.name} {size}: p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f} ms → {path}")


def measure(session: Session, warm_up: int, frames: int) -> NDArray[np.float64]:
    """Milliseconds of each of `frames` steps of one stream."""
    cache = session.new_cache()
    window = FeatureWindow(session.spec.window)
    random = np.random.default_rng(0)
    cache.image[:] = random.integers(0, 2, cache.image.shape)
    ns = np.zeros(frames, np.int64)
    for index in range(-warm_up, frames):
        began = time.perf_counter_ns()
        session.step(cache, [window.plan()])
        if index >= 0:
            ns[index] = time.perf_counter_ns() - began
    return ns / 1e6


if __name__ == "__main__":
    typer.run(main)

"""How cost grows: with the size of the input, the length of the window, and the length of the run.

    python -m benchmarks.scaling --minutes 60

Size: the packaged model. Window: VDA-Small with random weights, a graph for each number of frames. Run: an hour of
frames at 30 frames/s through one estimator, as fast as they go, at the smallest input, where what grows shows most;
it must be flat, in time and in memory. (Streams: `benchmarks.throughput`.)
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

from benchmarks.machine import RESULTS, conditions, memory_bytes, write_result
from benchmarks.measure import Durations, Ratio, interleave
from benchmarks.variants import Streams, cache_bytes, opened, parse
from benchmarks.weights import random_checkpoint, step_graph
from depthcast.plan import size_text
from depthcast.settings import Settings
from engines.onnx import OnnxSession
from engines.session import Session
from stream.estimator import DepthEstimator
from stream.policy import WindowPolicy
from stream.sources.synthetic import SyntheticSource

FRAME_RATE = 30
FRAME = (1080, 1920)


def main(
    input_sizes: Annotated[str, typer.Option(help="Separated by commas.")] = "96,160,222,320,448",
    windows: Annotated[str, typer.Option(help="Numbers of frames, separated by commas; empty: none.")] = "1,2,8,16,32",
    window_size: Annotated[str, typer.Option(metavar="HxW", help="Input of the window's networks.")] = "140x252",
    minutes: Annotated[float, typer.Option(min=0, help="Of video, for the long run; 0: none.")] = 60,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    rounds: Annotated[int, typer.Option(min=2)] = 40,
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print, and write JSON."""
    height, width = (int(side) for side in window_size.split("x"))
    lengths = [int(frames) for frames in windows.split(",") if frames]
    # The long run first, in a process that has grown for no other reason yet.
    run = over_time(round(minutes * 60 * FRAME_RATE), threads) if minutes else None
    result = {
        "benchmark": "scaling",
        "threads": threads,
        "size": over_sizes([int(size) for size in input_sizes.split(",")], threads, rounds),
        "window": over_windows(lengths, (height, width), threads, rounds) if lengths else None,
        "run": run,
        "conditions": asdict(conditions("onnx")),
    }
    write_result(results / "scaling-cpu.json", result)
    for name in ("size", "window", "run"):
        typer.echo(f"{name}: {result[name]}")


def over_sizes(sizes: list[int], threads: int, rounds: int) -> list[dict[str, Any]]:
    """The step of the packaged model against the area of its input."""
    variants = [parse(f"nano:engine=onnx,threads={threads},input_size={size}") for size in sizes]
    with ExitStack() as stack:
        sessions = {each.label: stack.enter_context(opened(each, FRAME)) for each in variants}
        ms = interleave({label: Streams(session).step for label, session in sessions.items()}, rounds, 5)
    parts = []
    for label, session in sessions.items():
        height, width = session.spec.size
        step = Durations.of(ms[label])
        parts.append(
            {
                "size": size_text(session.spec.size),
                "pixels": height * width,
                "p50_ms": step.p50_ms,
                "ns_per_pixel": round(1e6 * step.p50_ms / (height * width), 2),
                "stream_bytes": cache_bytes(session.spec),
            }
        )
    return parts


def over_windows(lengths: list[int], size: tuple[int, int], threads: int, rounds: int) -> list[dict[str, Any]]:
    """The step of VDA-Small against the number of frames in its window; ratios are against the first."""
    checkpoint = random_checkpoint("VDA-Small", Settings.from_environment().home / "benchmarks")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        sessions: dict[int, Session] = {}
        for frames in lengths:
            policy = WindowPolicy(f"{frames} frames", None if frames == 32 else frames)
            graph = step_graph("VDA-Small", checkpoint, Path(folder, f"{frames}.onnx"), size, policy)
            sessions[frames] = stack.enter_context(OnnxSession(graph, threads=threads))
        ms = interleave({str(frames): Streams(each).step for frames, each in sessions.items()}, rounds, 5)
        return [
            {
                "frames": frames,
                "slots": session.spec.window.slots,
                "size": size_text(size),
                "p50_ms": Durations.of(ms[str(frames)]).p50_ms,
                "ratio_to_first": asdict(Ratio.of(ms[str(frames)], ms[str(lengths[0])])),
                "stream_bytes": cache_bytes(session.spec),
            }
            for frames, session in sessions.items()
        ]


def over_time(frames: int, threads: int, parts: int = 12) -> dict[str, Any]:
    """Time and memory of each twelfth of a run of so many frames."""
    scene = SyntheticSource(72, 128)
    pictures = [scene.render(index) for index in range(4 * FRAME_RATE)]
    smallest = parse(f"nano:engine=onnx,threads={threads},input_size=64")
    with opened(smallest, (72, 128)) as session:
        estimator = DepthEstimator(session)
        ms = np.zeros(frames)
        memory = []
        for index in track(range(frames), description="an hour of frames"):
            began = time.perf_counter_ns()
            estimator.step_array(pictures[index % len(pictures)])
            ms[index] = (time.perf_counter_ns() - began) / 1e6
            if (index + 1) % max(1, frames // parts) == 0:
                memory.append(memory_bytes())
        medians = [round(float(np.median(part)), 4) for part in np.array_split(ms, parts)]
        return {
            "frames": frames,
            "size": size_text(session.spec.size),
            "p50_ms_of_each_part": medians,
            "last_to_first": round(medians[-1] / medians[0], 3),
            "memory_mb_of_each_part": [round(each / 1e6, 2) for each in memory],
            "grown_mb": round((memory[-1] - memory[0]) / 1e6, 2),
        }


if __name__ == "__main__":
    typer.run(main)

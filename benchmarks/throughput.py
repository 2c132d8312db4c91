"""Frames per second, streams at 30 frames/s and memory per stream, against the number of streams that share weights.

    python -m benchmarks.throughput nano --streams 1 2 4 8

Three ways: one session whose threads are all the cores', streams stepping in turn; a session of one thread for each
core, streams spread over them; and, where the graph takes several streams a call, one call for all of them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import RESULTS, conditions, memory_bytes, usable_cores, write_result
from benchmarks.measure import Durations, interleave
from benchmarks.sides import engine_of
from benchmarks.variants import Streams, Variant, cache_bytes, described, opened, parse
from engines.session import Session

FRAME_RATE = 30


def main(
    variant: Annotated[str, typer.Argument(help="MODEL[:key=value,…], see benchmarks/variants.py.")] = "nano",
    streams: Annotated[str, typer.Option(help="Numbers of streams, separated by commas.")] = "1,2,4,8",
    frame: Annotated[str, typer.Option(metavar="HxW")] = "1080x1920",
    rounds: Annotated[int, typer.Option(min=1, help="Frames of every stream.")] = 60,
    warm_up: Annotated[int, typer.Option(min=0)] = 5,
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print lines, and write JSON."""
    height, width = (int(side) for side in frame.split("x"))
    counts = [int(count) for count in streams.split(",")]
    chosen = parse(variant)
    with opened(chosen, (height, width)) as session:
        grown = memory_per_stream(session, max(counts))
        result: dict[str, Any] = {
            "benchmark": "throughput",
            **described(chosen, session),
            "rounds": rounds,
            "stream_bytes": cache_bytes(session.spec),
            "measured_stream_bytes": grown,
            "parts": measure(chosen, (height, width), session, counts, rounds, warm_up),
            "conditions": asdict(conditions(engine_of(session))),
        }
        path = results / f"throughput-{session.spec.name.lower()}-{result['size']}-{result['engine']}.json"
    write_result(path, result)
    for part in result["parts"]:
        typer.echo(f"{part['streams']:3} streams, {part['way']:26} {part['fps']:7.1f} frames/s")
    typer.echo(f"→ {path}")


def memory_per_stream(session: Session, count: int) -> int:
    """Bytes by which this process grows for each further stream that runs."""
    Streams(session).step()
    gc.collect()
    before = memory_bytes()
    held = [Streams(session) for _ in range(count)]
    for each in held:
        each.cache.clear()  # touches all of it, which makes it count
        each.step()
    return max(0, memory_bytes() - before) // count


def measure(
    variant: Variant, frame: tuple[int, int], session: Session, counts: list[int], rounds: int, warm_up: int
) -> list[dict[str, Any]]:
    """Every number of streams in every way that is possible, taken in turn."""
    with ExitStack() as stack:
        steps: dict[tuple[int, str], Callable[[], None]] = {}
        lanes = stack.enter_context(one_thread_each(variant, frame))
        for count in counts:
            steps[count, "in turn, all threads"] = _in_turn([Streams(session) for _ in range(count)])
            if lanes is not None and count > 1:
                steps[count, "spread, a thread each"] = lanes(count)
            if count > 1 and session.spec.batch in (None, count):
                steps[count, "in one call"] = Streams(session, count).step
        ms = interleave({f"{count} {way}": step for (count, way), step in steps.items()}, rounds, warm_up)
    parts = []
    for count, way in steps:
        durations = Durations.of(ms[f"{count} {way}"])
        fps = 1e3 * count / durations.p50_ms
        at_rate = int(fps // FRAME_RATE)
        parts.append({"streams": count, "way": way, "fps": round(fps, 2), "at_30": at_rate, "round": asdict(durations)})
    return parts


def _in_turn(streams: list[Streams]) -> Callable[[], None]:
    def step() -> None:
        for each in streams:
            each.step()

    return step


@contextmanager
def one_thread_each(variant: Variant, frame: tuple[int, int]) -> Iterator[Callable[[int], Callable[[], None]] | None]:
    """Makes steps of so many streams spread over sessions of one thread; None where the engine has no such choice."""
    cores = usable_cores()
    single = replace(variant, wanted=replace(variant.wanted, threads=1))
    with ExitStack() as stack:
        sessions = [stack.enter_context(opened(single, frame)) for _ in range(cores)]
        if engine_of(sessions[0]) not in ("onnx", "openvino"):
            yield None
            return
        pool = stack.enter_context(ThreadPoolExecutor(cores))

        def spread(count: int) -> Callable[[], None]:
            lanes = [_in_turn([Streams(sessions[lane]) for _ in range(lane, count, cores)]) for lane in range(cores)]

            def step() -> None:
                for running in [pool.submit(lane) for lane in lanes]:
                    running.result()

            return step

        yield spread


if __name__ == "__main__":
    typer.run(main)

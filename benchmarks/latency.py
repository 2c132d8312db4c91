"""Latency of each stage of a frame, for any number of variants that take turns in one run.

    python -m benchmarks.latency nano nano:threads=1 VDA-Small:input_size=252 --frame 1080x1920

The first variant is the one that the others' ratios are against. Decoding and encoding are left out.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer
from av.video.reformatter import VideoReformatter

from benchmarks.machine import RESULTS, conditions, write_result
from benchmarks.measure import Durations, Ratio, interleave
from benchmarks.sides import engine_of
from benchmarks.variants import Streams, Variant, described, opened, parse
from engines.session import Session
from engines.window import FeatureWindow
from stream.frame import DisplayRange
from stream.postprocess import update_range
from stream.preprocess import resize_map, write_image
from stream.sources.synthetic import SyntheticSource

STAGES = ("preprocess", "infer", "postprocess")


class Staged:
    """Streams of one variant, whose stages are timed one by one."""

    def __init__(self, session: Session, batch: int, picture: av.VideoFrame) -> None:
        self._session, self._picture = session, picture
        self._cache = session.new_cache(batch)
        self._windows = [FeatureWindow(session.spec.window) for _ in range(batch)]
        self._converter = VideoReformatter()
        self._shown: list[DisplayRange | None] = [None] * batch
        self.stages: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def step(self) -> None:
        """One frame of each stream, from decoded picture to map of its size."""
        marks = [time.perf_counter_ns()]
        for row in self._cache.image:
            write_image(self._picture, self._session.spec, row, self._converter)
        marks.append(time.perf_counter_ns())
        depths = self._session.step(self._cache, [window.plan() for window in self._windows])
        marks.append(time.perf_counter_ns())
        for row, depth in enumerate(depths):
            self._shown[row] = update_range(self._shown[row], depth, 1 / 30)
            resize_map(depth, self._picture.height, self._picture.width)
        marks.append(time.perf_counter_ns())
        for stage, ns in zip(STAGES, np.diff(marks), strict=True):
            self.stages[stage].append(ns / 1e6)


def main(
    variants: Annotated[list[str], typer.Argument(help="MODEL[:key=value,…], see benchmarks/variants.py.")],
    frame: Annotated[str, typer.Option(metavar="HxW", help="Size of the video's frames.")] = "1080x1920",
    warm_up: Annotated[int, typer.Option(min=0)] = 20,
    frames: Annotated[int, typer.Option(min=1)] = 200,
    step_only: Annotated[bool, typer.Option(help="The network alone, which may take several streams a call.")] = False,
    name: Annotated[str, typer.Option(help="Of the result.")] = "cpu",
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print lines, and write JSON."""
    height, width = (int(side) for side in frame.split("x"))
    with ExitStack() as stack:
        opens = [(each, stack.enter_context(opened(each, (height, width)))) for each in map(parse, variants)]
        measured = measure(opens, (height, width), frames, warm_up, step_only)
        result: dict[str, Any] = {
            "benchmark": "latency",
            "name": name,
            "frame": frame,
            "warm_up": warm_up,
            "frames": frames,
            "variants": measured,
            "conditions": asdict(conditions(engine_of(opens[0][1]))),
        }
    write_result(results / f"latency-{name}.json", result)
    for line in measured:
        typer.echo(
            f"{line['label']} {line['size']}: p50 {line['total']['p50_ms']:.1f}, p99 {line['total']['p99_ms']:.1f} ms"
        )


def measure(
    opens: list[tuple[Variant, Session]], frame: tuple[int, int], frames: int, warm_up: int, step_only: bool
) -> list[dict[str, Any]]:
    """Figures of all variants, taken in turn."""
    picture = av.VideoFrame.from_ndarray(SyntheticSource(*frame).render(7), format="rgb24").reformat(format="yuv420p")
    staged = [None if step_only else Staged(session, each.batch, picture) for each, session in opens]
    steps = {
        each.label: (Streams(session, each.batch) if one is None else one).step
        for (each, session), one in zip(opens, staged, strict=True)
    }
    ms = interleave(steps, frames, warm_up)
    base = ms[opens[0][0].label]
    lines = []
    for (each, session), one in zip(opens, staged, strict=True):
        stages = (
            {} if one is None else {stage: asdict(Durations.of(each[warm_up:])) for stage, each in one.stages.items()}
        )
        line = described(each, session) | {"total": asdict(Durations.of(ms[each.label])), "stages": stages}
        lines.append(line | {"ratio_to_first": asdict(Ratio.of(ms[each.label], base))})
    return lines


if __name__ == "__main__":
    typer.run(main)

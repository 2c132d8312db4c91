"""The plots of docs/benchmarks.md, from results alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.plots import save
from benchmarks.report import Kinds, plot_names
from benchmarks.tables import WAYS, Result

SIZE = (7.0, 3.2)


def draw(kinds: Kinds, folder: Path) -> None:
    """Write every plot that the results give."""
    for name in plot_names(kinds):
        figure = Figure(figsize=SIZE, layout="constrained")
        DRAWN[name](figure.subplots(), kinds)
        save(figure, folder / name)


def _throughput(axes: Axes, kinds: Kinds) -> None:
    for result in kinds["throughput"]:
        for way in dict.fromkeys(part["way"] for part in result["parts"]):
            parts = [part for part in result["parts"] if part["way"] == way]
            label = f"{result['model']} {result['size']}, {way}"
            axes.plot([part["streams"] for part in parts], [part["fps"] for part in parts], marker="o", label=label)
    _labelled(axes, "streams", "frames/s, all together")


def _size(axes: Axes, kinds: Kinds) -> None:
    for result in kinds["scaling"]:
        parts = result["size"]
        axes.plot([part["pixels"] for part in parts], [part["p50_ms"] for part in parts], marker="o", label="nano")
    _labelled(axes, "pixels of the input", "step p50, ms")


def _window(axes: Axes, kinds: Kinds) -> None:
    parts: list[Result] = _first(kinds["scaling"], "window")
    frames = [part["frames"] for part in parts]
    axes.plot(frames, [part["p50_ms"] for part in parts], marker="o", label="step p50, ms")
    memory = axes.twinx()
    memory.plot(frames, [part["stream_bytes"] / 1e6 for part in parts], marker="s", color="tab:orange", label="cache")
    memory.set_ylabel("cache of a stream, MB", color="tab:orange")
    memory.set_ylim(bottom=0)
    _labelled(axes, "frames in the window", "step p50, ms")


def _run(axes: Axes, kinds: Kinds) -> None:
    run: Result = _first(kinds["scaling"], "run")
    places = np.arange(len(run["p50_ms_of_each_part"])) + 1
    axes.plot(places, run["p50_ms_of_each_part"], marker="o", label="frame p50, ms")
    memory = axes.twinx()
    memory.plot(places[: len(run["memory_mb_of_each_part"])], run["memory_mb_of_each_part"], color="tab:orange")
    memory.set_ylabel("memory of the process, MB", color="tab:orange")
    memory.set_ylim(bottom=0)
    _labelled(axes, f"twelfths of a run of {run['frames']:,} frames", "frame p50, ms")


def _accuracy(axes: Axes, kinds: Kinds) -> None:
    result = kinds["accuracy"][0]
    sequence = result["sequences"][0]
    kind = "abs_rel" if sequence["sensor_tae"] is None else "tae"
    for way, each in sequence["over_time"].items():
        axes.plot(each[kind], linewidth=1, label=f"{result['model']}, {WAYS.get(way, way)}")
    _labelled(axes, f"frame of {sequence['name']}", {"abs_rel": "AbsRel", "tae": "TAE of each pair"}[kind])


def _roofline(axes: Axes, kinds: Kinds) -> None:
    for result in kinds["roofline"]:
        for part in result["parts"]:
            reach = np.geomspace(0.5, 2000, 100)
            roof = np.minimum(part["ceilings"]["flops_per_s"], reach * part["ceilings"]["bytes_per_s"]) / 1e9
            [line] = axes.plot(reach, roof, linewidth=0.8)
            place = part["flops"] / part["least_bytes"], part["flops_per_s"] / 1e9
            axes.plot(*place, "o", color=line.get_color(), label=f"{part['model']} {part['size']}, {part['engine']}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    _labelled(axes, "operations for each byte that must move", "GFLOP/s", from_zero=False)


def _first(results: list[Result], part: str) -> Any:
    return next(result[part] for result in results if result[part])


def _labelled(axes: Axes, below: str, beside: str, from_zero: bool = True) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(beside)
    if from_zero:
        axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")


DRAWN: dict[str, Callable[[Axes, Kinds], None]] = {
    "throughput.svg": _throughput,
    "size.svg": _size,
    "window.svg": _window,
    "run.svg": _run,
    "accuracy.svg": _accuracy,
    "roofline.svg": _roofline,
}

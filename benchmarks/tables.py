"""Markdown tables of results. Every function takes all results of its kind and returns "" where there are none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Result = dict[str, Any]
Cell = str | int | float

WAYS = {
    "stream": "streamed",
    "frame": "each frame alone",
    "offline": "offline, windows that look ahead",
    "peer": "peer",
}


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table, or "" without rows."""
    lines = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |", *lines]) if lines else ""


def machine(where: Result) -> str:
    """Processor, cores and load of a measurement."""
    return f"{where['cpu']}, {where['cores']} cores, load {where['load']:.1f}"


def spread(ratio: Result) -> str:
    """A median of ratios with its quartiles."""
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def megabytes(count: float) -> str:
    """Bytes in MB."""
    return f"{count / 1e6:.1f}"


def latency(results: list[Result]) -> str:
    """Stages of a frame."""
    heads = ("network", "input", "engine", "threads", "preprocess", "infer", "postprocess", "frame p50", "p95", "p99")
    rows = [
        (
            each["model"],
            each["size"],
            each["engine"],
            each["threads"] or "all",
            *(f"{each['stages'][stage]['p50_ms']:.1f}" if each["stages"] else "-" for stage in heads[4:7]),
            *(f"{each['total'][name]:.1f}" for name in ("p50_ms", "p95_ms", "p99_ms")),
        )
        for result in results
        for each in result["variants"]
    ]
    return with_machine(table((*heads[:4], *(f"{head}, ms" for head in heads[4:])), rows), results)


def throughput(results: list[Result]) -> str:
    """Streams that share one machine."""
    rows = [
        (
            result["model"],
            result["size"],
            part["streams"],
            part["way"],
            f"{part['fps']:.1f}",
            part["at_30"],
            megabytes(result["stream_bytes"]),
        )
        for result in results
        for part in result["parts"]
    ]
    heads = ("network", "input", "streams", "how", "frames/s, all together", "streams at 30/s", "cache of a stream, MB")
    return with_machine(table(heads, rows), results)


def accuracy(results: list[Result]) -> str:
    """Accuracy and consistency."""
    rows = []
    for result in results:
        for way, mean in result["mean"].items():
            tae = "-" if mean["tae"] is None else f"{mean['tae']:.2f}"
            first = f"{mean['abs_rel_first_frame']:.3f} / {mean['delta1_first_frame']:.3f}"
            rows.append(
                (
                    result["data"],
                    result["model"],
                    WAYS.get(way, way),
                    f"{mean['abs_rel']:.3f}",
                    f"{mean['delta1']:.3f}",
                    first,
                    tae,
                    f"{mean['still_flicker']:.3f}",
                )
            )
    heads = (
        "data",
        "network",
        "how",
        "AbsRel",
        "δ1",
        "the same, fitted on the first frame only",
        "TAE",
        "flicker at rest, %",
    )
    return table(heads, rows)


def motion_notes(results: list[Result]) -> str:
    """Where poses come from, for each sequence with a temporal alignment error."""
    lines = [
        f"- {sequence['name']}: {sequence['frames']} frames from number {result['first']} on, "
        f"poses {sequence['poses']}; under them the sensor's own depth has a TAE of {sequence['sensor_tae']:.2f}."
        for result in results
        for sequence in result["sequences"]
        if sequence["sensor_tae"] is not None
    ]
    return "\n".join(lines)


def windows(results: list[Result]) -> str:
    """Window policies."""
    rows = []
    for result in results:
        for each in result["policies"]:
            measured = "tae" in each
            rows.append(
                (
                    result["model"],
                    each["policy"],
                    each["places"],
                    f"{each['sequence']['abs_rel']:.3f}" if measured else "-",
                    f"{each['sequence']['delta1']:.3f}" if measured else "-",
                    f"{each['tae']:.2f}" if measured and each["tae"] is not None else "-",
                    f"{each['still_flicker']:.3f}",
                    f"{each['abs_rel_behind_cuts']:.3f}" if measured else "-",
                    f"{each['p50_ms']:.1f}",
                    spread(each["ratio_to_first"]),
                    f"{each['stream_bytes'] / 1e6:.2f}",
                )
            )
    heads = (
        "network",
        "policy",
        "frames",
        "AbsRel",
        "δ1",
        "TAE",
        "flicker at rest, %",
        "AbsRel behind cuts",
        "frame p50, ms",
        "ratio to the first",
        "cache needed, MB",
    )
    return with_machine(table(heads, rows), results)


def side_by_side(results: list[Result]) -> str:
    """Against the official code."""
    rows = [
        (
            result["model"],
            result["size"],
            device(result),
            f"{result['official']['p50_ms']:.0f}",
            f"{result['ours']['p50_ms']:.0f}, {result['engine']}",
            spread(result["speed_ratio"]),
            f"{result['memory_mb']['official']:.0f} / {result['memory_mb']['ours']:.0f}",
            f"{result['largest_difference_over_mean']:.0e}",
            f"{result['conditions']['load']:.1f}",
        )
        for result in sorted(results, key=lambda each: (each["model"], each["size"], each["threads"]))
    ]
    heads = (
        "network",
        "input",
        "device",
        "official code, ms a frame",
        "depthcast, ms",
        "ratio (quartiles)",
        "peak memory of a process, MB, official / depthcast",
        "largest difference of maps, of their mean",
        "load",
    )
    return table(heads, rows)


def device(result: Result) -> str:
    """And its threads, on a CPU."""
    threads = result["threads"]
    return f"cpu, {threads} thread{'s' * (threads > 1)}" if result["device"] == "cpu" else str(result["device"])


def official_form(results: list[Result]) -> str:
    """Against the form of the official code."""
    rows = [
        (
            result["model"],
            result["size"],
            f"{result['official']['p50_ms']:.0f}",
            f"{each['engine']}, {each['precision']}",
            f"{each['durations']['p50_ms']:.0f}",
            spread(each["ratio"]),
            f"{100 * each['departure']:.2g}",
            machine(result["conditions"]),
        )
        for result in results
        for each in result["engines"]
    ]
    told = ("ratio (quartiles)", "departure of maps, % of their mean", "machine")
    heads = ("network", "input", "official form, torch, ms", "cheap form", "ms", *told)
    return table(heads, rows)


def peer(results: list[Result]) -> str:
    """Against per-frame networks."""
    rows = [
        (
            result["peer"],
            result["peer_size"],
            f"{result['theirs']['p50_ms']:.0f}",
            result["model"],
            result["size"],
            f"{result['ours']['p50_ms']:.0f}",
            spread(result["speed_ratio"]),
            f"{result['still_flicker_percent']['peer']:.3f} / {result['still_flicker_percent']['ours']:.3f}",
        )
        for result in results
    ]
    heads = (
        "per-frame network",
        "input",
        "ms a frame",
        "ours",
        "input",
        "ms a frame",
        "ratio (quartiles)",
        "flicker at rest, %, theirs / ours",
    )
    return table(heads, rows)


def sizes(results: list[Result]) -> str:
    """Cost against the size of the input."""
    rows = [
        (each["size"], each["pixels"], f"{each['p50_ms']:.2f}", each["ns_per_pixel"], megabytes(each["stream_bytes"]))
        for result in results
        for each in result["size"]
    ]
    return with_machine(table(("input of nano", "pixels", "step p50, ms", "ns a pixel", "cache, MB"), rows), results)


def lengths(results: list[Result]) -> str:
    """Cost against the window."""
    rows = [
        (
            each["frames"],
            each["slots"],
            each["size"],
            f"{each['p50_ms']:.1f}",
            spread(each["ratio_to_first"]),
            megabytes(each["stream_bytes"]),
        )
        for result in results
        for each in result["window"] or ()
    ]
    heads = ("frames in the window of VDA-Small", "slots", "input", "step p50, ms", "ratio to the first", "cache, MB")
    return table(heads, rows)


def runs(results: list[Result]) -> str:
    """The long run, in a sentence."""
    lines = [
        f"{run['frames']:,} frames through one estimator at {run['size']}: a frame took "
        f"{run['p50_ms_of_each_part'][0]:.2f} ms (p50) in the first twelfth of the run and {run['last_to_first']:.2f} "
        f"times that in the last; memory grew by {run['grown_mb']} MB between the ends of the two."
        for run in (result["run"] for result in results)
        if run
    ]
    return "\n".join(lines)


def roofline(results: list[Result]) -> str:
    """Counted work, ceilings and the share of them."""
    rows = [
        (
            part["model"],
            part["size"],
            part["engine"],
            f"{part['flops'] / 1e9:.2f}",
            megabytes(part["weight_bytes"]),
            megabytes(part["cache_bytes"]),
            megabytes(part["activation_bytes"]),
            f"{part['ceilings']['flops_per_s'] / 1e9:.0f}",
            f"{part['ceilings']['bytes_per_s'] / 1e9:.1f}",
            f"{part['least_ms']:.2f} ({part['bound']})",
            f"{part['p50_ms']:.2f}",
            f"{part['share']:.0%}",
        )
        for result in results
        for part in result["parts"]
    ]
    heads = (
        "network",
        "input",
        "engine",
        "GFLOP a step",
        "weights, MB",
        "cache, MB",
        "layers' results, MB",
        "product, GFLOP/s",
        "copy, GB/s",
        "least, ms",
        "step p50, ms",
        "share",
    )
    return with_machine(table(heads, rows), results)


def operators(results: list[Result]) -> str:
    """What the operations are."""
    lines = []
    for result in results:
        for part in result["parts"]:
            largest = list(part["flops_by_operator"].items())[:4]
            shares = ", ".join(f"{name} {flops / part['flops']:.1%}" for name, flops in largest)
            lines.append(f"- {part['model']} at {part['size']}: {shares}")
    return "\n".join(lines)


def gpu(results: list[Result]) -> str:
    """TensorRT engines."""
    rows = [
        (
            result["gpu"],
            f"{result['model']}, {result['precision']}",
            part["size"],
            part["batch"],
            f"{part['step_p50_ms']:.2f}",
            f"{part['step_p99_ms']:.2f}",
            f"{part['streams_fps']:.0f}",
            megabytes(part["stream_bytes"]),
            result["conditions"]["engine"],
        )
        for result in results
        for part in result["parts"]
    ]
    heads = (
        "GPU",
        "network",
        "input",
        "streams",
        "step p50, ms",
        "p99, ms",
        "frames/s, all together",
        "memory of a stream, MB",
        "engine",
    )
    return table(heads, rows)


def with_machine(drawn: str, results: list[Result]) -> str:
    """A table with the machines of its results under it."""
    machines = dict.fromkeys(machine(result["conditions"]) for result in results)
    return f"{drawn}\n\n{'; '.join(machines)}." if drawn else ""

"""How much of what the device can do a step uses: operations and bytes counted, ceilings and the step measured.

    python -m benchmarks.roofline nano:threads=2 VDA-Small:input_size=252,threads=2

A step cannot be faster than its arithmetic at the rate of a large matrix product, nor than its weights, cache and
pictures at the rate of a large copy. The larger of both times over the measured time is the share that is reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.flops import count
from benchmarks.machine import RESULTS, conditions, usable_cores, write_result
from benchmarks.measure import Durations, interleave
from benchmarks.sides import engine_of
from benchmarks.variants import Streams, Variant, described, opened, parse
from depthcast.plan import plan
from depthcast.settings import Settings

SIDE = {"cpu": 2048, "cuda": 8192}
COPIED_BYTES = {"cpu": 256 << 20, "cuda": 2 << 30}


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Rates of a large matrix product and of a large copy (read and written bytes both count)."""

    flops_per_s: float
    bytes_per_s: float


def main(
    variants: Annotated[list[str], typer.Argument(help="MODEL[:key=value,…], see benchmarks/variants.py.")],
    frame: Annotated[str, typer.Option(metavar="HxW")] = "1080x1920",
    rounds: Annotated[int, typer.Option(min=1)] = 50,
    warm_up: Annotated[int, typer.Option(min=0)] = 5,
    name: Annotated[str, typer.Option(help="Of the result.")] = "cpu",
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Count, measure, print lines, and write JSON."""
    height, width = (int(side) for side in frame.split("x"))
    parts = [measure(parse(words), (height, width), rounds, warm_up) for words in variants]
    engine = parts[0]["engine"]
    result = {"benchmark": "roofline", "name": name, "parts": parts, "conditions": asdict(conditions(engine))}
    write_result(results / f"roofline-{name}.json", result)
    for part in parts:
        typer.echo(
            f"{part['label']} {part['size']}: {part['flops'] / 1e9:.2f} GFLOP, {part['least_bytes'] / 1e6:.1f} MB, "
            f"at least {part['least_ms']:.2f} ms ({part['bound']}), took {part['p50_ms']:.2f} ms: {part['share']:.0%}"
        )


def measure(variant: Variant, frame: tuple[int, int], rounds: int, warm_up: int) -> dict[str, Any]:
    """One variant; step, product and copy take turns, so that a busy machine slows all of them."""
    with opened(variant, frame) as session:
        route = plan(variant.wanted, *frame, Settings.from_environment())
        if route.network is None:
            raise ValueError(f"{variant.label} runs no graph that could be counted: choose engine=onnx or tensorrt")
        cost = count(route.network, session.spec)
        device = "cuda" if engine_of(session) == "tensorrt" else "cpu"
        half = device == "cuda" and session.spec.precision == "fp16"
        torch.set_num_threads(variant.wanted.threads or usable_cores())
        product, copy = product_of(device, half), copy_of(device)
        steps = {"step": Streams(session, variant.batch).step, "product": product, "copy": copy}
        ms = interleave(steps, rounds, warm_up)
        step = Durations.of(ms["step"])
        ceilings = Ceilings(
            2 * SIDE[device] ** 3 / (float(np.median(ms["product"])) / 1e3),
            2 * COPIED_BYTES[device] / (float(np.median(ms["copy"])) / 1e3),
        )
        by_arithmetic = 1e3 * variant.batch * cost.flops / ceilings.flops_per_s
        by_traffic = 1e3 * cost.least_bytes / ceilings.bytes_per_s
        least = max(by_arithmetic, by_traffic)
        return {
            **described(variant, session),
            **asdict(cost),
            "least_bytes": cost.least_bytes,
            "ceilings": asdict(ceilings),
            "least_ms": round(least, 4),
            "bound": "arithmetic" if by_arithmetic >= by_traffic else "memory",
            "p50_ms": step.p50_ms,
            "flops_per_s": round(1e3 * variant.batch * cost.flops / step.p50_ms),
            "share": round(least / step.p50_ms, 4),
        }


def product_of(device: str, half: bool) -> Callable[[], None]:
    """A square matrix product, waited for."""
    side, dtype = SIDE[device], torch.float16 if half else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(one)

    def run() -> None:
        torch.matmul(one, other, out=out)
        _wait(device)

    return run


def copy_of(device: str) -> Callable[[], None]:
    """A copy from memory to memory of the device, waited for."""
    source = torch.ones(COPIED_BYTES[device] // 4, device=device)
    target = torch.empty_like(source)

    def run() -> None:
        target.copy_(source)
        _wait(device)

    return run


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    typer.run(main)

"""Glass to glass latency for each transport: real encoder, loopback network, decoder in another process.

python -m benchmarks.live
python -m benchmarks.live --minutes 10 --transport rtsp-tcp

With `--minutes` the viewer is too slow, on purpose: what counts is that the age of what it shows does not grow.
"""

from __future__ import annotations

from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import conditions, write_result
from depthcast.latency import TRANSPORTS, Latency, Wish, measure
from depthcast.settings import Settings

RESULTS = Path(__file__).parent / "results"
SLOW_MS = 100.0
"""How long the slow viewer looks at each picture: three times what it has."""


def main(
    transport: Annotated[list[str] | None, typer.Option(help="One or several; without it all.")] = None,
    seconds: Annotated[float, typer.Option(min=1)] = 20.0,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="Of a viewer that is too slow.")] = None,
    results: Annotated[Path, typer.Option(help="Folder of the JSON files.")] = RESULTS,
) -> None:
    """Measure 640x480 at 30 fps with the embedded model, print a line each, and write JSON."""
    for name in transport or TRANSPORTS:
        machine = asdict(conditions("onnx"))
        wish = Wish(name, (480, 640), Fraction(30), seconds if minutes is None else 60 * minutes)
        if minutes is None:
            result, path = described(measure(wish, Settings.from_environment(), typer.echo)), f"live-{name}.json"
        else:
            slow = Wish(name, wish.size, wish.rate, wish.seconds, hold_ms=SLOW_MS)
            result, path = (
                grown(measure(slow, Settings.from_environment(), typer.echo)),
                f"live-slow-{name}.json",
            )
        write_result(results / path, {**result, "size": "640x480", "rate": 30, "machine": machine})
        typer.echo(f"{name}: p50 {result['p50_ms']}, p95 {result['p95_ms']}, p99 {result['p99_ms']} ms → {path}")


def described(found: Latency) -> dict[str, Any]:
    """The figures of one transport as they are written."""
    return {
        "benchmark": "live",
        "transport": found.transport,
        "p50_ms": found.total.p50_ms,
        "p95_ms": found.total.p95_ms,
        "p99_ms": found.total.p99_ms,
        "frames": found.frames,
        "drops": found.drops,
        "stages": [asdict(stage) for stage in found.stages],
    }


def grown(found: Latency) -> dict[str, Any]:
    """The same of a slow viewer, with the p95 of every full minute, and whether it has grown."""
    return {
        **described(found),
        "benchmark": "live_slow",
        "hold_ms": SLOW_MS,
        "p95_ms_by_minute": list(found.minutes),
        "first_minute_p95_ms": found.minutes[0],
        "last_minute_p95_ms": found.minutes[-1],
    }


if __name__ == "__main__":
    typer.run(main)

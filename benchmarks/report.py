"""Draws the README's benchmark table from the JSON files in `results/`.

python -m benchmarks.report
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"


def tables(results: list[dict[str, Any]]) -> str:
    """Markdown of all results, or a sentence where nothing was measured."""
    drawn = [part for part in (step_table(results), official_table(results)) if part]
    return "\n\n".join(drawn) or "Nothing has been measured for this version yet: `make bench`."


def official_table(results: list[dict[str, Any]]) -> str:
    """What the cheap form of the step gains over the official one; empty where it was not measured."""
    pairs = [result for result in results if result["benchmark"] == "official_form"]
    if not pairs:
        return ""
    lines = [
        "The exact cheap form of the streaming step against the form of the official code, run in turn in one process:",
        "",
        "| network | input | official form, torch, ms | cheap form, ms | ratio (quartiles) | machine |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for result in sorted(pairs, key=lambda pair: (pair["model"], pair["size"])):
        where, (low, high) = result["conditions"], result["ratio_quartiles"]
        lines.append(
            f"| {result['model']} | {result['size']} | {result['official_torch_ms']} "
            f"| {result['cheap_onnx_ms']}, {where['engine']} | {result['ratio']} ({low} to {high}) "
            f"| {where['cpu']}, {where['cores']} cores |"
        )
    return "\n".join(lines)


def step_table(results: list[dict[str, Any]]) -> str:
    """Step latencies; empty where none were measured."""
    steps = [result for result in results if result["benchmark"] == "step"]
    if not steps:
        return ""
    lines = [
        "| network | input | engine | threads | p50 ms | p95 ms | p99 ms | machine |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for result in sorted(steps, key=lambda step: (step["model"], step["size"], step["engine"])):
        where = result["conditions"]
        lines.append(
            f"| {result['model']} | {result['size']} | {where['engine']} | {result['threads'] or 'all'} "
            f"| {result['p50_ms']:.1f} | {result['p95_ms']:.1f} | {result['p99_ms']:.1f} "
            f"| {where['cpu']}, {where['cores']} cores, load {where['load']:.1f} |"
        )
    return "\n".join(lines)


def with_table(readme: str, drawn: str) -> str:
    """The README with `drawn` between its two marks."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert tail, "the README has both marks"
    return f"{head}{BEGIN}\n{drawn}\n{END}{tail}"


def main() -> None:
    """Rewrite the README."""
    results = [json.loads(path.read_text()) for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))]
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(), tables(results)))


if __name__ == "__main__":
    main()

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


def table(results: list[dict[str, Any]]) -> str:
    """Markdown of the step latencies, or a sentence where nothing was measured."""
    steps = [result for result in results if result["benchmark"] == "step"]
    if not steps:
        return "Nothing has been measured for this version yet: `make bench`."
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
    readme.write_text(with_table(readme.read_text(), table(results)))


if __name__ == "__main__":
    main()

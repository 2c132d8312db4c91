"""Draws the README's benchmark section, docs/benchmarks.md and its plots from the JSON files in `results/`.

python -m benchmarks.report            # needs matplotlib
python -m benchmarks.report --check    # needs nothing; fails where README or page are not what the results say
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import nettables, tables
from benchmarks.tables import Result

ROOT = Path(__file__).parent.parent
BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"
README, PAGE, PLOTS = "README.md", "docs/benchmarks.md", "docs/plots"
NOTHING = "Nothing has been measured for this version yet: `make bench`."

Kinds = dict[str, list[Result]]

ACCURACY = """\
AbsRel and δ1 by the protocol of Video Depth Anything: one scale and shift for a whole sequence, fitted in inverse
depth. TAE: temporal alignment error, ×100. Flicker at rest: mean change from frame to frame of one picture repeated
with fresh noise and 1 % of exposure flicker, in percent of the map's range. Lower is better but for δ1."""
SIDE_BY_SIDE = """\
The official streaming code (`infer_video_depth_one` of a checkout) and depthcast, frame by frame in turn on the same
clip with the same weights, from picture to map:"""
OFFICIAL_FORM = """\
The exact cheap form of a streaming step on the best CPU engines against the form of the official code in torch (keys
and values of the whole window projected anew, attention written out), in turn in one process; random weights:"""
WINDOWS = """\
Policies of `stream/policy.py` on the network's own graph, slots they do not use masked: their latency is that of the
full window, the memory what a graph of their own would need. Behind cuts: the first frames after each splice of a
sequence whose halves take turns, each frame fitted by itself."""
ROOFLINE = """\
Operations and bytes are counted in the graph. A step takes at least as long as its operations at the rate of a large
matrix product, and as its weights, cache and pictures, each moved once, at the rate of a large copy; both rates are
measured in turn with the step. The share is the larger of both over what the step took. Layers' results are what would
move as well if no two layers were fused and nothing stayed in a cache of the processor."""


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; fail where something is out of date.")
    ] = False,
    root: Annotated[Path, typer.Option(help="Of the repository.")] = ROOT,
) -> None:
    """Rewrite README and page, or check them."""
    kinds = load(root / "benchmarks" / "results")
    readme = (root / README).read_text()
    wanted = {README: with_section(readme, section(kinds)), PAGE: page(kinds)}
    if check:
        stale = [name for name, text in wanted.items() if not _reads(root / name, text)]
        stale += [name for name in plot_names(kinds) if not (root / PLOTS / name).exists()]
        if stale:
            typer.echo(f"{', '.join(stale)}: not what benchmarks/results says; run `make report`", err=True)
            raise typer.Exit(1)
        return
    for name, text in wanted.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    from benchmarks.charts import draw

    draw(kinds, root / PLOTS)


def _reads(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def load(folder: Path) -> Kinds:
    """All results by kind, each file's in order of its name."""
    kinds: Kinds = {}
    for path in sorted(folder.glob("*.json")):
        found: Result = json.loads(path.read_text())
        kinds.setdefault(found["benchmark"], []).append(found)
    return kinds


def section(kinds: Kinds) -> str:
    """What stands in the README."""
    parts = (
        ("One frame, from decoded picture to map; decoding and encoding left out:", tables.latency, "latency"),
        ("Glass to glass, from the camera's clock to the viewer's:", nettables.live, "live"),
        (ACCURACY, tables.accuracy, "accuracy"),
        ("", tables.motion_notes, "accuracy"),
        ("", lambda _: plot(kinds, "accuracy.svg", "docs/plots"), "accuracy"),
        (SIDE_BY_SIDE, tables.side_by_side, "side_by_side"),
        (OFFICIAL_FORM, tables.official_form, "official_form"),
        ("TensorRT engines:", tables.gpu, "gpu"),
    )
    drawn = [text for words, draw, kind in parts if (text := explained(words, draw(kinds.get(kind, []))))]
    return "\n\n".join([*drawn, MORE]) if drawn else NOTHING


MORE = f"""\
[{PAGE}]({PAGE}) has the rest: streams and memory, scaling with size, window and run
length, window policies, and how near the device's limits a step comes."""


def page(kinds: Kinds) -> str:
    """docs/benchmarks.md."""
    head = "# Benchmarks\n\nDrawn by `benchmarks/report.py` from `benchmarks/results/*.json`; do not edit."
    chapters = {**speed_chapters(kinds), **quality_chapters(kinds)}
    texts = [
        f"## {name}\n\n" + "\n\n".join(kept) for name, parts in chapters.items() if (kept := list(filter(None, parts)))
    ]
    return "\n\n".join([head, *texts]) + "\n"


def speed_chapters(kinds: Kinds) -> dict[str, list[str]]:
    """Chapters by name, each the parts that it may have, empty ones included."""
    scaling, roofline = kinds.get("scaling", []), kinds.get("roofline", [])
    return {
        "Latency": [tables.latency(kinds.get("latency", []))],
        "Glass to glass": [
            nettables.live(kinds.get("live", [])),
            explained("A viewer that is too slow, on purpose:", nettables.live_slow(kinds.get("live_slow", []))),
        ],
        "Raw depth": [nettables.raw(kinds.get("raw", []))],
        "Service": [nettables.service(kinds.get("service", []))],
        "Streams": [tables.throughput(kinds.get("throughput", [])), plot(kinds, "throughput.svg")],
        "TensorRT": [tables.gpu(kinds.get("gpu", []))],
        "Scaling": [
            tables.sizes(scaling),
            plot(kinds, "size.svg"),
            tables.lengths(scaling),
            plot(kinds, "window.svg"),
            tables.runs(scaling),
            plot(kinds, "run.svg"),
        ],
        "Roofline": [
            explained(ROOFLINE, tables.roofline(roofline)),
            tables.operators(roofline),
            plot(kinds, "roofline.svg"),
        ],
    }


def quality_chapters(kinds: Kinds) -> dict[str, list[str]]:
    """As `speed_chapters`: what the maps are worth."""
    accuracy = kinds.get("accuracy", [])
    return {
        "Accuracy and consistency": [
            explained(ACCURACY, tables.accuracy(accuracy)),
            tables.motion_notes(accuracy),
            plot(kinds, "accuracy.svg"),
        ],
        "Window policies": [explained(WINDOWS, tables.windows(kinds.get("windows", [])))],
        "Against the official code": [
            explained(SIDE_BY_SIDE, tables.side_by_side(kinds.get("side_by_side", []))),
            explained(OFFICIAL_FORM, tables.official_form(kinds.get("official_form", []))),
        ],
        "Against per-frame networks": [tables.peer(kinds.get("peer", []))],
    }


def explained(words: str, drawn: str) -> str:
    """A table under its words; nothing without the table."""
    return f"{words}\n\n{drawn}".lstrip() if drawn else ""


PLOTTED = {
    "throughput.svg": ("throughput", "frames per second against streams"),
    "size.svg": ("scaling", "time against the size of the input"),
    "window.svg": ("scaling", "time and memory against the window"),
    "run.svg": ("scaling", "time and memory over a long run"),
    "accuracy.svg": ("accuracy", "error from frame to frame"),
    "roofline.svg": ("roofline", "operations per second against operations per byte"),
}
"""File name to the kind of results it is drawn from, and what it shows."""


def plot(kinds: Kinds, name: str, folder: str = "plots") -> str:
    """The picture, "" where nothing can be drawn."""
    return f"![{PLOTTED[name][1]}]({folder}/{name})" if name in plot_names(kinds) else ""


def plot_names(kinds: Kinds) -> list[str]:
    """The plots that these results give."""
    given = [name for name, (kind, _) in PLOTTED.items() if kinds.get(kind)]
    scaling = kinds.get("scaling", [])
    missing = {f"{part}.svg" for part in ("window", "run") if not any(result[part] for result in scaling)}
    return [name for name in given if name not in missing]


def with_section(readme: str, drawn: str) -> str:
    """The README with `drawn` between its two marks."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    assert tail, "the README has both marks"
    return f"{head}{BEGIN}\n{drawn}\n{END}{tail}"


if __name__ == "__main__":
    typer.run(main)

"""Accuracy and consistency on RGB-D sequences by the protocol of Video Depth Anything; see `benchmarks.metrics`.

    python -m benchmarks.accuracy tum rgbd_dataset_freiburg1_rpy
    python -m benchmarks.accuracy scannet scans_test --model VDA-Small --modes stream,frame,offline

Frame-by-frame errors go to a CSV file, error over time and a column of pixels over time to pictures, the means to JSON.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks import plots
from benchmarks.datasets import LAYOUTS, DatasetError, Sequence, open_sequences
from benchmarks.evaluate import Evaluation, evaluate, mean_or_none, still_flicker, truth_of
from benchmarks.machine import RESULTS, conditions, write_result
from benchmarks.peer import PeerNetwork
from benchmarks.predictors import Predict, each_alone, looking_ahead, streaming
from depthcast.models import find
from depthcast.networks import step_session, window_session
from depthcast.plan import Engine, Wanted, plan
from depthcast.settings import Settings
from engines.spec import Unit


class Way(StrEnum):
    """How frames are estimated."""

    STREAM = "stream"
    FRAME = "frame"
    OFFLINE = "offline"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Method:
    """A way with everything it needs opened."""

    predict: Predict
    unit: Unit
    engine: str


def main(
    layout: Annotated[str, typer.Argument(help=f"One of {', '.join(LAYOUTS)}.")],
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False)],
    model: Annotated[str, typer.Option()] = "nano",
    metric: Annotated[bool, typer.Option("--metric")] = False,
    checkpoint: Annotated[Path | None, typer.Option()] = None,
    engine: Annotated[Engine, typer.Option()] = Engine.AUTO,
    input_size: Annotated[int | None, typer.Option(min=1)] = None,
    modes: Annotated[str, typer.Option(help="stream, frame, offline; separated by commas.")] = "stream,frame,offline",
    peer: Annotated[Path | None, typer.Option(help="A per-frame Depth Anything ONNX file, measured as well.")] = None,
    first: Annotated[int, typer.Option(min=0, help="First frame of each sequence.")] = 0,
    frames: Annotated[int | None, typer.Option(min=2, help="Of each sequence; default: the protocol's.")] = None,
    step: Annotated[int, typer.Option(min=1, help="Take every n-th frame.")] = 1,
    estimate_motion: Annotated[
        bool, typer.Option(help="Estimate poses from the sensor's depth where a sequence has none.")
    ] = True,
    name: Annotated[str, typer.Option(help="Of the results; default: layout and folder.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of the CSV file and the plots.")] = Path("build/accuracy"),
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, show, and write JSON, CSV and plots."""
    wanted = Wanted(find(model, metric), engine=engine, checkpoint=checkpoint, input_size=input_size)
    ways = [Way(word.strip()) for word in modes.split(",")] + ([Way.PEER] if peer else [])
    opened = sequences_in(layout, folder)
    sequences = [sequence.part(first, frames or LAYOUTS[layout].frames, step) for sequence in opened]
    name = name or f"{layout}-{folder.resolve().name}"
    found = [run(sequence, ways, wanted, peer, estimate_motion, out / f"{name}-{model}") for sequence in sequences]
    asked = {"data": name, "layout": layout, "first": first, "step": step, "input_size": input_size}
    measured = {"sequences": found, "mean": means(found, ways), "conditions": asdict(conditions(found[0]["engine"]))}
    result: dict[str, Any] = {"benchmark": "accuracy", "model": wanted.model.label, **asked, **measured}
    path = results / f"accuracy-{name}-{wanted.model.label.lower()}.json"
    write_result(path, result)
    for way, figures in result["mean"].items():
        typer.echo(f"{way:8} {figures}")
    typer.echo(f"→ {path}, {out}")


def sequences_in(layout: str, folder: Path) -> list[Sequence]:
    """All sequences of a folder; what is wrong with it is the command line's error."""
    try:
        return open_sequences(layout, folder)
    except DatasetError as error:
        raise typer.BadParameter(str(error)) from error


def run(
    sequence: Sequence, ways: list[Way], wanted: Wanted, peer: Path | None, estimate_motion: bool, out: Path
) -> dict[str, Any]:
    """All ways on one sequence; its CSV file and plots are written as well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out = out.with_name(f"{out.name}-{sequence.name.replace('/', '-')}")
    evaluations: dict[str, Evaluation] = {}
    flickers: dict[str, float] = {}
    engines: list[str] = []
    with bar(sequence.name) as progress, ExitStack() as opened:
        task = progress.add_task("ground truth", total=len(sequence.shots))
        truth = truth_of(sequence, estimate_motion, partial(progress.advance, task))
        for way in ways:
            task = progress.add_task(way.value, total=len(sequence.shots))
            method = opened.enter_context(opened_method(way, wanted, peer, sequence))
            evaluations[way] = evaluate(method.predict, method.unit, sequence, truth, partial(progress.advance, task))
            engines.append(method.engine)
            flickers[way] = still_flicker(method.predict, sequence.picture(0))
    write_csv(out.with_suffix(".csv"), evaluations)
    plots.error_over_time(out.with_name(out.name + "-error.png"), evaluations)
    plots.column_over_time(out.with_name(out.name + "-column.png"), evaluations, truth.depth)
    return {
        "name": sequence.name,
        "engine": engines[0],
        "frames": len(sequence.shots),
        "cap_m": sequence.cap_m,
        "poses": truth.how,
        "sensor_tae": truth.sensor_tae,
        "ways": {way: each.figures() | {"still_flicker": flickers[way]} for way, each in evaluations.items()},
        "over_time": {way: over_time(each) for way, each in evaluations.items()},
    }


def over_time(evaluation: Evaluation) -> dict[str, list[float] | None]:
    """AbsRel of each frame and TAE of each pair under the fit over the sequence: what the report draws."""
    tae = evaluation.tae
    return {
        "abs_rel": [round(float(value), 4) for value in evaluation.aligned["sequence"].abs_rel],
        "tae": None if tae is None else [round(float(value), 3) for value in np.nan_to_num(tae)],
    }


@contextmanager
def opened_method(way: Way, wanted: Wanted, peer: Path | None, sequence: Sequence) -> Iterator[Method]:
    """A way for pictures of this sequence's size."""
    height, width, _ = sequence.picture(0).shape
    settings = Settings.from_environment()
    engine = plan(wanted, height, width, settings).engine.value

    def quiet(_: str) -> None:
        return None

    if way is Way.PEER:
        assert peer is not None
        with PeerNetwork(peer, wanted.threads) as network:
            yield Method(network.predict, Unit.RELATIVE, "onnx")
    elif way is Way.OFFLINE:
        with window_session(wanted, (height, width), settings, quiet) as window:
            yield Method(looking_ahead(window), window.spec.unit, engine)
    else:
        with step_session(wanted, (height, width), settings, quiet) as session:
            predict = streaming(session) if way is Way.STREAM else each_alone(session)
            yield Method(predict, session.spec.unit, engine)


@contextmanager
def bar(name: str) -> Iterator[Progress]:
    """Progress of the ways over one sequence."""
    columns = TextColumn(f"{name} {{task.description}}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as progress:
        yield progress


def means(found: list[dict[str, Any]], ways: list[Way]) -> dict[str, dict[str, float | None]]:
    """Means over sequences, as the protocol has them."""
    mean: dict[str, dict[str, float | None]] = {}
    for way in ways:
        each = [sequence["ways"][way] for sequence in found]
        taes = np.array([figures["tae"] for figures in each if figures["tae"] is not None], np.float64)
        mean[way.value] = {
            "abs_rel": mean_or_none(np.array([figures["sequence"]["abs_rel"] for figures in each])),
            "delta1": mean_or_none(np.array([figures["sequence"]["delta1"] for figures in each])),
            "abs_rel_first_frame": mean_or_none(np.array([f["first_frame"]["abs_rel"] for f in each])),
            "delta1_first_frame": mean_or_none(np.array([f["first_frame"]["delta1"] for f in each])),
            "tae": mean_or_none(taes),
            "still_flicker": mean_or_none(np.array([figures["still_flicker"] for figures in each])),
        }
    return mean


def write_csv(path: Path, evaluations: dict[str, Evaluation]) -> None:
    """A line for each way, alignment and frame; tae: of the pair that begins with the frame."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("way", "alignment", "frame", "abs_rel", "delta1", "tae"))
        for way, evaluation in evaluations.items():
            for alignment, errors in evaluation.aligned.items():
                for frame, abs_rel, delta1 in zip(errors.frames, errors.abs_rel, errors.delta1, strict=True):
                    pair = evaluation.tae is not None and alignment == "sequence" and frame < len(evaluation.tae)
                    tae = evaluation.tae[frame] if evaluation.tae is not None and pair else ""
                    lines.writerow((way, alignment, frame, abs_rel, delta1, tae))


if __name__ == "__main__":
    typer.run(main)

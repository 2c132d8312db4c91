"""What other window policies cost and give: accuracy, consistency, latency and memory of each on one network.

    python -m benchmarks.windows --data plain:../shared/data/tum_fr1_rpy --first 573 --frames 150
    python -m benchmarks.windows --model VDA-Small --checkpoint video_depth_anything_vits.pth --data scannet:scans_test

Policies are data, in `stream/policy.py`. All run on the network's own graph, slots they do not use masked, so that
their latency here is that of the full window; memory is what a graph with no more slots than they need would keep
(`benchmarks.scaling` times such graphs). Cuts are made: the sequence is spliced, its halves in turns of 25 frames.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.accuracy import bar, sequences_in
from benchmarks.datasets import Sequence
from benchmarks.evaluate import Truth, evaluate, still_flicker, truth_of
from benchmarks.machine import RESULTS, conditions, write_result
from benchmarks.measure import Durations, Ratio, interleave
from benchmarks.predictors import Picture, streaming
from benchmarks.sides import engine_of
from benchmarks.variants import cache_bytes
from depthcast.models import find
from depthcast.networks import step_session
from depthcast.plan import Engine, Mode, Precision, Wanted, size_text
from depthcast.settings import Settings
from engines.session import Session
from stream.estimator import DepthEstimator
from stream.policy import POLICIES, WindowPolicy
from stream.sources.synthetic import SyntheticSource

TURN = 25
"""Frames from one splice to the next."""
AFTER_CUT = 8
"""Frames behind a splice that count for what a cut does."""
FRAME = (480, 640)


def main(
    data: Annotated[str, typer.Option(help="LAYOUT:FOLDER; without it only flicker, latency and memory.")] = "",
    model: Annotated[str, typer.Option()] = "nano",
    checkpoint: Annotated[Path | None, typer.Option()] = None,
    engine: Annotated[Engine, typer.Option()] = Engine.AUTO,
    input_size: Annotated[int | None, typer.Option(min=1)] = None,
    threads: Annotated[int | None, typer.Option(min=1)] = None,
    first: Annotated[int, typer.Option(min=0)] = 0,
    frames: Annotated[int | None, typer.Option(min=2)] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of the latency, all policies in turn.")] = 40,
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print lines, and write JSON."""
    layout, _, folder = data.partition(":")
    sequence = sequences_in(layout, Path(folder))[0].part(first, frames, 1) if data else None
    truth = None if sequence is None else truth_of(sequence, estimate_motion=True)
    picture = SyntheticSource(*FRAME).render(0) if sequence is None else sequence.picture(0)
    wanted = Wanted(find(model), Mode.STREAM, engine, Precision.AUTO, checkpoint, input_size, threads)
    height, width, _ = picture.shape
    with step_session(wanted, (height, width), Settings.from_environment(), typer.echo) as session:
        own = session.spec.window
        policies = [policy for policy in POLICIES if policy.fits(own) and _is_new(policy, own.slots)]
        cost_of_each = costs(session, policies, picture, rounds)
        gain_of_each = gains(session, policies, sequence, truth)
        result: dict[str, Any] = {
            "benchmark": "windows",
            "model": session.spec.name,
            "weights_sha256": session.spec.weights_sha256,
            "size": size_text(session.spec.size),
            "data": Path(folder).name if data else None,
            "frames": 0 if sequence is None else len(sequence.shots),
            "left_out": [policy.name for policy in POLICIES if not policy.fits(own)],
            "policies": [cost | gain for cost, gain in zip(cost_of_each, gain_of_each, strict=True)],
            "conditions": asdict(conditions(engine_of(session))),
        }
    path = results / f"windows-{session.spec.name.lower()}.json"
    write_result(path, result)
    for line in result["policies"]:
        typer.echo(line)


def _is_new(policy: WindowPolicy, slots: int) -> bool:
    """A network whose own window is sliding has every shorter sliding one; nothing is measured twice."""
    return policy.frames is None or policy.anchored or policy.frames != slots + 1


def costs(session: Session, policies: list[WindowPolicy], picture: Picture, rounds: int) -> list[dict[str, Any]]:
    """Latency of each policy, all in turn; memory; and what flickers on a picture that stands still."""
    estimators = {policy.name: DepthEstimator(session, policy=policy) for policy in policies}
    ms = interleave({name: partial(each.step_array, picture) for name, each in estimators.items()}, rounds, 5)
    lines = []
    for policy in policies:
        rule = policy.rule(session.spec.window)
        lines.append(
            {
                "policy": policy.name,
                "places": len(rule.offsets),
                "slots": rule.slots,
                "stream_bytes": cache_bytes(session.spec, rule.slots),
                "p50_ms": Durations.of(ms[policy.name]).p50_ms,
                "ratio_to_first": asdict(Ratio.of(ms[policy.name], ms[policies[0].name])),
                "still_flicker": still_flicker(streaming(session, policy), picture),
            }
        )
    return lines


def gains(
    session: Session, policies: list[WindowPolicy], sequence: Sequence | None, truth: Truth | None
) -> list[dict[str, Any]]:
    """Accuracy and consistency of each policy; nothing without a sequence."""
    if sequence is None or truth is None:
        return [{} for _ in policies]
    with bar("windows") as progress:
        task = progress.add_task("policies", total=len(policies))
        lines = []
        for policy in policies:
            lines.append(consistency(session, policy, sequence, truth))
            progress.advance(task)
    return lines


def consistency(session: Session, policy: WindowPolicy, sequence: Sequence, truth: Truth) -> dict[str, Any]:
    """Figures of the protocol, and the error behind splices, each frame fitted by itself."""
    predict, unit = streaming(session, policy), session.spec.unit
    whole = evaluate(predict, unit, sequence, truth).figures()
    order = spliced(len(sequence.shots))
    cut = replace(sequence, shots=tuple(sequence.shots[index] for index in order))
    cut_truth = Truth(truth.depth[order], None, truth.camera, "none", None)
    errors = evaluate(predict, unit, cut, cut_truth).aligned["each frame"]
    behind = [index for index, frame in enumerate(errors.frames) if frame >= TURN and frame % TURN < AFTER_CUT]
    return whole | {"abs_rel_behind_cuts": round(float(np.mean(errors.abs_rel[behind])), 4)}


def spliced(frames: int) -> list[int]:
    """Order of the frames of a sequence whose halves take turns."""
    half = frames // 2
    turns = [range(start, min(start + TURN, half)) for start in range(0, half, TURN)]
    return [index + offset for turn in turns if len(turn) == TURN for offset in (0, half) for index in turn]


if __name__ == "__main__":
    typer.run(main)

"""Our streaming against other people's, on the same clip, the same weights and the same device, frame by frame in turn.

    python -m benchmarks.side_by_side --official ../Video-Depth-Anything --clip street.mp4 --checkpoint vits.pth
    python -m benchmarks.side_by_side --peer depth_anything_v2_vits.onnx --clip street.mp4

`--official` runs the streaming class of a checkout of the official repository, as its `run_streaming.py` does, and
compares the maps; without a checkpoint random weights do, since neither speed nor agreement depends on them.
`--peer` runs a per-frame network without memory, and tells how much each flickers on a picture that stands still.
Durations are from picture to map, resizing included. Memory is the peak of a process that does nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from benchmarks.evaluate import still_flicker
from benchmarks.machine import RESULTS, conditions, write_result
from benchmarks.measure import Durations, Ratio, interleave
from benchmarks.official import OfficialError
from benchmarks.peer import PeerError, PeerNetwork
from benchmarks.predictors import Picture, streaming
from benchmarks.sides import (
    OFFICIAL,
    OURS,
    Setting,
    Step,
    clip_pictures,
    engine_of,
    memory_alone,
    official_side,
    our_side,
)
from benchmarks.weights import random_checkpoint
from depthcast.models import NANO
from depthcast.plan import Engine, Precision, size_text
from depthcast.settings import Settings

PEER = "peer"


def main(
    official: Annotated[Path | None, typer.Option(help="A checkout of the official repository.")] = None,
    peer: Annotated[Path | None, typer.Option(help="A per-frame Depth Anything ONNX file.")] = None,
    clip: Annotated[str, typer.Option(help="A file or any other source URI.")] = "test:?size=518x518&realtime=0",
    model: Annotated[str, typer.Option(help="Default: VDA-Small against the official code, nano with --peer.")] = "",
    checkpoint: Annotated[Path | None, typer.Option(help="Weights of both sides; default: random ones.")] = None,
    engine: Annotated[Engine, typer.Option(help="Of our side.")] = Engine.AUTO,
    precision: Annotated[Precision, typer.Option()] = Precision.AUTO,
    input_size: Annotated[int | None, typer.Option(min=14, help="Default: the model's.")] = None,
    frames: Annotated[int, typer.Option(min=1, help="Measured, after the warm-up.")] = 20,
    warm_up: Annotated[int, typer.Option(min=0)] = 3,
    memory_frames: Annotated[int, typer.Option(help="Of the run for memory; 42 fill both sides' caches.")] = 44,
    threads: Annotated[int, typer.Option(min=1)] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda; default: a GPU where torch sees one.")] = "",
    results: Annotated[Path, typer.Option(help="Folder of the JSON file.")] = RESULTS,
) -> None:
    """Measure, print and write JSON."""
    if (official is None) == (peer is None):
        raise typer.BadParameter("name what to compare with: --official PATH or --peer FILE, one of them")
    model = model or ("VDA-Small" if official else NANO)
    if checkpoint is None and model != NANO:
        checkpoint = random_checkpoint(model, Settings.from_environment().home / "benchmarks")
    setting = Setting(
        model=model,
        checkpoint=str(checkpoint or ""),
        clip=clip,
        frames=frames,
        warm_up=warm_up,
        memory_frames=memory_frames,
        device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
        engine=engine.value,
        precision=precision.value,
        input_size=input_size,
        threads=threads,
        official=str(official or ""),
    )
    write_up(compared(setting, peer), setting, results)


def write_up(result: dict[str, Any], setting: Setting, results: Path) -> None:
    """Write and print what was found."""
    threads, clip, model = setting.threads, setting.clip, setting.model
    result |= {"threads": threads, "clip": Path(clip).name, "conditions": asdict(conditions(result["engine"]))}
    kind = result["benchmark"].replace("_", "-")
    path = results / f"{kind}-{model.lower()}-{result['size']}-{result['engine']}-{threads}.json"
    write_result(path, result)
    for name, value in result.items():
        typer.echo(f"{name}: {value}")
    typer.echo(f"→ {path}")


def compared(setting: Setting, peer: Path | None) -> dict[str, Any]:
    """Figures of both sides; what is wrong with the other one is the command line's error."""
    try:
        return against_peer(setting, peer) if peer else against_official(setting)
    except (OfficialError, PeerError) as error:
        raise typer.BadParameter(str(error)) from error


def against_official(setting: Setting) -> dict[str, Any]:
    """Speed, memory and agreement of both sides."""
    pictures = list(clip_pictures(setting.clip, setting.warm_up + setting.frames))
    with our_side(setting, pictures[0], typer.echo) as (ours, session):
        measured = alternate(ours, official_side(setting).step, pictures, setting.warm_up)
        size, engine = size_text(session.spec.size), engine_of(session)
    # Told the engine, our side asks torch nothing, and so does not load it.
    told = replace(setting, engine=engine, frames=max(setting.frames, setting.memory_frames))
    memory = {side: memory_alone(side, told) for side in (OURS, OFFICIAL)}
    return {
        "benchmark": "side_by_side",
        "model": setting.model,
        "size": size,
        "device": setting.device,
        "engine": engine,
        "half": setting.half,
        "frames": setting.frames,
        **measured,
        "memory_mb": {side: round(taken / 1e6, 1) for side, taken in memory.items()},
        "memory_ratio": round(memory[OFFICIAL] / memory[OURS], 3),
    }


def alternate(ours: Step, theirs: Step, pictures: list[Picture], warm_up: int) -> dict[str, Any]:
    """Both over the same pictures, in turn; the largest difference of their maps over the mean of theirs."""
    maps: dict[str, list[NDArray[np.float32]]] = {OURS: [], OFFICIAL: []}

    def stepped(side: str, step: Step) -> Callable[[], None]:
        return lambda: maps[side].append(step(pictures[len(maps[side])]))

    steps = {OURS: stepped(OURS, ours), OFFICIAL: stepped(OFFICIAL, theirs)}
    ms = interleave(steps, rounds=len(pictures) - warm_up, warm_up=warm_up)
    pairs = list(zip(maps[OURS], maps[OFFICIAL], strict=True))
    return {
        "ours": asdict(Durations.of(ms[OURS])),
        "official": asdict(Durations.of(ms[OFFICIAL])),
        "speed_ratio": asdict(Ratio.of(ms[OFFICIAL], ms[OURS])),
        "largest_difference": max(float(np.abs(a - b).max()) for a, b in pairs),
        "largest_difference_over_mean": max(float(np.abs(a - b).max() / np.abs(b).mean()) for a, b in pairs),
    }


def against_peer(setting: Setting, peer: Path) -> dict[str, Any]:
    """Speed and flicker of both sides."""
    pictures = list(clip_pictures(setting.clip, setting.warm_up + setting.frames))
    with (
        our_side(setting, pictures[0], typer.echo) as (ours, session),
        PeerNetwork(peer, setting.threads, setting.input_size) as network,
    ):
        mine, theirs = iter(pictures), iter(pictures)
        steps = {OURS: lambda: ours(next(mine)), PEER: lambda: network.map_of(next(theirs))}
        ms = interleave(steps, rounds=setting.frames, warm_up=setting.warm_up)
        return {
            "benchmark": "peer",
            "model": session.spec.name,
            "size": size_text(session.spec.size),
            "engine": engine_of(session),
            "peer": peer.name,
            "peer_size": size_text(network.size_for(*pictures[0].shape[:2])),
            "frames": setting.frames,
            "ours": asdict(Durations.of(ms[OURS])),
            "theirs": asdict(Durations.of(ms[PEER])),
            "speed_ratio": asdict(Ratio.of(ms[PEER], ms[OURS])),
            "still_flicker_percent": {
                OURS: still_flicker(streaming(session), pictures[0]),
                PEER: still_flicker(network.predict, pictures[0]),
            },
        }


if __name__ == "__main__":
    typer.run(main)

"""What the exact cheap form of the streaming step gains on a CPU over the form of the official code.

Official form, run by torch: the window's cached features are concatenated, keys and values of all 32 frames are
projected again for every new frame, attention is written out (on a CPU the official code has no fused one), and fusion
blocks convolve after they resize. Cheap form: the exported step, in float32 on ONNX Runtime and with the backbone's
linear maps in bfloat16 on OpenVINO. All run in turn in one process on the same pictures, and their maps are compared.
Speed does not depend on the values of the weights, so random ones do. `benchmarks.side_by_side` does the same against a
checkout of the official code itself.

    python -m benchmarks.official_form --size 252x252 --rounds 15
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.machine import RESULTS, conditions, write_result
from benchmarks.measure import Durations, Ratio, interleave
from benchmarks.weights import random_checkpoint
from engines.onnx import OnnxSession
from engines.openvino import OpenVinoSession
from engines.session import Session
from engines.spec import Precision
from engines.window import FeatureWindow, frames_of
from export.config import CONFIGS
from export.model.depth import VideoDepthAnything
from export.model.dinov2 import Attention
from export.model.dpt import FusionBlock, resize
from export.model.temporal import TemporalAttention, TemporalModule
from export.to_onnx import Parity, export_step
from export.verify import moving_picture, normalised
from export.weights import load_network

Map = NDArray[np.float32]
OFFICIAL = "official form, torch"
ENGINES: dict[str, tuple[type[OnnxSession] | type[OpenVinoSession], Precision]] = {
    "onnx": (OnnxSession, "fp32"),
    "openvino": (OpenVinoSession, "bf16"),
}
COMPARED = 3
"""Frames whose maps are compared before anything is measured."""


class OfficialStream:
    """A stream stepped as the official code does it: a growing list of features, concatenated for every frame."""

    def __init__(self, network: VideoDepthAnything, height: int, width: int) -> None:
        self.network = as_official(network)
        self.embedding = network.positional_embedding(height, width)
        self.kept: list[list[Tensor]] = []  # for each frame, features [P, 1, C] of the eight attentions

    @torch.inference_mode()
    def step(self, image: Map, frames: Sequence[int]) -> Map:
        """Depth [H, W] of image [3, H, W], whose window is `frames`, the new frame last."""
        features: list[Tensor] = []

        def mix(index: int, x: Tensor) -> Tensor:
            return self._module(self.network.head.temporal[index], x, frames[:-1], features)

        depth: Tensor = self.network._forward(torch.from_numpy(image)[None], self.embedding, mix)
        self.kept.append(features)
        if len(self.kept) > 42:
            self.kept[-42] = []  # as the official list, which keeps the first frame and the last 41
        picture: Map = depth[0].numpy()
        return picture

    def _module(self, module: TemporalModule, x: Tensor, cached: Sequence[int], features: list[Tensor]) -> Tensor:
        inner = module.temporal_transformer
        cells = inner.proj_in(inner.norm(x).flatten(2).transpose(1, 2)).transpose(0, 1)  # [P, 1, C]
        for attention, norm in zip(inner.block.attention_blocks, inner.block.norms, strict=True):
            assert isinstance(attention, TemporalAttention)
            hidden = norm(cells)
            place = len(features)
            features.append(hidden)
            window = torch.cat([*(self.kept[frame][place] for frame in cached), hidden], dim=1)
            cells = cells + attend_last(attention, window)
        cells = inner.proj_out(cells + inner.block.ff(inner.block.ff_norm(cells)))
        out: Tensor = x + cells.permute(1, 2, 0).reshape(x.shape)
        return out


def as_official(network: VideoDepthAnything) -> VideoDepthAnything:
    """A copy whose backbone attention and fusion blocks run as the official code runs them on a CPU."""
    official = copy.deepcopy(network)
    for module in official.modules():
        if isinstance(module, Attention):
            module.forward = partial(backbone_attention, module)  # type: ignore[method-assign]
        elif isinstance(module, FusionBlock):
            module.forward = partial(fuse, module)  # type: ignore[method-assign]
    return official


def backbone_attention(attention: Attention, x: Tensor) -> Tensor:
    """Self-attention over the tokens of one frame, written out."""
    batch, tokens, dim = x.shape
    q, k, v = attention.qkv(x).reshape(batch, tokens, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)
    mixed = written_out(q, k, v)
    out: Tensor = attention.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
    return out


def fuse(block: FusionBlock, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
    """A fusion block that resizes first and convolves at the larger size."""
    if skip is not None:
        x = x + block.resConfUnit1(skip)
    out: Tensor = block.out_conv(resize(block.resConfUnit2(x), size))
    return out


def written_out(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention in three operations."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    mixed: Tensor = scores.softmax(-1) @ v
    return mixed


def attend_last(attention: TemporalAttention, window: Tensor) -> Tensor:
    """The newest frame's attention over window [P, T, C], every key and value projected anew. Returns [P, 1, C]."""
    placed = window + attention.pos_encoder.pe[:, : window.shape[1]]
    q = attention._split(attention.to_q(placed[:, -1:]))
    k, v = attention._split(attention.to_k(placed)), attention._split(attention.to_v(placed))
    out: Tensor = attention.to_out[0](written_out(q, k, v).transpose(1, 2).flatten(2))
    return out


def frames_through(official: OfficialStream, session: Session) -> Iterator[Map]:
    """The official form's maps [H, W] of a moving picture, without end."""
    t = 0
    while True:
        picture = normalised(moving_picture(session.spec, t), session.spec)
        yield official.step(picture, [frame for frame in frames_of(session.spec.window, t) if frame is not None])
        t += 1


def frames_of_session(session: Session) -> Iterator[Map]:
    """The same of an exported step."""
    cache, window = session.new_cache(), FeatureWindow(session.spec.window)
    t = 0
    while True:
        cache.image[0] = normalised(moving_picture(session.spec, t), session.spec)
        yield session.step(cache, [window.plan()])[0]
        t += 1


def measure(model: str, size: tuple[int, int], threads: int, warm_up: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of each form, how often the official one fits into its time, and how far its maps depart."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        weights = random_checkpoint(model, Path(folder))
        sessions: dict[str, Session] = {}
        for name, (kind, precision) in ENGINES.items():
            graph = Path(folder, f"{precision}.onnx")
            export_step(CONFIGS[model], weights, graph, size, precision=precision, parity=Parity(frames=0))
            session = kind(graph, threads=threads)
            opened.callback(session.close)
            sessions[name] = session
        official = OfficialStream(load_network(CONFIGS[model], weights), *size)
        streams = {OFFICIAL: frames_through(official, sessions["onnx"])}
        streams |= {name: frames_of_session(session) for name, session in sessions.items()}
        first = [{name: next(stream).copy() for name, stream in streams.items()} for _ in range(COMPARED)]
        steps: dict[str, Callable[[], object]] = {name: partial(next, stream) for name, stream in streams.items()}
        taken = interleave(steps, rounds, warm_up)
    return {
        "official": asdict(Durations.of(taken[OFFICIAL])),
        "engines": [
            {
                "engine": conditions(name).engine,
                "precision": ENGINES[name][1],
                "durations": asdict(Durations.of(taken[name])),
                "ratio": asdict(Ratio.of(taken[OFFICIAL], taken[name])),
                "departure": max(_departure(maps[name], maps[OFFICIAL]) for maps in first),
            }
            for name in sessions
        ],
    }


def _departure(got: Map, wanted: Map) -> float:
    """Mean absolute difference over the mean of what is wanted."""
    return float(np.abs(got - wanted).mean() / np.abs(wanted).mean())


def main() -> None:
    """Measure and write `results/official-form-<model>-<size>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="VDA-Small", choices=list(CONFIGS))
    parser.add_argument("--size", default="252x252")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    result = {
        "benchmark": "official_form",
        "model": args.model,
        "size": args.size,
        "threads": args.threads,
        "conditions": asdict(conditions("torch")),
        **measure(args.model, (height, width), args.threads, args.warm_up, args.rounds),
    }
    write_result(RESULTS / f"official-form-{args.model.lower()}-{args.size}.json", result)
    for each in result["engines"]:
        print(
            f"{args.size}: official {result['official']['p50_ms']:.0f} ms, {each['engine']} {each['precision']} "
            f"{each['durations']['p50_ms']:.0f} ms, ratio {each['ratio']['median']:.2f}"
        )


if __name__ == "__main__":
    main()

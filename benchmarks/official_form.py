"""What the exact cheap form of the streaming step gains on a CPU over the form of the official code.

Official form, run by torch: the window's cached features are concatenated, keys and values of all 32 frames are
projected again for every new frame, attention is written out (on a CPU the official code has no fused one), and fusion
blocks convolve after they resize. Cheap form: the exported step on ONNX Runtime. Both run in turn in one process on the
same picture, and their maps are compared. Speed does not depend on the values of the weights, so random ones do.

    python -m benchmarks.official_form --size 252x252 --rounds 15
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.machine import conditions, write_result
from engines.onnx import OnnxSession
from export.config import CONFIGS
from export.model.depth import VideoDepthAnything
from export.model.dinov2 import Attention
from export.model.dpt import FusionBlock, resize
from export.model.temporal import TemporalAttention, TemporalModule
from export.to_onnx import Parity, export_step
from export.verify import moving_picture, normalised
from stream.window import FeatureWindow, frames_of

RESULTS = Path(__file__).parent / "results"


class OfficialStream:
    """A stream stepped as the official code does it: a growing list of features, concatenated for every frame."""

    def __init__(self, network: VideoDepthAnything, height: int, width: int) -> None:
        self.network = as_official(network)
        self.embedding = network.positional_embedding(height, width)
        self.kept: list[list[Tensor]] = []  # for each frame, features [P, 1, C] of the eight attentions

    @torch.inference_mode()
    def step(self, image: NDArray[np.float32], frames: Sequence[int]) -> NDArray[np.float32]:
        """Depth [H, W] of image [3, H, W], whose window is `frames`, the new frame last."""
        features: list[Tensor] = []

        def mix(index: int, x: Tensor) -> Tensor:
            return self._module(self.network.head.temporal[index], x, frames[:-1], features)

        depth: Tensor = self.network._forward(torch.from_numpy(image)[None], self.embedding, mix)
        self.kept.append(features)
        if len(self.kept) > 42:
            self.kept[-42] = []  # as the official list, which keeps the first frame and the last 41
        picture: NDArray[np.float32] = depth[0].numpy()
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


def measure(model: str, size: tuple[int, int], threads: int, warmup: int, rounds: int) -> dict[str, Any]:
    """Alternate both forms over one stream; milliseconds of each and the median of the frame-by-frame ratios."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = VideoDepthAnything(CONFIGS[model]).eval().requires_grad_(False)
    network.get_parameter("head.scratch.output_conv2.2.bias").fill_(
        6.0
    )  # keeps the last ReLU from hiding every difference
    with tempfile.TemporaryDirectory() as folder:
        weights, graph = Path(folder, "w.safetensors"), Path(folder, "step.onnx")
        save_file(network.state_dict(), weights)
        export_step(CONFIGS[model], weights, graph, size, parity=Parity(frames=0))
        with OnnxSession(graph, threads=threads) as session:
            official_ms, cheap_ms, difference = alternate(network, session, warmup, rounds)
    ratios = [slow / fast for slow, fast in zip(official_ms, cheap_ms, strict=True)]
    return {
        "official_torch_ms": round(median(official_ms), 1),
        "cheap_onnx_ms": round(median(cheap_ms), 1),
        "ratio": round(median(ratios), 2),
        "ratio_quartiles": [round(float(q), 2) for q in np.quantile(ratios, (0.25, 0.75))],
        "largest_difference_over_mean_depth": difference,
    }


def alternate(
    network: VideoDepthAnything, session: OnnxSession, warmup: int, rounds: int
) -> tuple[list[float], list[float], float]:
    """Milliseconds of the official and of the cheap step for each counted frame, and how far their maps differ."""
    official = OfficialStream(network, *session.spec.size)
    cache, window = session.new_cache(), FeatureWindow(session.spec.window)
    official_ms, cheap_ms, worst = [], [], 0.0
    for t in range(warmup + rounds):
        picture = normalised(moving_picture(session.spec, t), session.spec)
        frames = [frame for frame in frames_of(session.spec.window, t) if frame is not None]
        cache.image[0] = picture
        plan = window.plan()
        slow_ms, wanted = timed(lambda p=picture, f=frames: official.step(p, f))  # type: ignore[misc]
        fast_ms, got = timed(lambda p=plan: session.step(cache, [p])[0])  # type: ignore[misc]
        worst = max(worst, float(np.abs(got - wanted).max() / max(np.abs(wanted).mean(), 1e-6)))
        if t >= warmup:
            official_ms.append(slow_ms)
            cheap_ms.append(fast_ms)
    return official_ms, cheap_ms, worst


def timed(step: Callable[[], NDArray[np.float32]]) -> tuple[float, NDArray[np.float32]]:
    """Milliseconds of a call, and what it returned."""
    began = time.perf_counter()
    result = step()
    return (time.perf_counter() - began) * 1e3, result


def main() -> None:
    """Measure and write `results/official-form-<model>-<size>.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="VDA-Small", choices=list(CONFIGS))
    parser.add_argument("--size", default="252x252")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    height, width = (int(side) for side in args.size.split("x"))
    result = {
        "benchmark": "official_form",
        "model": args.model,
        "size": args.size,
        "threads": args.threads,
        "conditions": asdict(conditions("onnx")),
        **measure(args.model, (height, width), args.threads, args.warmup, args.rounds),
    }
    write_result(RESULTS / f"official-form-{args.model.lower()}-{args.size}.json", result)
    print(f"official {result['official_torch_ms']} ms, cheap {result['cheap_onnx_ms']} ms, ratio {result['ratio']}")


if __name__ == "__main__":
    main()

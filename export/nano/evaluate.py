"""Accuracy on real RGB-D frames and steadiness on a still clip, against baselines measured the same way.

Scale and shift are fitted to every frame in inverse depth (least squares over the pixels with a reading), then
AbsRel = mean |d - d*| / d* and delta1 = share with max(d/d*, d*/d) < 1.25, in depth, averaged over frames.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from engines.window import FeatureWindow
from export.nano.augment import standardise
from export.nano.data import RealFrames
from export.nano.model import RULE, SLOTS, WINDOW, NanoNetwork, load

FARTHEST = 30.0
"""Depth in metres that a fitted map may say at most; also bounds what a fit below zero costs."""

TRAIN_LAST, VALIDATION_FIRST, VALIDATION_LAST = 559, 573, 722
"""Frames of fr1/rpy: 0-559 train, 573-722 validate."""

Predictor = Callable[[Tensor], NDArray[np.float32]]
"""uint8 [H, W, 3] of the next frame to an inverse depth map of any size."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Means over frames."""

    abs_rel: float
    delta1: float


def fit_frame(
    predicted: NDArray[np.float64], inverse: NDArray[np.float64], whole: NDArray[np.floating[Any]] | None = None
) -> NDArray[np.float64]:
    """`predicted` [n], or `whole`, with the least-squares scale and shift of `predicted` onto `inverse` [n]."""
    design = np.stack((predicted, np.ones_like(predicted)), 1)
    scale, shift = np.linalg.lstsq(design, inverse, rcond=None)[0]
    fitted: NDArray[np.float64] = (predicted if whole is None else whole) * scale + shift
    return fitted


def frame_accuracy(
    predicted: NDArray[np.float32], inverse: NDArray[np.float32], farthest: float = FARTHEST
) -> Accuracy:
    """Both [h, w]; inverse depth in 1/m, not positive where there is no reading. farthest: metres, bounds the fit."""
    known = inverse > 0
    truth = inverse[known].astype(np.float64)
    fitted = np.maximum(fit_frame(predicted[known].astype(np.float64), truth), 1.0 / farthest)
    ratio = np.maximum(fitted / truth, truth / fitted)
    return Accuracy(float(np.mean(np.abs(truth / fitted - 1.0))), float(np.mean(ratio < 1.25)))


def accuracy(predict: Predictor, frames: RealFrames, every: int = 1, *, stream: bool = False) -> Accuracy:
    """Over all frames, or every n-th. A stream is fed all of them all the same, so that time runs at its own pace."""
    results: list[Accuracy] = []
    for index in range(0, len(frames), 1 if stream else every):
        predicted, truth = predict(torch.from_numpy(frames.rgb[index])), frames.inverse[index]
        if index % every == 0 and (truth > 0).sum() >= 100:
            results.append(frame_accuracy(resized(predicted, truth.shape), truth))
    return mean(results)


def resized(depth: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Bilinear."""
    tensor = torch.from_numpy(depth)[None, None]
    out: NDArray[np.float32] = F.interpolate(tensor, size=shape, mode="bilinear")[0, 0].numpy()
    return out


def constant_map(rgb: Tensor) -> NDArray[np.float32]:
    """Baseline: the same everywhere."""
    return np.ones(rgb.shape[:2], np.float32)


def row_plane(rgb: Tensor) -> NDArray[np.float32]:
    """Baseline: nearer with every row down."""
    height, width = rgb.shape[:2]
    return np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], width, 1)


def prepared(rgb: Tensor, height: int, width: int) -> Tensor:
    """uint8 [h, w, 3] to the network's input [1, 3, height, width]."""
    picture = rgb.permute(2, 0, 1)[None].float() / 255
    return standardise(F.interpolate(picture, size=(height, width), mode="bilinear", antialias=True))


class Streaming:
    """Frames one after another through the network's step."""

    def __init__(self, network: NanoNetwork, height: int, width: int) -> None:
        self._network, self._size = network, (height, width)
        self._caches = [torch.zeros(1, cells, SLOTS, c) for cells, c in network.cache_shapes(height, width)]
        self._window = FeatureWindow(RULE)

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> NDArray[np.float32]:
        plan = self._window.plan()
        positions, mask = torch.from_numpy(plan.positions)[None], torch.from_numpy(plan.mask)[None]
        image = prepared(rgb, *self._size)
        depth, *features = self._network.forward_step(image, positions, mask, *self._caches)
        for cache, feature in zip(self._caches, features, strict=True):
            cache[:, :, list(plan.write)] = feature[:, :, None]
        out: NDArray[np.float32] = depth[0].numpy()
        return out


def single_frames(network: NanoNetwork, height: int, width: int) -> Predictor:
    """The network on every frame as if it were the first of a stream."""
    return single_frames_of(lambda: Streaming(network, height, width))


def single_frames_of(begin: Callable[[], Predictor]) -> Predictor:
    """Every frame as the first of a stream of its own, which `begin` starts."""

    def predict(rgb: Tensor) -> NDArray[np.float32]:
        return begin()(rgb)

    return predict


def flicker(maps: NDArray[np.float32]) -> float:
    """maps: [T, H, W] of a scene and camera that stand still. Median over pixels of the mean change from frame to
    frame, relative to the clip's range (2nd to 98th percentile).
    """
    low, high = np.quantile(maps, (0.02, 0.98))
    change = np.abs(np.diff(maps, axis=0)).mean(0)
    return float(np.median(change) / max(float(high - low), 1e-9))


def evaluate(network: NanoNetwork, data: Path, height: int, width: int, every: int = 1) -> dict[str, Accuracy]:
    """All predictors on both validation sets in `data`."""
    desk = RealFrames(data / "tum_fr1_rpy", VALIDATION_FIRST, VALIDATION_LAST)
    cabinet = RealFrames(data / "tum_fr3_cabinet", 0, 10_000)
    results = {}
    for name, frames in (("desk", desk), ("cabinet", cabinet)):
        results[f"{name}.frame"] = accuracy(single_frames(network, height, width), frames, every)
        results[f"{name}.row_plane"] = accuracy(row_plane, frames, every)
        results[f"{name}.constant"] = accuracy(constant_map, frames, every)
    results["desk.stream"] = accuracy(Streaming(network, height, width), desk, every, stream=True)
    return results


def mean(each: list[Accuracy]) -> Accuracy:
    """Of several."""
    return Accuracy(float(np.mean([a.abs_rel for a in each])), float(np.mean([a.delta1 for a in each])))


def noisy_copies(rgb: NDArray[np.uint8], frames: int, seed: int) -> list[NDArray[np.uint8]]:
    """One picture as a tripod camera would repeat it: fresh noise (sigma 4 of 255) and 1 % of exposure flicker."""
    rng = np.random.default_rng(seed)
    copies = []
    for _ in range(frames):
        shaken = rgb * rng.normal(1.0, 0.01) + rng.normal(0.0, 4.0, rgb.shape)
        copies.append(np.clip(shaken, 0, 255).astype(np.uint8))
    return copies


def steadiness(network: NanoNetwork, pictures: list[NDArray[np.uint8]], height: int, width: int) -> dict[str, float]:
    """Flicker of still pictures, streamed (without the frames that fill its window) and frame by frame."""
    found = {}
    predictors: tuple[Predictor, ...] = Streaming(network, height, width), single_frames(network, height, width)
    for name, predict in zip(("stream", "frame"), predictors, strict=True):
        maps = np.stack([predict(torch.from_numpy(picture)) for picture in pictures])
        found[name] = flicker(maps[WINDOW:])
    return found


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description="Measure the embedded model.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, help="folder with tum_fr1_rpy and tum_fr3_cabinet")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, size = load(options.weights), (options.height, options.width)
    results = evaluate(network, options.data, *size, options.every)
    figures: dict[str, object] = {name: asdict(value) for name, value in results.items()}
    desk = RealFrames(options.data / "tum_fr1_rpy", VALIDATION_FIRST, VALIDATION_FIRST)
    figures["flicker"] = steadiness(network, noisy_copies(desk.rgb[0], 40, 0), *size)
    text = json.dumps({"size": size, **figures}, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

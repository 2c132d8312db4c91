"""The rendered validation clips (seeds of their own, never trained on) and what the embedded model makes of them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray

from engines.spec import sha256_of
from export.nano.camera import MOTIONS
from export.nano.deployed import opener
from export.nano.evaluate import Accuracy, Predictor, frame_accuracy, mean, resized, single_frames_of
from export.nano.footage import filmed
from export.nano.kinds import KINDS
from export.nano.shards import FRAMES, TEXTURES, ShardPlan, make_clip
from export.nano.steady import (
    FARTHEST,
    Maps,
    aligned_depth,
    back_and_forth,
    drift,
    frames_to_recover,
    static_flicker,
    static_pixels,
)
from export.nano.textures import make_bank

Begin = Callable[[], Predictor]
"""Begins a new stream."""

SEED = 9_000_000
MOVING = 2
"""Moving clips of each kind, beside one on a tripod."""

CUTS = 10
DRIFT_FRAMES = 2000
YOUNG = 8
"""Frames of a tripod clip left out of its flicker: the window is still filling."""


@dataclass(frozen=True, slots=True)
class Clip:
    """name: kind and motion; rgb: uint8 [T, H, W, 3] as a camera gives it; inverse: float32 [T, H, W] in 1/m,
    0 = sky or beyond 80 m.
    """

    name: str
    rgb: NDArray[np.uint8]
    inverse: Maps

    @property
    def tripod(self) -> bool:
        """Whether the camera stands still."""
        return self.name.endswith("tripod")


def validation_clips(folder: Path, height: int, width: int) -> list[Clip]:
    """All clips, rendered into `folder` where they are not there yet (about a minute)."""
    folder.mkdir(parents=True, exist_ok=True)
    moving = [motion for motion in MOTIONS if motion != "tripod"]
    clips = []
    for index, kind in enumerate(KINDS):
        for take in range(MOVING + 1):
            motion = "tripod" if take == MOVING else moving[(index * MOVING + take) % len(moving)]
            seed = SEED + 10 * index + take
            clips.append(_clip(folder / f"{seed}-{kind}-{motion}.npz", seed, height, width))
    return clips


def _clip(path: Path, seed: int, height: int, width: int) -> Clip:
    _, kind, motion = path.stem.split("-")
    if not path.exists():
        bank = make_bank(TEXTURES, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            made = make_clip(Random(seed), bank, ShardPlan(1, FRAMES, height, width, True), kind, motion)
        np.savez_compressed(path, rgb=filmed(made.rgb, seed), inverse=made.inverse)
    stored = np.load(path)
    inverse = stored["inverse"].astype(np.float32)
    return Clip(f"{kind}.{motion}", stored["rgb"], np.where(inverse >= 1 / FARTHEST, inverse, 0.0).astype(np.float32))


def maps_of(predict: Predictor, rgb: NDArray[np.uint8]) -> Maps:
    """[T, H, W], at the pictures' size."""
    return np.stack([resized(predict(torch.from_numpy(picture)), rgb.shape[1:3]) for picture in rgb])


@dataclass(frozen=True, slots=True)
class ClipFigures:
    """per_frame: scale and shift fitted to each frame; per_clip: one pair for all frames of a clip.

    Without sky and what lies beyond 80 m. flicker: see `static_flicker`; None where the camera moves.
    """

    per_frame: Accuracy
    per_clip: Accuracy
    flicker: float | None


def measure(maps: Maps, clip: Clip) -> ClipFigures:
    """What one clip's maps are worth."""
    depth, known = aligned_depth(maps, clip.inverse), clip.inverse > 0
    pairs = [(m, t) for m, t in zip(maps, clip.inverse, strict=True) if (t > 0).sum() >= 100]
    each = [frame_accuracy(m, t, FARTHEST) for m, t in pairs]
    product = depth[known] * clip.inverse[known]
    whole = Accuracy(float(np.mean(np.abs(product - 1))), float(np.mean(np.maximum(product, 1 / product) < 1.25)))
    static = static_pixels(clip.inverse) if clip.tripod else np.zeros(depth.shape[1:], np.bool_)
    return ClipFigures(mean(each), whole, static_flicker(depth[YOUNG:], static) if static.any() else None)


def on_clips(begin: Begin, clips: list[Clip]) -> dict[str, float]:
    """Means (and a median, which no one clip can spoil) over the clips, streamed and frame by frame."""
    figures: dict[str, float] = {}
    for mode in ("stream", "frame"):
        found = []
        for clip in clips:
            predict = begin() if mode == "stream" else single_frames_of(begin)
            found.append(measure(maps_of(predict, clip.rgb), clip))
        for name, each in (("per_frame", [f.per_frame for f in found]), ("per_clip", [f.per_clip for f in found])):
            figures[f"{mode}.{name}.abs_rel"] = mean(each).abs_rel
            figures[f"{mode}.{name}.abs_rel_median"] = float(np.median([a.abs_rel for a in each]))
            figures[f"{mode}.{name}.delta1"] = mean(each).delta1
        for kind in KINDS:
            own = [f.per_frame for f, clip in zip(found, clips, strict=True) if clip.name.startswith(f"{kind}.")]
            if own:
                figures[f"{mode}.{kind}.abs_rel"] = mean(own).abs_rel
        flickers = [f.flicker for f in found if f.flicker is not None]
        figures[f"{mode}.flicker"] = float(np.mean(flickers))
        figures[f"{mode}.flicker_median"] = float(np.median(flickers))
    figures["flicker_ratio"] = figures["stream.flicker"] / figures["frame.flicker"]
    return figures


def over_time(begin: Begin, clip: Clip, frames: int = DRIFT_FRAMES) -> dict[str, float]:
    """One clip played back and forth with fresh noise: the first and the last round trip of a long stream compared."""
    order, rng = back_and_forth(len(clip.rgb), frames), np.random.default_rng(0)
    predict, levels, errors = begin(), [], []
    for index in order:
        noisy = np.clip(clip.rgb[index] + rng.normal(0, 3, clip.rgb[index].shape), 0, 255).astype(np.uint8)
        depth = resized(predict(torch.from_numpy(noisy)), clip.inverse.shape[1:])
        levels.append(float(np.median(depth)))
        errors.append(frame_accuracy(depth, clip.inverse[index], FARTHEST).abs_rel)
    period = 2 * (len(clip.rgb) - 1)
    return {
        "frames": frames,
        "level_change": drift(levels, period),
        "abs_rel_early": float(np.mean(errors[period : 2 * period])),
        "abs_rel_late": float(np.mean(errors[-period:])),
    }


def _errors(maps: Maps, inverse: Maps) -> list[float]:
    """AbsRel of each frame."""
    return [frame_accuracy(m, t, FARTHEST).abs_rel for m, t in zip(maps, inverse, strict=True)]


def after_cuts(begin: Begin, clips: list[Clip]) -> dict[str, float]:
    """Frames until a stream that ran into a cut unwarned is as good as one that began there; over several cuts."""
    needed = []
    for before, after in zip(clips, clips[1:] + clips[:1], strict=True):
        stream, fresh = begin(), begin()
        maps_of(stream, before.rgb)
        cut, new = maps_of(stream, after.rgb), maps_of(fresh, after.rgb)
        errors = [_errors(maps, after.inverse) for maps in (cut, new)]
        needed.append(frames_to_recover(errors[0], errors[1]))
    return {"cuts": len(needed), "median_frames": float(np.median(needed)), "most_frames": float(max(needed))}


def main() -> None:
    """Print and write the figures."""
    parser = argparse.ArgumentParser(description="Measure the embedded model on rendered clips.")
    parser.add_argument("weights", type=Path, help="trained .safetensors or exported .onnx")
    parser.add_argument("folder", type=Path, help="where the validation clips lie or go")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--drift-frames", type=int, default=DRIFT_FRAMES, help="0 leaves drift and cuts out")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = options.height, options.width
    begin = opener(options.weights, *size)
    clips = validation_clips(options.folder, 192, 256)
    weights = {"file": options.weights.name, "file_sha256": sha256_of(options.weights)}
    figures: dict[str, object] = {
        "benchmark": "nano_clips",
        **weights,
        "size": size,
        "clips": len(clips),
        **on_clips(begin, clips),
    }
    if options.drift_frames:
        figures["drift"] = over_time(begin, clips[0], options.drift_frames)
        indoor_and_out = [clip for clip in clips if not clip.tripod and (clip.inverse > 0).mean() > 0.4]
        figures["cut"] = after_cuts(begin, indoor_and_out[:CUTS])
    text = json.dumps(figures, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

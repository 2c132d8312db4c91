"""A picture of where the embedded model fails: the validation clips it does worst on, beside the truth."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export.nano.deployed import opener
from export.nano.evaluate import fit_frame, frame_accuracy
from export.nano.steady import FARTHEST, Maps
from export.nano.validation import Begin, Clip, maps_of, validation_clips

HEIGHT, WIDTH = 192, 256


def last_map(begin: Begin, clip: Clip) -> Maps:
    """The streamed map of the clip's last frame."""
    last: Maps = maps_of(begin(), clip.rgb)[-1]
    return last


def panel(clip: Clip, depth: Maps) -> NDArray[np.uint8]:
    """The last frame over its true inverse depth over the fitted map, on one grey scale; blue is unknown or sky."""
    truth = clip.inverse[-1]
    known = truth > 0
    fitted = fit_frame(depth[known].astype(np.float64), truth[known].astype(np.float64), depth.ravel())
    white = max(float(np.quantile(truth[known], 0.98)), 1e-6)
    rows = [clip.rgb[-1]]
    for inverse in (truth, fitted.reshape(truth.shape)):
        shade = np.repeat((np.clip(inverse / white, 0, 1) ** 0.6 * 255).astype(np.uint8)[..., None], 3, 2)
        rows.append(shade)
    rows[1][~known] = (20, 30, 70)
    return np.concatenate(rows, 0)


def worst(begin: Begin, clips: list[Clip], count: int) -> list[tuple[float, NDArray[np.uint8]]]:
    """AbsRel of the last frame and panel of the clips with the largest; at most one clip of each kind."""
    found: dict[str, tuple[float, NDArray[np.uint8]]] = {}
    for clip in clips:
        depth = last_map(begin, clip)
        error = frame_accuracy(depth, clip.inverse[-1], FARTHEST).abs_rel
        kind = clip.name.partition(".")[0]
        if kind not in found or error > found[kind][0]:
            found[kind] = error, panel(clip, depth)
    return sorted(found.values(), key=lambda each: -each[0])[:count]


def main() -> None:
    """Write the picture and print the errors, left to right."""
    parser = argparse.ArgumentParser(description="Draw the validation clips that the embedded model does worst on.")
    parser.add_argument("weights", type=Path, help="trained .safetensors or exported .onnx")
    parser.add_argument("folder", type=Path, help="where the validation clips lie or go")
    parser.add_argument("output", type=Path)
    parser.add_argument("--count", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = worst(
        opener(options.weights, HEIGHT, WIDTH), validation_clips(options.folder, HEIGHT, WIDTH), options.count
    )
    print(" ".join(f"{error:.3f}" for error, _ in found))
    picture = Image.fromarray(np.concatenate([each for _, each in found], 1))
    picture.resize((picture.width * 5 // 8, picture.height * 5 // 8)).save(options.output, quality=80)


if __name__ == "__main__":
    main()

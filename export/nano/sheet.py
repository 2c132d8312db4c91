"""A contact sheet: frames of videos beside the depth the network streams for them, to be looked at."""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export.nano.deployed import opener
from export.nano.evaluate import Predictor, resized

MULTIPLE = 32


def net_size(height: int, width: int, area: int) -> tuple[int, int]:
    """The network's input for frames of height × width: about `area` pixels, same shape, multiples of 32."""
    scale = (area / (height * width)) ** 0.5
    rows, columns = (max(1, round(side * scale / MULTIPLE)) * MULTIPLE for side in (height, width))
    return rows, columns


def decode(path: Path, frames: int) -> list[NDArray[np.uint8]]:
    """The first `frames` pictures, uint8 [H, W, 3] RGB."""
    pictures = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pictures.append(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))
            if len(pictures) == frames:
                break
    return pictures


def strip(pictures: list[NDArray[np.uint8]], predict: Predictor, shown: int, height: int) -> NDArray[np.uint8]:
    """`shown` of the pictures, each over its depth (its own range: black far, white near)."""
    keep = set(np.linspace(0, len(pictures) - 1, shown).astype(int).tolist())
    columns = []
    for index, picture in enumerate(pictures):
        depth = predict(torch.from_numpy(picture))
        if index in keep:
            columns.append(_column(picture, depth, height))
    return np.concatenate(columns, 1)


def _column(picture: NDArray[np.uint8], depth: NDArray[np.float32], height: int) -> NDArray[np.uint8]:
    width = round(height * picture.shape[1] / picture.shape[0])
    small = np.asarray(Image.fromarray(picture).resize((width, height)))
    low, high = np.quantile(depth, (0.005, 0.995))
    grey = np.clip((resized(depth, (height, width)) - low) / max(high - low, 1e-6), 0, 1)
    shade = np.repeat((grey[..., None] * 255).astype(np.uint8), 3, 2)
    return np.concatenate((small, shade), 0)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description="Draw a contact sheet of videos and their depth.")
    parser.add_argument("weights", type=Path, help="trained .safetensors or exported .onnx")
    parser.add_argument("output", type=Path)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--shown", type=int, default=4)
    parser.add_argument("--area", type=int, default=192 * 256)
    options = parser.parse_args()
    strips = []
    for video in options.videos:
        pictures = decode(video, options.frames)
        size = net_size(pictures[0].shape[0], pictures[0].shape[1], options.area)
        strips.append(strip(pictures, opener(options.weights, *size)(), options.shown, 135))
    width = max(s.shape[1] for s in strips)
    padded = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0))) for s in strips]
    Image.fromarray(np.concatenate(padded, 0)).save(options.output)


if __name__ == "__main__":
    main()

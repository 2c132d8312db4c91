"""A picture of what the scene generator makes: rows of clips, frames over their depth."""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from export.nano.camera import MOTIONS
from export.nano.kinds import KINDS
from export.nano.shards import TEXTURES, Clip, ShardPlan, make_clip
from export.nano.textures import make_bank

NEAR = 0.98
"""Quantile of inverse depth that is drawn white."""


def strip(clip: Clip, shown: int) -> NDArray[np.uint8]:
    """`shown` frames side by side, each over its inverse depth (white near, black far, blue sky)."""
    columns = []
    white = max(float(np.quantile(clip.inverse.astype(np.float32), NEAR)), 1e-6)
    for frame in np.linspace(0, len(clip.rgb) - 1, shown).astype(int):
        inverse = clip.inverse[frame].astype(np.float32)
        grey = (np.clip(inverse / white, 0, 1) ** 0.6 * 255).astype(np.uint8)
        shade = np.repeat(grey[..., None], 3, 2)
        shade[inverse == 0] = (20, 30, 70)
        columns.append(np.concatenate((clip.rgb[frame], shade), 0))
    return np.concatenate(columns, 1)


def sheet(seed: int, plan: ShardPlan, shown: int, kinds: list[str], device: str = "cpu") -> NDArray[np.uint8]:
    """One clip of each kind, camera motions in turn, two clips to a row."""
    bank = make_bank(TEXTURES, torch.Generator().manual_seed(seed)).to(torch.device(device))
    rng, motions = Random(seed), list(MOTIONS)
    strips = [strip(make_clip(rng, bank, plan, kind, motions[i % len(motions)]), shown) for i, kind in enumerate(kinds)]
    if len(strips) % 2:
        strips.append(np.zeros_like(strips[0]))
    rows = [np.concatenate(pair, 1) for pair in zip(strips[::2], strips[1::2], strict=True)]
    return np.concatenate(rows, 0)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description="Draw a contact sheet of rendered clips.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shown", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1, help="clips of each kind")
    parser.add_argument("--height", type=int, default=120)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    plan = ShardPlan(1, 16, options.height, options.width, True)
    with torch.no_grad():
        picture = sheet(options.seed, plan, options.shown, list(KINDS) * options.rounds, options.device)
    Image.fromarray(picture).save(options.output)


if __name__ == "__main__":
    main()

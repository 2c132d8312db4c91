"""Rendered training data on disk: shards of scenes, written once by one process and read by another as it grows.

A shard is two arrays: `NAME.rgb.npy` uint8 [S, K, H, W, 3] (sRGB) and `NAME.inv.npy` float16 [S, K, H, W] inverse
z-depth in 1/m (0 = sky): S scenes of K frames. The depth file is written last and marks the shard as complete.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from export.nano.camera import clearance, make_path
from export.nano.render import render
from export.nano.scenes import finish_scene, make_scene
from export.nano.textures import SIDE, TextureBank, make_bank

TEXTURES = 96
NEAREST = 20.0
"""Largest inverse depth kept, in 1/m."""


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """scenes × frames pictures of height × width; `video`: consecutive frames, otherwise far-apart views."""

    scenes: int
    frames: int
    height: int
    width: int
    video: bool


def render_shard(
    seed: int, plan: ShardPlan, photos: Tensor | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """The two arrays of one shard; the same seed gives the same arrays."""
    bank = make_bank(TEXTURES, torch.Generator().manual_seed(seed), photos)
    rng = Random(seed)
    rgb = np.empty((plan.scenes, plan.frames, plan.height, plan.width, 3), np.uint8)
    inverse = np.empty(rgb.shape[:-1], np.float16)
    done = 0
    while done < plan.scenes:
        colours, depths = render_clip(rng, bank, plan)
        if _dull(depths, rng):
            continue
        rgb[done], inverse[done] = colours, depths
        done += 1
    return rgb, inverse


def render_clip(rng: Random, bank: TextureBank, plan: ShardPlan) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """One random scene: uint8 [K, H, W, 3] and float16 [K, H, W]."""
    builder, setting = make_scene(rng, bank.count)
    pace = (0.0 if rng.random() < 0.25 else rng.uniform(0.3, 1.5)) if plan.video else rng.uniform(15, 40)
    views = make_path(rng, setting, plan.frames, pace)
    scene = finish_scene(builder, setting, clearance(views, setting))
    exposure = None
    colours, depths = [], []
    for index, view in enumerate(views):
        colour, inverse = render(scene, bank, view, float(index), plan.height, plan.width)
        if exposure is None:
            exposure = rng.uniform(0.25, 0.55) / float(colour.mean().clamp(min=1e-3))
        colours.append(((colour * exposure).clamp(0, 1) ** (1 / 2.2) * 255).round().to(torch.uint8).numpy())
        depths.append(inverse.clamp(max=NEAREST).to(torch.float16).numpy())
    return np.stack(colours), np.stack(depths)


def _dull(inverse: NDArray[np.float16], rng: Random) -> bool:
    """Nearly all sky, or one bare wall (some of those are kept)."""
    first = inverse[0].astype(np.float32)
    low, middle, high = np.quantile(first, (0.05, 0.5, 0.95))
    if (first == 0).mean() > 0.93 or middle >= NEAREST:
        return True
    return bool((high - low) < 0.25 * max(middle, 1e-3) and rng.random() < 0.85)


def load_photos(folder: Path, count: int, seed: int) -> Tensor:
    """Random 128×128 crops of the pictures in `folder`, float32 [count, 3, 128, 128] in [0, 1]."""
    rng = Random(seed)
    names = sorted(folder.glob("*.jpg"))[:560]
    crops = []
    for _ in range(count):
        picture = np.asarray(Image.open(rng.choice(names)).convert("RGB"))
        y, x = rng.randrange(picture.shape[0] - SIDE), rng.randrange(picture.shape[1] - SIDE)
        crops.append(torch.from_numpy(picture[y : y + SIDE, x : x + SIDE].copy()).permute(2, 0, 1).float() / 255)
    return torch.stack(crops)


def write_shard(folder: Path, seed: int, plan: ShardPlan, photos: Tensor | None) -> None:
    """Render one shard unless it is there already."""
    kind = "clip" if plan.video else "view"
    marker = folder / f"{kind}-{seed:06d}.inv.npy"
    if marker.exists():
        return
    rgb, inverse = render_shard(seed, plan, photos)
    np.save(folder / f"{kind}-{seed:06d}.rgb.npy", rgb)
    partial = marker.with_suffix(".part.npy")
    np.save(partial, inverse)
    partial.rename(marker)


def main() -> None:
    """Write shards until there are enough: first views, then views and clips in turn."""
    parser = argparse.ArgumentParser(description="Render training data.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--views-first", type=int, default=8, help="shards of views before the first clips")
    parser.add_argument("--clips-only", action="store_true")
    parser.add_argument("--height", type=int, default=192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--photos", type=Path, help="folder of pictures to take textures from")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    photos = load_photos(options.photos, 64, options.first_seed) if options.photos else None
    for index in range(options.shards):
        video = options.clips_only or (index >= options.views_first and index % 2 == 1)
        plan = ShardPlan(8 if video else 40, 10 if video else 2, options.height, options.width, video)
        with torch.no_grad():
            write_shard(options.folder, options.first_seed + index, plan, photos)


if __name__ == "__main__":
    main()

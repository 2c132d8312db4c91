"""Rendered training data on disk: shards of scenes, written once by one process and read by another as it grows.

A shard is three files: `NAME.rgb.npy` uint8 [S, K, H, W, 3] (sRGB), `NAME.inv.npy` float16 [S, K, H, W] inverse
z-depth in 1/m (0 = sky), S scenes of K frames, and `NAME.cam.npz`, the cameras: position [S, K, 2, 3] and axes
[S, K, 2, 3, 3] (rows right, up, forward) at the first and last row, focal [S, K] in pixels (principal point in the
middle, square pixels). The depth file is written last and marks the shard as complete.
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

from export.nano.camera import clearance, make_path, make_shots
from export.nano.footage import smear
from export.nano.kinds import make_scene
from export.nano.rays import Shots
from export.nano.render import render_clip
from export.nano.scenes import Setting, finish_scene
from export.nano.textures import SIDE, TextureBank, make_bank

TEXTURES = 96
FRAMES = 16
"""Of a clip."""
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


@dataclass(frozen=True, slots=True)
class Clip:
    """rgb: uint8 [K, H, W, 3]; inverse: float16 [K, H, W]; shots: the cameras."""

    rgb: NDArray[np.uint8]
    inverse: NDArray[np.float16]
    shots: Shots


def render_shard(seed: int, plan: ShardPlan, photos: Tensor | None = None, device: str = "cpu") -> list[Clip]:
    """The clips of one shard; the same seed gives the same clips."""
    bank = make_bank(TEXTURES, torch.Generator().manual_seed(seed), photos).to(torch.device(device))
    rng = Random(seed)
    clips: list[Clip] = []
    while len(clips) < plan.scenes:
        clip = make_clip(rng, bank, plan)
        if not _dull(clip.inverse, rng):
            clips.append(clip)
    return clips


def make_clip(
    rng: Random, bank: TextureBank, plan: ShardPlan, kind: str | None = None, motion: str | None = None
) -> Clip:
    """One random scene, of a kind and a camera motion if they are named; drawn where the bank lies."""
    builder, setting = make_scene(rng, bank.count, kind)
    shots = make_shots(rng, setting, plan.frames, motion) if plan.video else _far_apart(rng, setting, plan.frames)
    scene = finish_scene(builder, setting, clearance(shots.position[:, 0], setting))
    device = bank.texels.device
    shots = shots.to(device)
    colour, inverse = render_clip(scene.to(device), bank, shots, plan.height, plan.width)
    if plan.video and rng.random() < 0.4:
        colour = smear(colour, shots, inverse, rng.uniform(0.2, 0.7))
    colour = colour * (rng.uniform(0.25, 0.55) / colour[0].mean().clamp(min=1e-3))
    rgb = ((colour.clamp(0, 1) ** (1 / 2.2)) * 255).round().to(torch.uint8).cpu().numpy()
    return Clip(rgb, inverse.clamp(max=NEAREST).to(torch.float16).cpu().numpy(), shots.to(torch.device("cpu")))


def _far_apart(rng: Random, setting: Setting, frames: int) -> Shots:
    views = make_path(rng, setting, frames, rng.uniform(15, 40))
    return Shots(
        torch.stack([view.position.expand(2, 3) for view in views]),
        torch.stack([view.axes.expand(2, 3, 3) for view in views]),
        torch.tensor([view.focal for view in views]),
        torch.arange(frames, dtype=torch.float32),
        0.0,
    )


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


def write_shard(folder: Path, seed: int, plan: ShardPlan, photos: Tensor | None, device: str = "cpu") -> None:
    """Render one shard unless it is there already."""
    kind = "clip" if plan.video else "view"
    marker = folder / f"{kind}-{seed:06d}.inv.npy"
    if marker.exists():
        return
    clips = render_shard(seed, plan, photos, device)
    np.savez(
        folder / f"{kind}-{seed:06d}.cam.npz",
        position=np.stack([clip.shots.position.numpy() for clip in clips]),
        axes=np.stack([clip.shots.axes.numpy() for clip in clips]),
        focal=np.stack([clip.shots.focal.numpy() for clip in clips]) * plan.width,
    )
    np.save(folder / f"{kind}-{seed:06d}.rgb.npy", np.stack([clip.rgb for clip in clips]))
    partial = marker.with_suffix(".part.npy")
    np.save(partial, np.stack([clip.inverse for clip in clips]))
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
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    photos = load_photos(options.photos, 64, options.first_seed) if options.photos else None
    for index in range(options.shards):
        video = options.clips_only or (index >= options.views_first and index % 2 == 1)
        plan = ShardPlan(8 if video else 40, FRAMES if video else 2, options.height, options.width, video)
        with torch.no_grad():
            write_shard(options.folder, options.first_seed + index, plan, photos, options.device)


if __name__ == "__main__":
    main()

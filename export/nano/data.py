"""Where training batches come from: rendered shards, which may still be growing, and real RGB-D frames.

A batch is a function of (seed, step) and of what the pool holds, so a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from export.nano.augment import crop_grid, sample, spoil, standardise
from export.nano.footage import h264

UNKNOWN = -1.0
SIZES: dict[str, tuple[tuple[int, int], ...]] = {
    "quarter": ((96, 128), (96, 128), (96, 160), (96, 96), (128, 96)),
    "half": ((128, 192), (160, 192), (128, 224), (160, 224), (192, 160)),
    "whole": ((192, 256), (192, 256), (160, 288), (224, 224), (160, 224), (192, 288), (256, 192)),
}
"""Input sizes a batch may have, by their area in terms of the default one: most of one area, all the usual shapes."""

DROPPED = 0.35
"""Share of clips that lose frames."""

RESTART = 0.03
"""Probability that a stream restarts at any frame of a clip."""

FILMED = 0.4
"""Share of clips that go through a video codec."""


@dataclass(frozen=True, slots=True)
class Batch:
    """images: float32 [B, T, 3, H, W], normalised; inverse: [B, T, H, W], negative where unknown.

    starts: bool [B, T], True where the stream restarts; group: frames that share one scale and shift.
    """

    images: Tensor
    inverse: Tensor
    starts: Tensor
    group: int


class Source(Protocol):
    """Something clips are drawn from."""

    def draw(self, rng: random.Random, frames: int) -> tuple[Tensor, Tensor]:
        """uint8 [frames, h, w, 3] and inverse depth [frames, h', w'], negative where unknown."""


class Pool(Source, Protocol):
    """A source that grows."""

    def refresh(self) -> int:
        """Take up what is new; returns how many things there are to draw from."""


class RenderedPool:
    """All complete shards in a folder; `refresh` takes up new ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, tuple[NDArray[np.uint8], NDArray[np.float16]]] = {}
        self.refresh()

    def refresh(self) -> int:
        """Map new shards; returns how many there are."""
        for depth in sorted(self._folder.glob("*-??????.inv.npy")):
            name = depth.name.removesuffix(".inv.npy")
            if name not in self._shards:
                rgb = np.load(depth.with_name(f"{name}.rgb.npy"), mmap_mode="r")
                self._shards[name] = rgb, np.load(depth, mmap_mode="r")
        return len(self._shards)

    def draw(self, rng: random.Random, frames: int) -> tuple[Tensor, Tensor]:
        names = [n for n, (rgb, _) in self._shards.items() if rgb.shape[1] >= frames]
        rgb, inverse = self._shards[rng.choice(names)]
        scene, chosen = rng.randrange(len(rgb)), pick_frames(rng, rgb.shape[1], frames)
        return torch.from_numpy(rgb[scene, chosen].copy()), torch.from_numpy(inverse[scene, chosen].copy())


def pick_frames(rng: random.Random, available: int, wanted: int) -> list[int]:
    """Which frames of a clip a stream gets: consecutive ones, or some dropped as a slow machine does."""
    first = rng.randrange(available - wanted + 1)
    if wanted < 3 or rng.random() >= DROPPED:
        return list(range(first, first + wanted))
    span = rng.randint(wanted, min(available, 2 * wanted))
    first = rng.randrange(available - span + 1)
    between = sorted(rng.sample(range(first + 1, first + span - 1), wanted - 2))
    return [first, *between, first + span - 1]


class RealFrames:
    """Frames `first` … `last` (inclusive) of an RGB-D folder.

    rgb/NNNN.jpg and depth/NNNN.png, in millimetres, 0 = unknown, at half the picture's size or any other.
    """

    def __init__(self, folder: Path, first: int, last: int) -> None:
        names = [p.stem for p in sorted((folder / "rgb").glob("*.jpg"))]
        names = [n for i, n in enumerate(names) if first <= i <= last]
        names = [n for n in names if min(Image.open(folder / "rgb" / f"{n}.jpg").size) > 1]  # strips of no use
        self.rgb = np.stack([np.asarray(Image.open(folder / "rgb" / f"{n}.jpg").convert("RGB")) for n in names])
        depth = np.stack([np.asarray(Image.open(folder / "depth" / f"{n}.png")) for n in names]).astype(np.float32)
        self.inverse = np.where(depth > 0, 1000.0 / np.maximum(depth, 1), UNKNOWN).astype(np.float32)

    def __len__(self) -> int:
        return len(self.rgb)

    def draw(self, rng: random.Random, frames: int) -> tuple[Tensor, Tensor]:
        """Consecutive frames, or every second or third; forwards or backwards."""
        step = rng.choice((1, 1, 2, 3)) if frames > 1 else 1
        first = rng.randrange(len(self) - (frames - 1) * step)
        index = list(range(first, first + frames * step, step))
        if rng.random() < 0.5:
            index.reverse()
        return torch.from_numpy(self.rgb[index]), torch.from_numpy(self.inverse[index])


class Several:
    """Sources of which one is drawn from each time, by weight."""

    def __init__(self, sources: Sequence[tuple[Source, float]]) -> None:
        self._sources, self._weights = [s for s, _ in sources], [w for _, w in sources]

    def draw(self, rng: random.Random, frames: int) -> tuple[Tensor, Tensor]:
        """From one of them."""
        return rng.choices(self._sources, self._weights)[0].draw(rng, frames)


@dataclass(frozen=True, slots=True)
class Mixture:
    """What one batch holds: `size` clips of `frames` frames, a share `real` of them real.

    area: key of SIZES. A batch of clips is, with probability `cut`, spliced of two or three equal parts; at
    half of the splices the stream restarts, into the others it runs unwarned.
    """

    size: int
    frames: int
    real: float
    cut: float = 0.3
    area: str = "whole"


def make_batch(sources: tuple[Source, Source | None], mixture: Mixture, seed: int, step: int) -> Batch:
    """The batch of this step. sources: rendered and real clips."""
    rng = random.Random(seed * 1_000_003 + step)
    noise = torch.Generator().manual_seed(rng.getrandbits(60))
    height, width = rng.choice(SIZES[mixture.area])
    rendered, real = sources
    spliced = mixture.frames > 1 and rng.random() < mixture.cut
    part = mixture.frames // rng.choice(_pieces(mixture.frames)) if spliced else mixture.frames
    images, inverse, starts = [], [], []
    for index in range(mixture.size):
        share = mixture.real * mixture.size
        is_real = real is not None and index + rng.random() < share
        source = real if is_real and real is not None else rendered
        clip = [_one(source, rng, noise, part, height, width) for _ in range(mixture.frames // part)]
        images.append(torch.cat([c[0] for c in clip]))
        inverse.append(torch.cat([c[1] for c in clip]))
        begins = torch.zeros(mixture.frames, dtype=torch.bool)
        begins[0] = True
        for splice in range(part, mixture.frames, part):
            begins[splice] = rng.random() < 0.5
        if mixture.frames > 1:
            begins |= torch.tensor([rng.random() < RESTART for _ in range(mixture.frames)])
        starts.append(begins)
    return Batch(standardise(torch.stack(images)), torch.stack(inverse), torch.stack(starts), part)


def _pieces(frames: int) -> list[int]:
    """Into how many equal parts, of two frames at least, so many can be spliced."""
    return [pieces for pieces in (2, 3) if frames % pieces == 0 and frames // pieces > 1] or [1]


def _one(
    source: Source, rng: random.Random, noise: torch.Generator, frames: int, height: int, width: int
) -> tuple[Tensor, Tensor]:
    rgb, inverse = source.draw(rng, frames)
    grid = crop_grid(rng, height, width, rgb.shape[2] / rgb.shape[1])
    picture, depth = sample(rgb, inverse, grid)
    spoilt = spoil(picture, rng, noise)
    if frames > 1 and rng.random() < FILMED:
        encoded = (spoilt * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        spoilt = torch.from_numpy(h264(encoded, rng.randint(20, 36))).permute(0, 3, 1, 2).float() / 255
    return spoilt, depth


def batches(
    sources: tuple[Pool, Source | None], mixture: Mixture, seed: int, first: int, last: int, workers: int = 1
) -> Iterator[Batch]:
    """The batches of steps first … last-1, made ahead by `workers` threads; the pool is refreshed now and then."""

    def make(step: int) -> Batch:
        if step % 20 == 0:
            sources[0].refresh()
        return make_batch(sources, mixture, seed, step)

    lead = workers + 2
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        ahead: list[Future[Batch]] = [pool.submit(make, s) for s in range(first, min(first + lead, last))]
        for step in range(first, last):
            batch = ahead.pop(0).result()
            if step + lead < last:
                ahead.append(pool.submit(make, step + lead))
            yield batch

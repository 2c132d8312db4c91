"""Training pictures rendered by a process of their own, while another trains; a bounded queue lies between them."""

from __future__ import annotations

import multiprocessing
import queue
import random
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.nano.meshes.kinds import developed, pictures
from export.nano.meshes.library import Library, load_library
from export.nano.meshes.pan import panned
from export.nano.shards import ShardPlan, load_photos, render_shard

Sample = tuple[NDArray[np.uint8], NDArray[np.float16]]
"""rgb uint8 [H, W, 3] and inverse depth [H, W] in 1/m, 0 = sky."""

QUEUED = 64
"""Samples between the processes."""
HELD = 1000
"""Samples the trainer draws from, at most. When there are as many, the renderer rests: on two cores that others use
too, more of them only takes time from training.
"""
FEWEST = 200
"""Samples that must be there before the first draw: neighbours in one batch should not be of one scene."""
PRIMITIVES_AT_ONCE = 6
PHOTOGRAPHS = 160
STOPPED_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class RenderPlan:
    """data: folder as `load_library` wants it; real: folder of photographs to hang and wrap, if any; size: height and
    width; primitives: share of samples that come from the older generator (`export.nano.kinds`); uses: how often each
    sample is drawn, in a new crop and new colours each time.
    """

    data: Path
    real: Path | None
    size: tuple[int, int]
    primitives: float
    uses: int
    seed: int


class MeshPool:
    """A pool for `export.nano.data.batches`: renders from `with` until its end."""

    def __init__(self, plan: RenderPlan) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue: Queue[Sample | str] = context.Queue(QUEUED)
        self._stopping: Event = context.Event()
        self._process = context.Process(
            target=_render, args=(plan, self._queue, self._stopping), name="renderer", daemon=True
        )
        self._thread = threading.Thread(target=self._collect, name="collector", daemon=True)
        self._changed = threading.Condition()
        self._uses = plan.uses
        self._held: list[tuple[Sample, int]] = []
        self._failure: str | None = None
        self.rendered = 0
        """Samples that came so far."""

    @property
    def pid(self) -> int | None:
        """Of the rendering process."""
        return self._process.pid

    def __enter__(self) -> Self:
        self._process.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        self._process.join(STOPPED_WITHIN)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._queue.close()

    def refresh(self) -> int:
        """How many samples there are now."""
        return len(self._held)

    def draw(self, rng: random.Random, frames: int) -> tuple[Tensor, Tensor]:
        """A picture, or a clip panned over one; waits for enough. A sample that was drawn `uses` times goes."""
        rgb, inverse = (torch.from_numpy(each) for each in self._take(rng))
        return (rgb[None], inverse[None]) if frames == 1 else panned(rgb, inverse, frames, rng)

    def _take(self, rng: random.Random) -> Sample:
        with self._changed:
            self._changed.wait_for(lambda: len(self._held) >= FEWEST or self._failure is not None)
            if self._failure is not None:
                raise RuntimeError(f"the renderer stopped: {self._failure}")
            index = rng.randrange(len(self._held))
            sample, left = self._held[index]
            if left > 1:
                self._held[index] = sample, left - 1
            else:
                self._held[index] = self._held[-1]
                self._held.pop()
                self._changed.notify_all()
        return sample

    def _collect(self) -> None:
        """Queue to store, as long as the store has room; runs on a thread of its own."""
        while not self._stopping.is_set():
            with self._changed:
                if not self._changed.wait_for(lambda: len(self._held) < HELD or self._stopping.is_set(), 1.0):
                    continue
            was_alive = self._process.is_alive()
            try:
                sample = self._queue.get(timeout=1.0)
            except queue.Empty:
                if was_alive:
                    continue
                sample = f"its process ended with code {self._process.exitcode}"
            with self._changed:
                if isinstance(sample, str):
                    self._failure = sample
                else:
                    self._held.append((sample, self._uses))
                    self.rendered += 1
                self._changed.notify_all()
            if isinstance(sample, str):
                return


def _render(plan: RenderPlan, out: Queue[Sample | str], stopping: Event) -> None:
    """The process: samples into the queue until told to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(1)
    try:
        for sample in samples(plan):
            while not stopping.is_set():
                try:
                    out.put(sample, timeout=1.0)
                    break
                except queue.Full:
                    continue
            if stopping.is_set():
                break
    except Exception as error:  # the boundary of the process: told to whoever draws
        out.put(f"{type(error).__name__}: {error}")
        return  # Once it is sent.
    out.cancel_join_thread()


def samples(plan: RenderPlan) -> Iterator[Sample]:
    """Endless, of all kinds; the same plan gives the same ones."""
    rng = np.random.default_rng(plan.seed)
    library = load_library(plan.data, "train", _photographs(plan))
    sent = own = 0
    while True:
        if own < plan.primitives * sent:
            made = _primitives(plan, rng)
            own += len(made)
        else:
            made = _of_meshes(library, plan, rng)
        sent += len(made)
        yield from made


def _of_meshes(library: Library, plan: RenderPlan, rng: np.random.Generator) -> list[Sample]:
    return [
        (developed(picture, rng), picture.inverse.astype(np.float16))
        for picture in pictures(library, plan.size, rng)
    ]  # fmt: skip


def _primitives(plan: RenderPlan, rng: np.random.Generator) -> list[Sample]:
    """A few places of the older generator, two views of each."""
    photos = load_photos(plan.real, 16, int(rng.integers(1 << 30))) if plan.real else None
    shard = ShardPlan(PRIMITIVES_AT_ONCE, 2, *plan.size, False)
    with torch.no_grad():
        clips = render_shard(int(rng.integers(1 << 40)) + (1 << 32), shard, photos)
    return [(rgb, inverse) for clip in clips for rgb, inverse in zip(clip.rgb, clip.inverse, strict=True)]


def _photographs(plan: RenderPlan) -> list[NDArray[np.uint8]]:
    if plan.real is None:
        return []
    crops = load_photos(plan.real, PHOTOGRAPHS, plan.seed)
    return list((crops * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())

"""Clips rendered while training goes on, on the same device: nothing on disk, nothing seen often."""

from __future__ import annotations

import random
import threading
from collections import deque
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from export.nano.data import pick_frames
from export.nano.shards import Clip, ShardPlan, render_shard

CAPACITY = 768
"""Clips held: about 2 GB at 192×256; the oldest makes room for the newest."""


class LivePool:
    """Renders one shard of `plan` after another in a thread of its own, from `with` until its end.

    What the thread died of is raised by `draw`.
    """

    def __init__(self, plan: ShardPlan, seed: int, device: str, photos: Tensor | None) -> None:
        self._plan, self._seed, self._device, self._photos = plan, seed, device, photos
        self._clips: deque[Clip] = deque(maxlen=CAPACITY)
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="renderer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def refresh(self) -> int:
        """How many clips there are now."""
        return len(self._clips)

    def draw(self, rng: random.Random, frames: int) -> tuple[Tensor, Tensor]:
        """As `RenderedPool.draw`; waits for the first clips."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._clips) or self._failure is not None)
            if self._failure is not None:
                raise RuntimeError("the renderer stopped; see the error above") from self._failure
            clip = self._clips[rng.randrange(len(self._clips))]
        chosen = pick_frames(rng, len(clip.rgb), frames)
        return torch.from_numpy(clip.rgb[chosen]), torch.from_numpy(clip.inverse[chosen])

    def _work(self) -> None:
        seed = self._seed
        try:
            while not self._stopping.is_set():
                with torch.no_grad():
                    made = render_shard(seed, self._plan, self._photos, self._device)
                with self._changed:
                    self._clips.extend(made)
                    self._changed.notify_all()
                seed += 1
        except Exception as error:  # the boundary of the thread: told to whoever draws
            with self._changed:
                self._failure = error
                self._changed.notify_all()

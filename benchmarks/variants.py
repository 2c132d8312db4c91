"""What a benchmark runs, as words: `nano`, `nano:threads=1`, `VDA-Small:engine=torch,input_size=252,batch=4`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.sides import engine_of
from benchmarks.weights import random_checkpoint
from depthcast.models import NANO, find
from depthcast.networks import step_session
from depthcast.plan import Engine, Mode, Precision, Wanted, size_text
from depthcast.settings import Settings
from engines.session import Cache, Session
from engines.spec import ModelSpec
from engines.window import FeatureWindow

CHOICES = ("engine", "precision", "threads", "input_size", "batch", "checkpoint", "metric")


@dataclass(frozen=True, slots=True)
class Variant:
    """label: the words it was made from. batch: streams in one call, which the network must take."""

    label: str
    wanted: Wanted
    batch: int = 1


def parse(text: str) -> Variant:
    """A variant of its words; ValueError where they make no sense.

    Official models without a checkpoint get random weights: speed does not depend on them.
    """
    name, _, options = text.partition(":")
    chosen = dict(word.partition("=")[::2] for word in options.split(",") if word)
    if unknown := chosen.keys() - set(CHOICES):
        raise ValueError(f"{text!r}: unknown {', '.join(sorted(unknown))}; known are {', '.join(CHOICES)}")
    model = find(name, chosen.get("metric", "") not in ("", "0", "false"))
    checkpoint = Path(chosen["checkpoint"]) if "checkpoint" in chosen else None
    if checkpoint is None and model.name != NANO:
        checkpoint = random_checkpoint(model.name, Settings.from_environment().home / "benchmarks")
    wanted = Wanted(
        model,
        Mode.STREAM,
        Engine(chosen.get("engine", Engine.AUTO)),
        Precision(chosen.get("precision", Precision.AUTO)),
        checkpoint,
        int(chosen["input_size"]) if "input_size" in chosen else None,
        int(chosen["threads"]) if "threads" in chosen else None,
    )
    return Variant(text, wanted, int(chosen.get("batch", 1)))


@contextmanager
def opened(variant: Variant, frame: tuple[int, int]) -> Iterator[Session]:
    """Its session for frames of (height, width); exported or built first where needed."""
    with step_session(variant.wanted, frame, Settings.from_environment(), print) as session:
        yield session


def described(variant: Variant, session: Session) -> dict[str, object]:
    """What ran."""
    return {
        "label": variant.label,
        "model": session.spec.name,
        "size": size_text(session.spec.size),
        "engine": engine_of(session),
        "precision": session.spec.precision,
        "threads": variant.wanted.threads,
        "batch": variant.batch,
    }


class Streams:
    """So many streams that step together in one call, on noise: speed does not depend on what is seen."""

    def __init__(self, session: Session, batch: int = 1) -> None:
        self._session = session
        self.cache: Cache = session.new_cache(batch)
        self._windows = [FeatureWindow(session.spec.window) for _ in range(batch)]
        self.cache.image[:] = np.random.default_rng(0).integers(0, 2, self.cache.image.shape)

    def step(self) -> None:
        """The next frame of each."""
        self._session.step(self.cache, [window.plan() for window in self._windows])


def cache_bytes(spec: ModelSpec, slots: int | None = None) -> int:
    """Bytes of one stream's cached features, with other than the spec's number of slots where that is given."""
    height, width = spec.size
    kept = spec.window.slots if slots is None else slots
    each = 2 if spec.precision == "fp16" else 4
    return sum(cache.cells(height, width) * kept * cache.channels * each for cache in spec.caches)

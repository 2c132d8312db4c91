"""All kinds of scenes and how often each is made: close-ups of desks and webcams as often as outdoor views."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from export.nano import places, scenes
from export.nano.builder import Builder
from export.nano.scenes import Setting

KINDS: dict[str, tuple[Callable[[Builder], Setting], float]] = {
    "room": (scenes.room, 0.18),
    "house": (places.house, 0.12),
    "desk": (scenes.desk, 0.17),
    "webcam": (places.webcam, 0.14),
    "street": (scenes.street, 0.1),
    "stairs": (places.stairwell, 0.06),
    "hills": (places.hills, 0.08),
    "country": (scenes.country, 0.07),
    "tower": (scenes.tower, 0.02),
    "loose": (scenes.loose, 0.06),
}


def make_scene(rng: Random, textures: int, kind: str | None = None) -> tuple[Builder, Setting]:
    """One random place, filled; of a random kind unless one is named."""
    builder = Builder(rng, textures)
    name = kind or rng.choices(list(KINDS), [weight for _, weight in KINDS.values()])[0]
    return builder, KINDS[name][0](builder)

"""Random light: sun or lamps with hard or soft shadows, fill, haze, sky."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor

from export.nano.builder import Vector
from export.nano.render import Lighting

SOFT = 4
"""Lights that make up a soft one."""


def daylight(rng: Random, lamp: Vector | None = None) -> Lighting:
    """Sun and sky, bright or overcast; `lamp` stands in a room with windows."""
    height, turn = math.radians(rng.uniform(12, 80)), rng.uniform(0, 2 * math.pi)
    flat = math.cos(height)
    sun = torch.tensor([flat * math.cos(turn), math.sin(height), flat * math.sin(turn)]) * 1e4
    haze = math.exp(rng.uniform(math.log(1e-4), math.log(0.02))) if rng.random() < 0.7 else 0.0
    grey = rng.uniform(0, 1)
    top = torch.tensor([0.25, 0.45, 0.9]) * (1 - grey) + grey * torch.tensor([0.7, 0.7, 0.75])
    sky = torch.stack((_colour(rng, 0.6, 1.1), top * rng.uniform(0.4, 1.1)))
    places = [(sun, 400.0)]
    if lamp is not None:
        places.append((torch.tensor(lamp), 0.15))
        haze *= 0.1
    return _lighting(rng, places, haze, sky)


def lamplight(rng: Random, room: Vector) -> Lighting:
    """One to three lamps in a room given by half width, height and half depth."""
    width, high, depth = room
    places = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        across, along = rng.uniform(-0.8, 0.8) * width, rng.uniform(-0.8, 0.8) * depth
        places.append((torch.tensor([across, high * rng.uniform(0.6, 0.97), along]), rng.uniform(0.05, 0.35)))
    haze = 0.02 * rng.random() if rng.random() < 0.1 else 0.0
    return _lighting(rng, places, haze, torch.stack((_colour(rng, 0.2, 0.8), _colour(rng, 0.2, 0.8))))


def _lighting(rng: Random, places: list[tuple[Tensor, float]], haze: float, sky: Tensor) -> Lighting:
    """places: each light's place and the radius that a soft one has."""
    strong = rng.random() < 0.6
    lights, colours = [], []
    for place, radius in places:
        colour = (_colour(rng, 0.5, 1.3) if strong else _colour(rng, 0.05, 0.4)) / len(places) ** 0.7
        count = SOFT if strong and rng.random() < 0.35 else 1
        for _ in range(count):
            offset = torch.tensor([rng.gauss(0, 1) for _ in range(3)]) * radius if count > 1 else torch.zeros(3)
            lights.append(place + offset)
            colours.append(colour / count)
    fill = torch.tensor([rng.gauss(0, 1), rng.uniform(0, 1), rng.gauss(0, 1)])
    ambient = _colour(rng, 0.1, 0.5) if strong else _colour(rng, 0.4, 0.9)
    return Lighting(
        torch.stack(lights),
        torch.stack(colours),
        fill / fill.norm(),
        _colour(rng, 0.0, 0.4),
        ambient,
        haze,
        sky,
        strong,
    )


def _colour(rng: Random, low: float, high: float) -> Tensor:
    level = rng.uniform(low, high)
    return torch.tensor([level * rng.uniform(0.85, 1.15) for _ in range(3)])

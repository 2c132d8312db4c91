"""Camera paths: a steady drift or turn, with hand shake on top."""

from __future__ import annotations

import math
from random import Random

import torch
from torch import Tensor

from export.nano.render import View, look
from export.nano.scenes import Setting

CLEARANCE = 0.12
"""Free radius around the camera, as a share of the distance of things."""


def make_path(rng: Random, setting: Setting, frames: int, pace: float) -> list[View]:
    """`frames` consecutive views. pace: 1 = video, larger = far-apart views of one place, 0 = tripod."""
    focal = 0.5 / math.tan(math.radians(rng.uniform(38, 95)) / 2)
    roll = math.radians(rng.gauss(0, 4)) if rng.random() < 0.88 else math.radians(rng.uniform(-30, 30))
    drift = [rng.gauss(0, 0.006) * setting.reach for _ in range(3)]
    drift[1] *= 0.3
    turn = [math.radians(rng.gauss(0, s)) for s in (0.9, 0.5, 0.3)]
    shake = [_Wave(rng) for _ in range(6)]
    strength = rng.uniform(0, 1) ** 2 * pace
    views = []
    for t in range(frames):
        s = pace * t
        place = torch.tensor([p + d * s for p, d in zip(setting.position, drift, strict=True)])
        place = place + torch.tensor([0.004 * setting.reach * strength * shake[i].at(t) for i in range(3)])
        angle = [math.radians(0.5) * strength * shake[i].at(t) for i in range(3, 6)]
        axes = look(
            setting.yaw + turn[0] * s + angle[0], setting.pitch + turn[1] * s + angle[1], roll + turn[2] * s + angle[2]
        )
        views.append(View(_inside(place, setting), axes, focal))
    return views


def clearance(views: list[View], setting: Setting) -> Tensor:
    """[n, 4]: balls around the path that must stay empty."""
    radius = CLEARANCE * setting.reach
    return torch.stack([torch.cat((view.position, torch.tensor([radius]))) for view in views])


def _inside(place: Tensor, setting: Setting) -> Tensor:
    """Keep the camera off the walls and the floor."""
    width, height, depth = setting.room
    margin = 0.15
    low = torch.tensor([margin - width, margin, margin - depth])
    high = torch.tensor([width - margin, height - margin, depth - margin])
    return torch.minimum(torch.maximum(place, low), high)


class _Wave:
    """A smooth random motion of about unit size."""

    def __init__(self, rng: Random) -> None:
        self._terms = [(rng.uniform(0.1, 1.2), rng.uniform(0, 2 * math.pi), rng.gauss(0, 0.7)) for _ in range(3)]

    def at(self, t: float) -> float:
        return sum(size * math.sin(rate * t + phase) for rate, phase, size in self._terms)

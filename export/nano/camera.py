"""Camera paths: views of one place far apart, and clips as people film them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from export.nano.rays import Shots, View, look
from export.nano.scenes import Setting

CLEARANCE = 0.12
"""Free radius around the camera, as a share of the distance of things."""

MOTIONS = {"tripod": 0.2, "handheld": 0.25, "walk": 0.17, "turn": 0.15, "zoom": 0.08, "drift": 0.15}
"""How often each is made."""

HEAD_ROOM = 0.4
"""Metres that the camera keeps above hills."""


@dataclass(frozen=True, slots=True)
class Motion:
    """Per frame: metres along the camera's own right, up and forward, radians of yaw, pitch and roll, log of zoom.

    shake: size of hand shake, 1 = a calm hand; bob: metres of a walker's rise and fall.
    """

    way: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    zoom: float = 0.0
    shake: float = 0.0
    bob: float = 0.0


def make_motion(rng: Random, kind: str, reach: float) -> Motion:
    """A random motion of this kind; reach: metres to things, which sets what is slow."""
    near = min(1.0, reach / 2.5)
    shake = rng.uniform(0.3, 1.5)
    if kind == "tripod":
        return Motion()
    if kind == "handheld":
        return Motion(shake=shake * 1.5)
    if kind == "walk":
        ahead = rng.choice((1, 1, 1, -1)) * rng.uniform(0.015, 0.05) * near
        return Motion((rng.gauss(0, 0.01) * near, 0.0, ahead), (rng.gauss(0, 0.006), 0, 0), 0.0, shake, 0.03 * near)
    if kind == "turn":
        rate = math.radians(rng.uniform(0.3, 2.5)) * rng.choice((-1, 1))
        return Motion((0, 0, 0), (rate, rng.gauss(0, 0.2) * rate, rng.gauss(0, 0.05) * rate), 0.0, shake * 0.5)
    if kind == "zoom":
        return Motion(zoom=rng.choice((-1, 1)) * rng.uniform(0.01, 0.05), shake=rng.choice((0.0, 0.5 * shake)))
    assert kind == "drift"
    x, y, z = (rng.gauss(0, 0.006) * reach for _ in range(3))
    return Motion((x, 0.3 * y, z), (rng.gauss(0, 0.015), rng.gauss(0, 0.008), rng.gauss(0, 0.004)), 0.0, 0.3 * shake)


def make_shots(rng: Random, setting: Setting, frames: int, kind: str | None = None) -> Shots:
    """`frames` consecutive frames of one camera; of a random motion unless one of MOTIONS is named."""
    name = kind or rng.choices(list(MOTIONS), list(MOTIONS.values()))[0]
    motion = make_motion(rng, name, setting.reach)
    path = _Path(rng, setting, motion)
    readout = rng.uniform(0.3, 0.9) if name != "tripod" and rng.random() < 0.3 else 0.0
    ends = [(path.at(t, t), path.at(t + readout, t)) for t in range(frames)]
    return Shots(
        torch.stack([torch.stack([view.position for view in pair]) for pair in ends]),
        torch.stack([torch.stack([view.axes for view in pair]) for pair in ends]),
        torch.tensor([pair[0].focal for pair in ends]),
        torch.arange(frames, dtype=torch.float32),
        readout,
    )


class _Path:
    """Where the camera is at any time."""

    def __init__(self, rng: Random, setting: Setting, motion: Motion) -> None:
        self._setting, self._motion = setting, motion
        self._focal = 0.5 / math.tan(math.radians(rng.uniform(40, 100)) / 2)
        roll = rng.gauss(0, 4) if rng.random() < 0.88 else rng.uniform(-30, 30)
        self._angles = setting.yaw, setting.pitch, math.radians(roll)
        self._shake = [_Wave(rng) for _ in range(6)]
        self._step = rng.uniform(0.3, 0.55), rng.uniform(0, 6.3)

    def at(self, time: float, frame: float) -> View:
        """The camera at a time; its zoom is that of the frame."""
        motion, setting = self._motion, self._setting
        shake = [wave.at(time) * motion.shake for wave in self._shake]
        angles = [
            angle + turn * time + math.radians(0.35) * wave
            for angle, turn, wave in zip(self._angles, motion.turn, shake[3:], strict=True)
        ]
        axes = look(angles[0], angles[1], angles[2])
        offset = torch.tensor([w * time + 0.002 * setting.reach * s for w, s in zip(motion.way, shake, strict=False)])
        level = look(self._angles[0], 0.0, 0.0)
        place = torch.tensor(setting.position) + offset @ level
        place[1] += motion.bob * math.sin(2 * self._step[0] * time + self._step[1])
        return View(_inside(place, setting), axes, self._focal * math.exp(motion.zoom * frame))


def make_path(rng: Random, setting: Setting, frames: int, pace: float) -> list[View]:
    """`frames` views of one place, `pace` video frames apart; 0 = the same view again."""
    motion = make_motion(rng, "drift", setting.reach)
    path = _Path(rng, setting, motion)
    return [path.at(pace * t, 0.0) for t in range(frames)]


def clearance(places: Tensor, setting: Setting) -> Tensor:
    """[n, 4]: balls around the path `places` [n, 3] that must stay empty."""
    radius = torch.full((len(places), 1), CLEARANCE * setting.reach)
    return torch.cat((places, radius), 1)


def _inside(place: Tensor, setting: Setting) -> Tensor:
    """Keep the camera off the walls and the ground."""
    width, height, depth = setting.room
    margin = 0.15
    low = torch.tensor([margin - width, margin, margin - depth])
    high = torch.tensor([width - margin, height - margin, depth - margin])
    kept = torch.minimum(torch.maximum(place, low), high)
    if setting.terrain is not None:
        ground = setting.terrain.height(kept[:1], kept[2:])
        kept = torch.cat((kept[:1], torch.maximum(kept[1:2], ground + HEAD_ROOM), kept[2:]))
    return kept


class _Wave:
    """A smooth random motion of about unit size."""

    def __init__(self, rng: Random) -> None:
        self._terms = [(rng.uniform(0.1, 1.2), rng.uniform(0, 2 * math.pi), rng.gauss(0, 0.7)) for _ in range(3)]

    def at(self, t: float) -> float:
        return sum(size * math.sin(rate * t + phase) for rate, phase, size in self._terms)

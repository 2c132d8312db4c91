"""Bundles of rays, each with its own origin and time, and the cameras they come from.

Axes: x right, y up, z forward, metres; time in frames. R rays, T frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FAR = 1e5
"""Farther than anything drawn; a ray that gets there has met the sky."""


@dataclass(frozen=True, slots=True)
class Rays:
    """origin, direction: [R, 3]; time: [R]. A direction is scaled so that the ray parameter is z-depth."""

    origin: Tensor
    direction: Tensor
    time: Tensor

    def __len__(self) -> int:
        return len(self.time)

    def split(self, count: int) -> list[Rays]:
        """Bundles of at most `count` rays."""
        parts = (self.origin.split(count), self.direction.split(count), self.time.split(count))
        return [Rays(*each) for each in zip(*parts, strict=True)]

    def at(self, depth: Tensor) -> Tensor:
        """Places [R, 3] at z-depth [R]."""
        return self.origin + self.direction * depth[:, None]


@dataclass(frozen=True, slots=True)
class View:
    """position: [3]; axes: [3, 3], rows right, up, forward; focal: focal length in units of the picture's width."""

    position: Tensor
    axes: Tensor
    focal: float


@dataclass(frozen=True, slots=True)
class Shots:
    """The camera of T frames, whose rows may be read one after another (rolling shutter).

    position: [T, 2, 3] and axes: [T, 2, 3, 3] (rows right, up, forward) when the first row and when the last is read;
    focal: [T] in units of the picture's width; time: [T]; readout: frames from first to last row, 0 = all at once.
    """

    position: Tensor
    axes: Tensor
    focal: Tensor
    time: Tensor
    readout: float

    def __len__(self) -> int:
        return len(self.time)

    def to(self, device: torch.device) -> Shots:
        """The same on another device."""
        moved = [x.to(device) for x in (self.position, self.axes, self.focal, self.time)]
        return Shots(moved[0], moved[1], moved[2], moved[3], self.readout)

    def rows(self, height: int) -> tuple[Tensor, Tensor, Tensor]:
        """Position [T, H, 3], axes [T, H, 3, 3] and time [T, H] of every row."""
        share = (torch.arange(height, device=self.time.device) + 0.5) / height
        place = torch.lerp(self.position[:, :1], self.position[:, 1:], share[:, None])
        axes = orthonormal(torch.lerp(self.axes[:, :1], self.axes[:, 1:], share[:, None, None]))
        return place, axes, self.time[:, None] + self.readout * share


def shots_of(view: View, time: float) -> Shots:
    """One picture, all rows at once."""
    return Shots(
        view.position.expand(1, 2, 3), view.axes.expand(1, 2, 3, 3), torch.tensor([view.focal]), torch.tensor([time]), 0
    )


def rays_of(shots: Shots, height: int, width: int) -> Rays:
    """The rays through all pixel centres, in order of frame, row and column."""
    place, axes, time = shots.rows(height)
    scale = shots.focal[:, None] * width
    x = (torch.arange(width, device=time.device) + 0.5 - width / 2) / scale  # [T, W]
    y = (torch.arange(height, device=time.device) + 0.5 - height / 2) / -scale  # [T, H]
    right, up, forward = axes.unbind(2)
    direction = (y[..., None] * up + forward)[:, :, None] + x[:, None, :, None] * right[:, :, None]
    each = direction.shape[:3]
    return Rays(
        place[:, :, None].expand(*each, 3).reshape(-1, 3),
        direction.reshape(-1, 3),
        time[..., None].expand(each).flatten(),
    )


def project(shots: Shots, frame: int, points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where points [R, 3] appear in a frame read all at once: columns and rows in pixels [R, 2], and z-depth [R]."""
    axes, place = shots.axes[frame, 0], shots.position[frame, 0]
    right, up, forward = ((points - place) @ axes.T).unbind(1)
    scale = shots.focal[frame] * width / forward
    return torch.stack((width / 2 + right * scale - 0.5, height / 2 - up * scale - 0.5), 1), forward


def orthonormal(axes: Tensor) -> Tensor:
    """axes [..., 3, 3], rows nearly right, up and forward, made exactly so; forward keeps its direction."""
    forward = axes[..., 2, :] / axes[..., 2, :].norm(dim=-1, keepdim=True)
    right = torch.linalg.cross(axes[..., 1, :], forward)
    right = right / right.norm(dim=-1, keepdim=True)
    return torch.stack((right, torch.linalg.cross(forward, right), forward), -2)


def look(yaw: float, pitch: float, roll: float) -> Tensor:
    """Camera axes [3, 3] (rows right, up, forward); angles in radians, pitch up and roll clockwise positive."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    forward = torch.tensor([sy * cp, sp, cy * cp])
    right = torch.tensor([cy, 0.0, -sy])
    up = torch.linalg.cross(forward, right)
    cr, sr = math.cos(roll), math.sin(roll)
    return torch.stack((cr * right - sr * up, sr * right + cr * up, forward))

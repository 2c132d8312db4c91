"""Losses in inverse depth that do not care about scale and shift, and one that holds them still over time.

A group is what shares one scale and shift: a picture, or all frames of a clip. Axes: G groups, T frames, H W pixels.
Sources: MiDaS (arXiv 1907.01341) for alignment and gradient matching, Video Depth Anything (arXiv 2501.12375) for
the temporal gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TINY = 1e-6
SCALES = 4
GRIDS = (4, 8)
STILL = 0.05
"""Largest relative change of true inverse depth that counts as standing still."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the terms beside the aligned difference (which has 1)."""

    gradient: float = 4.0
    local: float = 1.0
    relative: float = 1.0
    anchored: float = 0.3
    temporal: float = 0.0


def depth_loss(predicted: Tensor, target: Tensor, weights: LossWeights) -> Tensor:
    """predicted: [G, T, H, W] >= 0; target: [G, T, H, W] inverse depth, negative where unknown. Returns a scalar."""
    valid = (target >= 0).float()
    p, g = normalised(predicted, valid), normalised(target, valid)
    loss = masked_mean((p - g).abs().clamp(max=10.0), valid)
    loss = loss + weights.gradient * gradient_loss((p - g).clamp(-10, 10), valid)
    loss = loss + weights.local * local_loss(p, g, valid)
    loss = loss + weights.relative * relative_loss(predicted, target, valid)
    loss = loss + weights.anchored * anchored_loss(predicted, target, valid)
    if weights.temporal:
        loss = loss + weights.temporal * temporal_loss(p, g, target, valid)
    return loss


def normalised(x: Tensor, valid: Tensor) -> Tensor:
    """x: [G, T, H, W] with its group's median taken off and divided by the mean distance from it."""
    flat = torch.where(valid > 0, x, torch.nan).flatten(1)
    middle = torch.nan_to_num(flat.nanmedian(1).values)[:, None, None, None]
    spread = ((x - middle).abs() * valid).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    return (x - middle) / (spread[:, None, None, None] + TINY)


def masked_mean(x: Tensor, valid: Tensor) -> Tensor:
    """Mean over what is valid, every group counting the same."""
    total, count = (x * valid).flatten(1).sum(1), valid.flatten(1).sum(1)
    return (total / count.clamp(min=1)).mean()


def gradient_loss(difference: Tensor, valid: Tensor) -> Tensor:
    """Slopes of the difference at four scales (multi-scale gradient matching)."""
    loss = difference.new_zeros(())
    for scale in range(SCALES):
        d, v = difference[..., :: 1 << scale, :: 1 << scale], valid[..., :: 1 << scale, :: 1 << scale]
        across = (d[..., 1:] - d[..., :-1]).abs()
        down = (d[..., 1:, :] - d[..., :-1, :]).abs()
        loss = loss + masked_mean(across, v[..., 1:] * v[..., :-1])
        loss = loss + masked_mean(down, v[..., 1:, :] * v[..., :-1, :])
    return loss / SCALES


def local_loss(p: Tensor, g: Tensor, valid: Tensor) -> Tensor:
    """Difference within each cell of two grids after the cell's own shift, relative to the cell's own spread.

    p, g: [G, T, H, W] normalised. Small things count as much as the slope of a whole room (after hierarchical depth
    normalisation, arXiv 2210.09670).
    """
    loss = p.new_zeros(())
    for cells in GRIDS:
        size = p.shape[-2] // cells, p.shape[-1] // cells
        known = F.avg_pool2d(valid, size).clamp(min=TINY)

        def spread_out(x: Tensor, size: tuple[int, int] = size, known: Tensor = known) -> Tensor:
            mean = F.avg_pool2d(x * valid, size) / known
            return mean.repeat_interleave(size[0], -2).repeat_interleave(size[1], -1)

        difference = (p - g).clamp(-10, 10)
        distance = (difference - spread_out(difference)).abs()
        own = spread_out((g - spread_out(g)).abs())
        loss = loss + masked_mean((distance / (own + 0.1)).clamp(max=5.0), valid)
    return loss / len(GRIDS)


def fit(predicted: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares scale and shift [G] that take predicted to target."""
    count = valid.flatten(1).sum(1).clamp(min=1)

    def mean(x: Tensor) -> Tensor:
        return (x * valid).flatten(1).sum(1) / count

    mp, mt = mean(predicted), mean(target)
    covariance = mean(predicted * target) - mp * mt
    variance = (mean(predicted * predicted) - mp * mp).clamp(min=TINY)
    scale = covariance / variance
    return scale, mt - scale * mp


def relative_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Difference after a least-squares fit, relative to the target: what far places need to count at all."""
    scale, shift = fit(predicted, target, valid)
    aligned = predicted * scale[:, None, None, None] + shift[:, None, None, None]
    level = masked_level(target, valid)
    error = (aligned - target).abs() / (target.clamp(min=0) + 0.15 * level)
    return masked_mean(error.clamp(max=4.0), valid)


def anchored_loss(predicted: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Difference after scaling alone: keeps zero at infinity, so that the map means something unfitted."""
    level_p, level_t = masked_level(predicted, valid), masked_level(target, valid)
    return masked_mean((predicted / level_p - target / level_t).abs().clamp(max=10.0), valid)


def masked_level(x: Tensor, valid: Tensor) -> Tensor:
    """Mean of each group over what is valid, [G, 1, 1, 1], never zero."""
    level = (x * valid).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    return level[:, None, None, None] + TINY


def temporal_loss(p: Tensor, g: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """|change of p - change of g| from frame to frame, where the scene (target) hardly changes."""
    before, after = target[:, :-1], target[:, 1:]
    still = (after - before).abs() <= STILL * torch.maximum(after, before).clamp(min=TINY)
    where = still.float() * valid[:, 1:] * valid[:, :-1]
    change = (p[:, 1:] - p[:, :-1]) - (g[:, 1:] - g[:, :-1])
    return masked_mean(change.abs(), where)

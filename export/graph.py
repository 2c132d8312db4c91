"""A network bound to one input size: the functions that are exported, and that the oracle runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from export.model.depth import VideoDepthAnything


class StepFunction(Protocol):
    """(image, positions, mask, caches…) to (depth, features…), shapes as in `engines.spec.ModelSpec`."""

    def __call__(self, image: Tensor, positions: Tensor, mask: Tensor, *caches: Tensor) -> Sequence[Tensor]: ...


class VdaStep(nn.Module):
    """One streaming step of Video Depth Anything; the positional embedding is a constant of the size."""

    def __init__(self, network: VideoDepthAnything, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("embedding", network.positional_embedding(height, width).detach().clone())
        self.embedding: Tensor

    def forward(self, image: Tensor, positions: Tensor, mask: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Depth [B, H, W], then the new frame's features [B, P, C], one for each cache."""
        depth, features = self.network.forward_step(image, self.embedding, positions, mask, caches)
        return depth, *features


class VdaWindow(nn.Module):
    """One offline window of Video Depth Anything."""

    def __init__(self, network: VideoDepthAnything, height: int, width: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("embedding", network.positional_embedding(height, width).detach().clone())
        self.embedding: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Depth [T, H, W] of images [T, 3, H, W]."""
        return self.network.forward_window(images, self.embedding)


def example_step(
    caches: Sequence[tuple[int, int]], slots: int, batch: int, size: tuple[int, int], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, ...]:
    """Inputs of a step graph with the right shapes, zeros but for the mask.

    caches: (P, C) of each; dtype: element type of the caches.
    """
    image = torch.zeros(batch, 3, *size)
    positions = torch.zeros(batch, slots + 1, dtype=torch.int64)
    mask = torch.ones(batch, slots + 1)
    tensors = (torch.zeros(batch, cells, slots, channels, dtype=dtype) for cells, channels in caches)
    return image, positions, mask, *tensors

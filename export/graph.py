"""A network bound to one input size: the functions that are exported, and that the oracle runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.spec import ModelSpec
from export.half import half_dtype
from export.model.depth import VideoDepthAnything


class StepFunction(Protocol):
    """(image, positions, mask, caches…) to (depth, features…), shapes as in `engines.spec.ModelSpec`."""

    def __call__(self, image: Tensor, positions: Tensor, mask: Tensor, *caches: Tensor) -> Sequence[Tensor]: ...


class Adapted(nn.Module):
    """A step with its pre- or postprocessing inside the graph: bytes in, the map at another size out."""

    def __init__(self, step: nn.Module, spec: ModelSpec) -> None:
        super().__init__()
        self.step = step
        self.bytes_in = spec.pixels == "uint8"
        self.resized_to = spec.resized_to
        self.register_buffer("scale", 1 / (255 * torch.tensor(spec.std)[:, None, None]))
        self.register_buffer("shift", torch.tensor(spec.mean)[:, None, None] / torch.tensor(spec.std)[:, None, None])
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, image: Tensor, positions: Tensor, mask: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """image: uint8 [B, H, W, 3] or float32 [B, 3, H, W]; returns depth [B, *spec.map_size] and the features."""
        if self.bytes_in:
            # The conversion first: TensorRT does nothing else with bytes.
            image = image.float().permute(0, 3, 1, 2) * self.scale - self.shift
        depth, *features = self.step(image, positions, mask, *caches)
        if self.resized_to is not None:
            depth = F.interpolate(depth[:, None], self.resized_to, mode="bilinear", align_corners=True)[:, 0]
        return depth, *features


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


def example_step(spec: ModelSpec, batch: int) -> tuple[Tensor, ...]:
    """Inputs of a step graph with the right shapes and types, zeros but for the mask."""
    height, width = spec.size
    slots = spec.window.slots
    image = torch.zeros(spec.image_shape(batch), dtype=torch.uint8 if spec.pixels == "uint8" else torch.float32)
    positions = torch.zeros(batch, slots + 1, dtype=torch.int64)
    mask = torch.ones(batch, slots + 1)
    caches = (
        torch.zeros(batch, cache.cells(height, width), slots, cache.channels, dtype=half_dtype(spec.precision))
        for cache in spec.caches
    )
    return image, positions, mask, *caches

"""Video Depth Anything as a whole, in its two forms: a window of frames at once, and one frame against a cache."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from engines.spec import CacheSpec
from export.config import PATCH, VdaConfig
from export.model.dinov2 import VisionTransformer
from export.model.dpt import Mix, TemporalDptHead

MODULE_STRIDES = (PATCH, 2 * PATCH, PATCH, PATCH // 2)
"""Pixels of the input for each cell of temporal module 0 … 3."""


def caches_of(config: VdaConfig) -> tuple[CacheSpec, ...]:
    """The eight cached tensors, in the order in which `VideoDepthAnything.forward_step` takes them."""
    _, _, third, fourth = config.out_channels
    channels = (third, fourth, config.features, config.features)
    return tuple(
        CacheSpec(f"cache_{module}_{block}", f"feature_{module}_{block}", stride, channels[module])
        for module, stride in enumerate(MODULE_STRIDES)
        for block in range(2)
    )


class VideoDepthAnything(nn.Module):
    """The network, with the parameter names of the official checkpoints."""

    def __init__(self, config: VdaConfig) -> None:
        super().__init__()
        self.config = config
        self.pretrained = VisionTransformer(config.embed_dim, config.depth, config.heads, config.taps)
        self.head = TemporalDptHead(config.embed_dim, config.out_channels, config.features)

    def positional_embedding(self, height: int, width: int) -> Tensor:
        """[1, P+1, C] for pictures of height × width pixels: compute once, pass to every call."""
        return self.pretrained.positional_embedding(height // PATCH, width // PATCH)

    def forward_window(self, images: Tensor, embedding: Tensor) -> Tensor:
        """Depth [T, H, W] of one window of normalised images [T, 3, H, W], every frame seeing all others."""

        def mix(index: int, x: Tensor) -> Tensor:
            return self.head.temporal[index].forward_window(x[None])[0]

        return self._forward(images, embedding, mix)

    def forward_step(
        self, image: Tensor, embedding: Tensor, positions: Tensor, mask: Tensor, caches: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """One new frame of each of B streams.

        image: [B, 3, H, W] normalised; positions: int64 [B, S+1]; mask: float32 [B, S+1]; caches: eight [B, P, S, C].
        Returns depth [B, H, W] and the eight features [B, P, C] to write into the cache.
        """
        features: list[Tensor] = []

        def mix(index: int, x: Tensor) -> Tensor:
            own = caches[2 * index : 2 * index + 2]
            x, new = self.head.temporal[index].step(x, own, positions, mask)
            features.extend(new)
            return x

        return self._forward(image, embedding, mix), features

    def _forward(self, images: Tensor, embedding: Tensor, mix: Mix) -> Tensor:
        height, width = images.shape[2:]
        tokens = self.pretrained(images, embedding)
        depth: Tensor = self.head(tokens, height // PATCH, width // PATCH, mix, height, width)
        return depth

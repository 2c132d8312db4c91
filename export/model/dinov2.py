"""DINOv2 vision transformer with 14-pixel patches, as Video Depth Anything's backbone (arXiv 2304.07193).

Axis letters: B batch, C channels, H W pixels, h w patches a side, P = h·w.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.config import PATCH, TRAINED_GRID
from export.model.attention import attend


class PatchEmbedding(nn.Module):
    """One linear map of each 14 × 14 patch."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, PATCH)

    def forward(self, image: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, P, C]."""
        tokens: Tensor = self.proj(image).flatten(2).transpose(1, 2)
        return tokens


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of one frame."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = self.attend(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Of queries, keys and values [B, heads, tokens, C]."""
        return attend(q, k, v)


class LayerScale(nn.Module):
    """A learned factor for each channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Mlp(nn.Module):
    """Two linear maps with an exact GELU between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ls1 = LayerScale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim)
        self.ls2 = LayerScale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class VisionTransformer(nn.Module):
    """The backbone; `forward` gives the normed patch tokens of four of its blocks."""

    def __init__(self, dim: int, depth: int, heads: int, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.taps = taps
        self.patch_embed = PatchEmbedding(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, TRAINED_GRID**2 + 1, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # part of the checkpoint, unused at inference
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, image: Tensor, positions: Tensor) -> list[Tensor]:
        """image: [B, 3, H, W] normalised; positions: [1, P+1, C] of `positional_embedding(h, w)`, in float32: its type
        is that of the residual stream, whatever the weights are.
        Returns the tapped [B, P, C], in order.
        """
        x = self.patch_embed(image.to(self.cls_token.dtype))
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + positions
        tapped = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.taps:
                tapped.append(self.norm(x)[:, 1:])
        return tapped

    def positional_embedding(self, h: int, w: int) -> Tensor:
        """[1, P+1, C] for a grid of h × w patches; a constant of the resolution.

        The stored grid is resized by the scale factors (h + 0.1)/37, (w + 0.1)/37, which sample elsewhere than a
        resize to the size h × w would (as DINOv2's own code does).
        """
        if h == w == TRAINED_GRID:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (TRAINED_GRID, TRAINED_GRID)).permute(0, 3, 1, 2)
        factors = ((h + 0.1) / TRAINED_GRID, (w + 0.1) / TRAINED_GRID)
        grid = F.interpolate(grid.float(), scale_factor=factors, mode="bicubic", align_corners=False)
        assert grid.shape[2:] == (h, w)
        return torch.cat((self.pos_embed[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)), dim=1)

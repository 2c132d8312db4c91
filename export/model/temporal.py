"""The temporal module: self-attention over time, at each place of the picture on its own.

Two forms of one function. `forward_window` sees T frames at once (training, offline). `step` sees one new frame and
the cached features of earlier ones; it is exact and never touches the cache but by two batched products
("absorbed" attention): with k_j = W_k (h_j + pe_j),

    q·k_j = (W_kᵀ q)·h_j + (W_kᵀ q)·pe_j        and        Σ p_j v_j = W_v (Σ p_j h_j + Σ p_j pe_j),

so the keys and values of unchanged frames are never projected again. Source: Video Depth Anything
(arXiv 2501.12375) for the module; the algebra follows from `to_k` and `to_v` having no bias.
Axis letters: B batch, T time, C channels, P = h·w cells, S cached slots, N heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.model.attention import attend

UNUSED = -1e4
"""Added to the score of a slot that takes no part: exp() of it is exactly 0, and it fits in float16."""


def sinusoidal_table(length: int, channels: int) -> Tensor:
    """float32 [1, length, channels]: sine in the even channels, cosine in the odd ones (Vaswani et al., 2017)."""
    position = torch.arange(length, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2, dtype=torch.float32) * (-math.log(10000.0) / channels))
    return torch.stack((torch.sin(position * rate), torch.cos(position * rate)), dim=-1).reshape(1, length, channels)


class PositionTable(nn.Module):
    """The positional table, stored under the official name."""

    def __init__(self, length: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("pe", sinusoidal_table(length, channels))
        self.pe: Tensor


class TemporalAttention(nn.Module):
    """Multi-head attention over the frames at one place."""

    def __init__(self, channels: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(channels, channels, bias=False)
        self.to_v = nn.Linear(channels, channels, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])
        self.pos_encoder = PositionTable(window, channels)

    def forward_window(self, h: Tensor) -> Tensor:
        """h: [P, T, C] normed features, oldest first. Returns [P, T, C]."""
        placed = h + self.pos_encoder.pe[:, : h.shape[1]]
        q, k, v = (self._split(project(placed)) for project in (self.to_q, self.to_k, self.to_v))
        mixed = attend(q, k, v).transpose(1, 2).flatten(2)
        out: Tensor = self.to_out[0](mixed)
        return out

    def step(self, h: Tensor, cache: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """h: [B, P, C] normed features of the new frame; cache: [B, P, S, C]; positions, mask: [B, S+1].

        Returns [B, P, C].
        """
        batch, cells, channels = h.shape
        slots, head = cache.shape[2], channels // self.heads
        table = self.pos_encoder.pe[0]
        placed = F.embedding(positions, table).unsqueeze(1)  # [B, 1, S+1, C], shared by all cells
        q = self.to_q(h + placed[:, :, slots])
        q = q.reshape(batch * cells, self.heads, head).transpose(0, 1) * head**-0.5
        by_head = self.to_k.weight.reshape(self.heads, head, channels)
        absorbed = torch.bmm(q, by_head).transpose(0, 1).reshape(batch, cells, self.heads, channels)

        scores = torch.cat((absorbed @ cache.transpose(2, 3), absorbed @ h.unsqueeze(3)), dim=3)
        scores = scores + absorbed @ placed.transpose(2, 3) + (mask[:, None, None] - 1.0).to(h.dtype) * -UNUSED
        p = scores.float().softmax(dim=3).to(h.dtype)

        mixed = p[..., :slots] @ cache + p[..., slots:] * h.unsqueeze(2) + p @ placed  # [B, P, N, C]
        mixed = mixed.reshape(batch * cells, self.heads, channels).transpose(0, 1)
        values = torch.bmm(mixed, self.to_v.weight.reshape(self.heads, head, channels).transpose(1, 2))
        out: Tensor = self.to_out[0](values.transpose(0, 1).reshape(batch, cells, channels))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """[P, T, C] to [P, N, T, C/N]."""
        cells, time, channels = x.shape
        return x.reshape(cells, time, self.heads, channels // self.heads).transpose(1, 2)


class GatedProjection(nn.Module):
    """GEGLU: the first half of the projection is the value, the second its gate (Shazeer, 2020)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        gated: Tensor = value * F.gelu(gate)
        return gated


class FeedForward(nn.Module):
    """Gated projection to 4C and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            GatedProjection(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


class TemporalBlock(nn.Module):
    """Two temporal attentions and a feed-forward, pre-norm and residual."""

    def __init__(self, channels: int, window: int, heads: int) -> None:
        super().__init__()
        self.attention_blocks = nn.ModuleList(TemporalAttention(channels, window, heads) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.ff = FeedForward(channels)
        self.ff_norm = nn.LayerNorm(channels)

    def forward_window(self, x: Tensor) -> Tensor:
        """x: [P, T, C]."""
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            assert isinstance(attention, TemporalAttention)
            x = x + attention.forward_window(norm(x))
        out: Tensor = x + self.ff(self.ff_norm(x))
        return out

    def step(self, x: Tensor, caches: Sequence[Tensor], positions: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """x: [B, P, C]. Returns it transformed, and the new frame's feature for each of the two caches."""
        features = []
        for attention, norm, cache in zip(self.attention_blocks, self.norms, caches, strict=True):
            assert isinstance(attention, TemporalAttention)
            h = norm(x)
            features.append(h)
            x = x + attention.step(h, cache, positions, mask)
        return x + self.ff(self.ff_norm(x)), features


class TemporalTransformer(nn.Module):
    """GroupNorm, projection in, one block, projection out."""

    def __init__(self, channels: int, window: int, heads: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([TemporalBlock(channels, window, heads)])
        self.proj_out = nn.Linear(channels, channels)

    @property
    def block(self) -> TemporalBlock:
        """The one block."""
        block = self.transformer_blocks[0]
        assert isinstance(block, TemporalBlock)
        return block


class TemporalModule(nn.Module):
    """A temporal transformer around which the input is added back."""

    def __init__(self, channels: int, window: int = 32, heads: int = 8, groups: int = 32) -> None:
        super().__init__()
        self.temporal_transformer = TemporalTransformer(channels, window, heads, groups)

    def forward_window(self, x: Tensor) -> Tensor:
        """x: [B, T, C, h, w], every frame attending to all T, at positions 0 … T-1. Returns the same shape."""
        batch, time, channels, height, width = x.shape
        inner = self.temporal_transformer
        cells = inner.proj_in(inner.norm(x.flatten(0, 1)).flatten(2).transpose(1, 2))  # [B·T, P, C]
        cells = cells.unflatten(0, (batch, time)).transpose(1, 2).flatten(0, 1)  # [B·P, T, C]
        cells = inner.proj_out(inner.block.forward_window(cells))
        back = cells.reshape(batch, height * width, time, channels).permute(0, 2, 3, 1)
        out: Tensor = x + back.reshape(x.shape)
        return out

    def step(self, x: Tensor, caches: Sequence[Tensor], positions: Tensor, mask: Tensor) -> tuple[Tensor, list[Tensor]]:
        """One new frame x [B, C, h, w] against two caches [B, P, S, C].

        positions: int64 [B, S+1] and mask: float32 [B, S+1] (1 = in use), the new frame's in the last column.
        Returns x transformed, and the two features [B, P, C] to be cached for this frame.
        """
        inner = self.temporal_transformer
        cells = inner.proj_in(inner.norm(x).flatten(2).transpose(1, 2))
        cells, features = inner.block.step(cells, caches, positions, mask)
        return x + inner.proj_out(cells).transpose(1, 2).reshape(x.shape), features

"""Mixed precision written into the network itself, so that the ONNX graph is strongly typed.

float16, for GPUs: matrix products and convolutions run in it. LayerNorm, GroupNorm and softmax compute in float32,
the last convolutions too, and the backbone's residual stream stays in float32, as it does under the autocast of the
official code: a ViT whose residuals are rounded to float16 can collapse.

bfloat16, for CPUs: only the linear maps and the attention of the backbone run in it. It has three bits less than
float16; with the whole network in it the maps would depart by more than 1 %.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from export.model.attention import attend
from export.model.dinov2 import Attention

Network = TypeVar("Network", bound=nn.Module)


class Float32LayerNorm(nn.LayerNorm):
    """LayerNorm that computes in float32 and gives float16."""

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps).half()


class Float32GroupNorm(nn.GroupNorm):
    """GroupNorm that computes in float32 and gives float16."""

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x.float(), self.num_groups, self.weight, self.bias, self.eps).half()


class BFloat16Linear(nn.Linear):
    """A linear map whose product is one of bfloat16; float32 in and out, the bias added in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.bfloat16(), self.weight).float() + self.bias


class BFloat16Attention(Attention):
    """Self-attention whose linear maps and products of tokens are of bfloat16; softmax in float32."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Of queries, keys and values [B, heads, tokens, C] in float32."""
        return attend(q.bfloat16(), k.bfloat16(), v.bfloat16()).float()


def to_half(network: Network, keep: tuple[str, ...]) -> Network:
    """A copy of the network in mixed precision.

    keep: dotted names of the modules that stay in float32; they must be fed float32 by the network itself.
    """
    mixed = copy.deepcopy(network).half()
    for module in mixed.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm):
            module.float()
            module.__class__ = Float32LayerNorm if isinstance(module, nn.LayerNorm) else Float32GroupNorm
    for name in keep:
        mixed.get_submodule(name).float()
    return mixed


def to_bfloat16(network: Network, within: str) -> Network:
    """A copy of the network in which linear maps and attention below the module of that dotted name are bfloat16."""
    mixed = copy.deepcopy(network)
    for module in mixed.get_submodule(within).modules():
        if isinstance(module, Attention):
            module.__class__ = BFloat16Attention
        if isinstance(module, nn.Linear):
            module.__class__ = BFloat16Linear
            # Rounded here, to the nearest: OpenVINO rounds constants less well (0.3 % of a product, seen in 2026.4).
            module.weight = nn.Parameter(module.weight.bfloat16(), requires_grad=False)
    return mixed


def half_dtype(precision: str) -> torch.dtype:
    """Element type of caches and features."""
    return torch.float16 if precision == "fp16" else torch.float32

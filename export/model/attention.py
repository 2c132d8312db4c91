"""Scaled dot-product attention whose softmax is in float32 whatever the type of its inputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q, k, v: [..., T, C]. Returns [..., T, C] in the type of v."""
    if q.dtype == torch.float32:
        return F.scaled_dot_product_attention(q, k, v)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    mixed: Tensor = scores.float().softmax(-1).to(v.dtype) @ v
    return mixed

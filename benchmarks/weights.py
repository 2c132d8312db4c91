"""Weights for measurements that do not depend on their values."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from export.config import CONFIGS
from export.model.depth import VideoDepthAnything


def random_checkpoint(model: str, folder: Path) -> Path:
    """Random weights of a Video Depth Anything network, the same each time; written on first use."""
    path = folder / f"{model}-random.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        network = VideoDepthAnything(CONFIGS[model]).eval().requires_grad_(False)
        # Keeps the last ReLU from hiding every difference.
        network.get_parameter("head.scratch.output_conv2.2.bias").fill_(6.0)
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path)
    return path

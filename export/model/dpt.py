"""DPT head with four temporal modules (arXiv 2103.13413; 2501.12375, section 3).

The picture part and the temporal part are written once; a temporal module is passed in as a function, so that the
window form and the streaming step share every other line. Axis letters: N frames, C channels, h w patches a side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from export.config import WINDOW
from export.model.temporal import TemporalModule

Mix = Callable[[int, Tensor], Tensor]
"""(module index 0 … 3, maps [N, C, h, w]) to maps mixed over time, same shape."""


class ResidualConvUnit(nn.Module):
    """relu, 3 × 3, relu, 3 × 3, plus the input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv2(F.relu(self.conv1(F.relu(x)))) + x
        return out


class FusionBlock(nn.Module):
    """Adds a skip connection, refines, and resizes for the next finer level."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(features, features, 1)
        self.resConfUnit1 = ResidualConvUnit(features)  # unused in refinenet4, which has no skip
        self.resConfUnit2 = ResidualConvUnit(features)

    def forward(self, x: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """[N, C, h, w] to [N, C, *size]."""
        if skip is not None:
            x = x + self.resConfUnit1(skip)
        # out_conv is pointwise and bilinear weights sum to one, so it commutes with the resize: a quarter of the work.
        return resize(self.out_conv(self.resConfUnit2(x)), size)


class Scratch(nn.Module):
    """Fusion blocks and output convolutions, under the official names."""

    def __init__(self, out_channels: Sequence[int], features: int) -> None:
        super().__init__()
        first, second, third, fourth = out_channels
        self.layer1_rn = nn.Conv2d(first, features, 3, padding=1, bias=False)
        self.layer2_rn = nn.Conv2d(second, features, 3, padding=1, bias=False)
        self.layer3_rn = nn.Conv2d(third, features, 3, padding=1, bias=False)
        self.layer4_rn = nn.Conv2d(fourth, features, 3, padding=1, bias=False)
        self.refinenet1 = FusionBlock(features)
        self.refinenet2 = FusionBlock(features)
        self.refinenet3 = FusionBlock(features)
        self.refinenet4 = FusionBlock(features)
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU(), nn.Identity()
        )


class TemporalDptHead(nn.Module):
    """From the backbone's tokens to a depth map."""

    def __init__(self, dim: int, out_channels: Sequence[int], features: int) -> None:
        super().__init__()
        first, second, third, fourth = out_channels
        self.projects = nn.ModuleList(nn.Conv2d(dim, channels, 1) for channels in out_channels)
        self.resize_layers = nn.ModuleList(
            (
                nn.ConvTranspose2d(first, first, 4, 4),
                nn.ConvTranspose2d(second, second, 2, 2),
                nn.Identity(),
                nn.Conv2d(fourth, fourth, 3, stride=2, padding=1),
            )
        )
        self.scratch = Scratch(out_channels, features)
        self.motion_modules = nn.ModuleList(
            TemporalModule(channels, WINDOW) for channels in (third, fourth, features, features)
        )

    @property
    def temporal(self) -> list[TemporalModule]:
        """The four temporal modules."""
        return [module for module in self.motion_modules if isinstance(module, TemporalModule)]

    def forward(self, tokens: Sequence[Tensor], h: int, w: int, mix: Mix, height: int, width: int) -> Tensor:
        """tokens: four [N, P, C]; height, width: pixels of the map. Returns [N, height, width]."""
        scratch = self.scratch
        layers = [
            enlarge(project(token.transpose(1, 2).unflatten(2, (h, w))))
            for token, project, enlarge in zip(tokens, self.projects, self.resize_layers, strict=True)
        ]
        layers[2], layers[3] = mix(0, layers[2]), mix(1, layers[3])
        skip1, skip2 = scratch.layer1_rn(layers[0]), scratch.layer2_rn(layers[1])
        skip3, skip4 = scratch.layer3_rn(layers[2]), scratch.layer4_rn(layers[3])
        path = mix(2, scratch.refinenet4(skip4, None, size_of(skip3)))
        path = mix(3, scratch.refinenet3(path, skip3, size_of(skip2)))
        path = scratch.refinenet2(path, skip2, size_of(skip1))
        path = scratch.refinenet1(path, skip1, (2 * skip1.shape[2], 2 * skip1.shape[3]))
        depth: Tensor = scratch.output_conv2(resize(scratch.output_conv1(path), (height, width)).float())
        return depth.squeeze(1)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners aligned."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def size_of(x: Tensor) -> tuple[int, int]:
    """(h, w) of maps [N, C, h, w]."""
    return x.shape[2], x.shape[3]

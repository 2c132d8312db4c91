"""The published sizes of Video Depth Anything (arXiv 2501.12375), as data."""

from __future__ import annotations

from dataclasses import dataclass

PATCH = 14
"""Pixels of the input for each side of a patch."""
TRAINED_GRID = 37
"""Side of the patch grid that the stored positional embedding belongs to (518 pixels)."""
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet statistics of RGB in [0, 1]."""
WINDOW = 32
"""Positions of the temporal attention."""


@dataclass(frozen=True, slots=True)
class VdaConfig:
    """One size of the network.

    taps: 0-based blocks of the backbone whose outputs the head reads.
    out_channels: widths of the four feature maps made from them.
    features: width of the fusion blocks.
    licence: of the official weights (SPDX).
    """

    name: str
    embed_dim: int
    depth: int
    heads: int
    taps: tuple[int, int, int, int]
    out_channels: tuple[int, int, int, int]
    features: int
    licence: str

    def repository(self, *, metric: bool) -> str:
        """The model hub's repository of the official weights."""
        family = "Metric-Video-Depth-Anything" if metric else "Video-Depth-Anything"
        return f"depth-anything/{family}-{self.name.removeprefix('VDA-')}"


CONFIGS = {
    config.name: config
    for config in (
        VdaConfig("VDA-Small", 384, 12, 6, (2, 5, 8, 11), (48, 96, 192, 384), 64, "Apache-2.0"),
        VdaConfig("VDA-Base", 768, 12, 12, (2, 5, 8, 11), (96, 192, 384, 768), 128, "CC-BY-NC-4.0"),
        VdaConfig("VDA-Large", 1024, 24, 16, (4, 11, 17, 23), (256, 512, 1024, 1024), 256, "CC-BY-NC-4.0"),
    )
}
"""Every published size by the name the command line uses."""

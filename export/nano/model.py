"""The embedded network: EfficientNet-Lite0, a depth-wise separable decoder, memory on its two coarsest levels.

Axis letters as in `export.model.temporal`: B streams, T frames, C channels, P cells, S cached frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from engines.spec import WindowRule
from export.model.temporal import TemporalModule
from export.nano.encoder import LITE0, Encoder, Stage, tap_channels

WINDOW = 6
SLOTS = WINDOW - 1
"""Cached frames: the five before the new one. Frame f lives in slot f mod 5; frame t-k stands at place 5-k.

Measured: eight frames flickered a tenth less than six and took twice as long to get over a cut.
"""
RULE = WindowRule(tuple(range(WINDOW - 1, -1, -1)), young="mask", first_alone=False)

WIDTHS = (16, 32, 64, 96, 96)
"""Decoder channels at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input."""

LEAK = 0.1
"""Slope below zero before the last layer, which has no cap either. With ReLU6 there, every channel of what is far
stood at 0 or at 6: all of it came out as one value (0.7668 in the third weights) and no gradient reached it.
"""

STRIDE = 32
HEADS, GROUPS = 8, 32
CACHES_PER_MODULE = 2


class Separable(nn.Module):
    """Depth-wise, point-wise, ReLU6, depth-wise, point-wise; input added back. For the coarse levels."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        pad = kernel // 2
        self.depth1 = nn.Conv2d(channels, channels, kernel, padding=pad, groups=channels)
        self.point1 = nn.Conv2d(channels, channels, 1)
        self.depth2 = nn.Conv2d(channels, channels, kernel, padding=pad, groups=channels)
        self.point2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.point1(self.depth1(x)))
        out: Tensor = x + self.point2(self.depth2(y))
        return out


class Full(nn.Module):
    """Two full 3×3 convolutions with ReLUs before them; input added back. For the fine levels.

    Measured: with separable ones there the maps stayed blurred, edges eight pixels wide.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv2(F.relu(self.conv1(F.relu(x))))
        return out


class Decoder(nn.Module):
    """Top-down pyramid: each level is the lateral tap plus the coarser level, resized, then refined."""

    def __init__(self, taps: tuple[int, ...], capped: bool) -> None:
        super().__init__()
        self.capped = capped
        self.lateral = nn.ModuleList(nn.Conv2d(tap, width, 1) for tap, width in zip(taps, WIDTHS, strict=True))
        self.context = nn.Conv2d(taps[-1], WIDTHS[-1], 1)
        self.refine = nn.ModuleList(Separable(width, 5) if i >= 3 else Full(width) for i, width in enumerate(WIDTHS))
        self.down = nn.ModuleList(nn.Conv2d(WIDTHS[i + 1], WIDTHS[i], 1) for i in range(len(WIDTHS) - 1))
        self.head = nn.Conv2d(WIDTHS[0], WIDTHS[0], 3, padding=1)
        self.out = nn.Conv2d(WIDTHS[0], 1, 1)

    def top(self, tap: Tensor) -> Tensor:
        """The coarsest tap [B, 320, h, w] to [B, 96, h, w], with the mean of the picture mixed in."""
        whole = self.context(tap.mean((2, 3), keepdim=True))
        out: Tensor = self.refine[-1](self.lateral[-1](tap) + whole)
        return out

    def merge(self, level: int, coarse: Tensor, tap: Tensor) -> Tensor:
        """One level down: `coarse` of level + 1 resized onto `tap` of this one."""
        resized = F.interpolate(self.down[level](coarse), size=tap.shape[-2:], mode="bilinear")
        out: Tensor = self.refine[level](resized + self.lateral[level](tap))
        return out

    def depth(self, x: Tensor) -> Tensor:
        """x: [B, 16, H/2, W/2]. Returns relative inverse depth [B, H, W], >= 0."""
        y = self.head(x)
        half = F.softplus(self.out(F.relu6(y) if self.capped else F.leaky_relu(y, LEAK)))
        return F.interpolate(half, scale_factor=2.0, mode="bilinear")[:, 0]


class NanoNetwork(nn.Module):
    """Relative inverse depth (>= 0, larger is nearer, 0 = infinitely far) of one frame after another.

    capped: with ReLU6 before the last layer, as weights up to the third were trained; see LEAK.
    """

    def __init__(self, stages: tuple[Stage, ...] = LITE0, window: int = WINDOW, capped: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(stages)
        self.decoder = Decoder(tap_channels(stages), capped)
        self.temporal = nn.ModuleList(TemporalModule(c, window, HEADS, GROUPS) for c in (WIDTHS[4], WIDTHS[3]))
        for module in self.temporal:
            assert isinstance(module, TemporalModule)
            nn.init.zeros_(module.temporal_transformer.proj_out.weight)
            nn.init.zeros_(module.temporal_transformer.proj_out.bias)

    def forward_step(self, image: Tensor, positions: Tensor, mask: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """One frame of B streams.

        image: float32 [B, 3, H, W], ImageNet-normalised RGB, H and W multiples of 32; positions: int64 [B, S+1];
        mask: float32 [B, S+1]; caches: four of [B, P, S, C], see `cache_shapes`.
        Returns depth [B, H, W] and the frame's four features [B, P, C].
        """
        taps = self.encoder(image)
        x, first = self._module(0).step(self.decoder.top(taps[4]), caches[:2], positions, mask)
        x, second = self._module(1).step(self.decoder.merge(3, x, taps[3]), caches[2:], positions, mask)
        return self._finish(x, taps), *first, *second

    def forward_image(self, image: Tensor) -> Tensor:
        """The network without its memory: image [B, 3, H, W] to depth [B, H, W]."""
        taps = self.encoder(image)
        return self._finish(self.decoder.merge(3, self.decoder.top(taps[4]), taps[3]), taps)

    def forward_clip(self, images: Tensor, starts: Tensor) -> Tensor:
        """T frames of B streams through the cached window exactly as deployed, frames batched where they may be.

        images: [B, T, 3, H, W]; starts: bool [B, T], True where a stream restarts with that frame.
        Returns depth [B, T, H, W].
        """
        batch, time = images.shape[:2]
        positions, mask = clip_windows(starts)
        taps = self.encoder(images.flatten(0, 1))
        x = self._stream(0, self.decoder.top(taps[4]), positions, mask)
        x = self._stream(1, self.decoder.merge(3, x, taps[3]), positions, mask)
        depth = self._finish(x, taps)
        return depth.reshape(batch, time, *depth.shape[1:])

    def cache_shapes(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """(P, C) of each cache, in order, for an input of this size."""
        coarse = (height // STRIDE) * (width // STRIDE)
        fine = (height // (STRIDE // 2)) * (width // (STRIDE // 2))
        return ((coarse, WIDTHS[4]),) * CACHES_PER_MODULE + ((fine, WIDTHS[3]),) * CACHES_PER_MODULE

    def _module(self, index: int) -> TemporalModule:
        module = self.temporal[index]
        assert isinstance(module, TemporalModule)
        return module

    def _finish(self, x: Tensor, taps: Sequence[Tensor]) -> Tensor:
        for level in (2, 1, 0):
            x = self.decoder.merge(level, x, taps[level])
        return self.decoder.depth(x)

    def _stream(self, index: int, x: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """x: [B·T, C, h, w] through one temporal module, frame by frame; positions, mask: [B, T, S+1]."""
        batch, time = positions.shape[:2]
        frames = x.unflatten(0, (batch, time))
        empty = frames.new_zeros(batch, frames[0, 0, 0].numel(), frames.shape[2])
        slots = [[empty] * SLOTS for _ in range(CACHES_PER_MODULE)]
        results = []
        for t in range(time):
            caches = [torch.stack(each, 2) for each in slots]
            y, features = self._module(index).step(frames[:, t], caches, positions[:, t], mask[:, t])
            results.append(y)
            for each, feature in zip(slots, features, strict=True):
                each[t % SLOTS] = feature
        return torch.stack(results, 1).flatten(0, 1)


def clip_windows(starts: Tensor) -> tuple[Tensor, Tensor]:
    """The window of every frame of a clip whose streams restart where `starts` [B, T] is True (frame 0 always does).

    Returns positions int64 and mask float32, both [B, T, S+1], column j = slot j, last column = the frame itself.
    """
    batch, time = starts.shape
    positions = torch.full((batch, time, WINDOW), 0, dtype=torch.int64, device=starts.device)
    mask = torch.zeros(batch, time, WINDOW, device=starts.device)
    index = torch.arange(time, device=starts.device)
    began = torch.where(starts, index, 0).cummax(1).values
    positions[..., SLOTS], mask[..., SLOTS] = WINDOW - 1, 1.0
    for k in range(1, WINDOW):
        for t in range(k, time):
            positions[:, t, (t - k) % SLOTS] = WINDOW - 1 - k
            mask[:, t, (t - k) % SLOTS] = (t - k >= began[:, t]).float()
    return positions, mask


def load(path: Path) -> NanoNetwork:
    """The network with the weights in the safetensors file `path`, ready to run."""
    network = NanoNetwork()
    network.load_state_dict(load_file(path))
    return network.eval()

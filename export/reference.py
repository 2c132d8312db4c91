"""The network in torch behind the engines' own door: the oracle of every parity test, and an engine of last resort."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.closing import Closing
from engines.errors import StepError
from engines.session import Cache, Image, StepPlan, closed_memory, still_open
from engines.spec import ModelSpec, sha256_of
from export.config import VdaConfig
from export.describe import vda_spec
from export.graph import StepFunction, VdaStep, VdaWindow
from export.weights import load_network


class TorchCache(Closing):
    """The memory of B streams as torch tensors on the network's device."""

    def __init__(self, spec: ModelSpec, batch: int, device: torch.device) -> None:
        height, width = spec.size
        slots = spec.window.slots
        self.tensors = [
            torch.zeros(batch, cache.cells(height, width), slots, cache.channels, device=device)
            for cache in spec.caches
        ]
        self._image: Image | None = np.zeros(spec.image_shape(batch), spec.pixels)

    @property
    def image(self) -> Image:
        """To be filled before each step. Raises EngineError once this is closed."""
        if self._image is None:
            raise closed_memory()
        return self._image

    def clear(self) -> None:
        """Zero all cached features."""
        for tensor in self.tensors:
            tensor.zero_()

    def close(self) -> None:
        """Give the memory back."""
        self.tensors = []
        self._image = None


class TorchSession(Closing):
    """Steps streams by running the torch function itself. See `engines.session.Session`."""

    def __init__(self, function: StepFunction, spec: ModelSpec, device: str = "cpu") -> None:
        self._function: StepFunction | None = function
        self._spec = spec
        self._device = torch.device(device)

    @classmethod
    def open(
        cls, config: VdaConfig, checkpoint: Path, size: tuple[int, int], *, metric: bool = False, device: str = "cpu"
    ) -> Self:
        """Load an official checkpoint for pictures of size (height, width). Raises CheckpointError."""
        network = load_network(config, checkpoint)
        spec = vda_spec(config, metric=metric, size=size, weights_sha256=sha256_of(checkpoint))
        return cls(VdaStep(network, *size).to(device), spec, device)

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._spec

    def new_cache(self, batch: int = 1) -> TorchCache:
        """Preallocate the memory of `batch` streams."""
        still_open(self._function, self._spec)
        return TorchCache(self._spec, batch, self._device)

    @torch.inference_mode()
    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run one frame of each stream; see `engines.session.Session.step`."""
        assert isinstance(cache, TorchCache)
        function = still_open(self._function, self._spec)
        batch = cache.image.shape[0]
        if len(plans) != batch:
            raise ValueError(f"this cache holds {batch} streams, got {len(plans)} plans")
        image = torch.from_numpy(cache.image).to(self._device)
        positions, mask = (tensor.to(self._device) for tensor in plan_tensors(plans, self._spec.window.slots))
        try:
            depth, *features = function(image, positions, mask, *cache.tensors)
        except RuntimeError as error:
            raise StepError(f"torch failed in a step of {self._spec.name}: {error}") from error
        for tensor, feature in zip(cache.tensors, features, strict=True):
            for row, plan in enumerate(plans):
                if plan is not None:
                    tensor[row, :, list(plan.write)] = feature[row, :, None]
        depth_map: NDArray[np.float32] = depth.float().cpu().numpy()
        return depth_map

    def close(self) -> None:
        """Free the network."""
        self._function = None


class TorchWindowSession(Closing):
    """Runs whole windows in torch. See `engines.session.WindowSession`."""

    def __init__(self, function: VdaWindow, spec: ModelSpec, device: str = "cpu") -> None:
        self._function: VdaWindow | None = function
        self._spec = spec
        self._device = torch.device(device)

    @classmethod
    def open(
        cls, config: VdaConfig, checkpoint: Path, size: tuple[int, int], *, metric: bool = False, device: str = "cpu"
    ) -> Self:
        """Load an official checkpoint for pictures of size (height, width). Raises CheckpointError."""
        network = load_network(config, checkpoint)
        spec = vda_spec(config, metric=metric, size=size, weights_sha256=sha256_of(checkpoint), kind="window")
        return cls(VdaWindow(network, *size).to(device), spec, device)

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._spec

    @torch.inference_mode()
    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]."""
        function = still_open(self._function, self._spec)
        depth: NDArray[np.float32] = function(torch.from_numpy(images).to(self._device)).cpu().numpy()
        return depth

    def close(self) -> None:
        """Free the network."""
        self._function = None


def plan_tensors(plans: Sequence[StepPlan | None], slots: int) -> tuple[Tensor, Tensor]:
    """(positions int64 [B, S+1], mask float32 [B, S+1]); a row without a plan sees only its own frame."""
    positions = torch.zeros(len(plans), slots + 1, dtype=torch.int64)
    mask = torch.zeros(len(plans), slots + 1)
    mask[:, -1] = 1.0
    for row, plan in enumerate(plans):
        if plan is not None:
            positions[row] = torch.from_numpy(plan.positions)
            mask[row] = torch.from_numpy(plan.mask)
    return positions, mask

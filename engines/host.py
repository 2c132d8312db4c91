"""A stream's memory as host arrays, for engines that run on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.session import Image, StepPlan
from engines.spec import ModelSpec


class HostCache:
    """Everything a step of B streams reads and writes, allocated once; shapes as in `engines.spec.ModelSpec`."""

    def __init__(self, spec: ModelSpec, batch: int) -> None:
        height, width = spec.size
        slots = spec.window.slots
        self._spec = spec
        self._image: Image = np.zeros(spec.image_shape(batch), spec.pixels)
        self.positions = np.zeros((batch, slots + 1), np.int64)
        self.mask = np.zeros((batch, slots + 1), np.float32)
        self.depth = np.zeros((batch, *spec.map_size), np.float32)
        shapes = [(cache.cells(height, width), cache.channels) for cache in spec.caches]
        dtype = np.float16 if spec.precision == "fp16" else np.float32
        self.caches = [np.zeros((batch, cells, slots, channels), dtype) for cells, channels in shapes]
        self.features = [np.zeros((batch, cells, channels), dtype) for cells, channels in shapes]

    @property
    def image(self) -> Image:
        """To be filled before each step."""
        return self._image

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name."""
        named: dict[str, NDArray[Any]] = {"image": self._image, "positions": self.positions, "mask": self.mask}
        return named | {cache.name: array for cache, array in zip(self._spec.caches, self.caches, strict=True)}

    @property
    def outputs(self) -> dict[str, NDArray[Any]]:
        """The graph's outputs by name."""
        features = {cache.feature: array for cache, array in zip(self._spec.caches, self.features, strict=True)}
        return {"depth": self.depth, **features}

    def clear(self) -> None:
        """Zero all cached features."""
        for array in self.caches:
            array.fill(0.0)

    def plan(self, plans: Sequence[StepPlan | None]) -> None:
        """Set positions and masks; a row without a plan sees only its own frame. ValueError for too many or few."""
        if len(plans) != len(self._image):
            raise ValueError(f"this cache holds {len(self._image)} streams, got {len(plans)} plans")
        for row, plan in enumerate(plans):
            if plan is None:
                self.positions[row], self.mask[row] = 0, 0.0
                self.mask[row, -1] = 1.0
            else:
                self.positions[row], self.mask[row] = plan.positions, plan.mask

    def write(self, plans: Sequence[StepPlan | None]) -> None:
        """Put the new features into their slots; nothing else moves."""
        for row, plan in enumerate(plans):
            if plan is not None:
                for cache, feature in zip(self.caches, self.features, strict=True):
                    cache[row][:, plan.write] = feature[row][:, None]

"""A stream's memory as host arrays, for engines that run on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from engines.session import Image, StepPlan, closed_memory
from engines.spec import ModelSpec

Arrays = list[NDArray[Any]]


@dataclass(frozen=True, slots=True)
class HostMemory:
    """What the steps of B streams read and write; shapes as in `engines.spec.ModelSpec`."""

    image: Image
    positions: NDArray[np.int64]
    mask: NDArray[np.float32]
    depth: NDArray[np.float32]
    caches: Arrays
    features: Arrays


class HostCache(Closing):
    """Everything a step of B streams reads and writes, allocated once. See `engines.session.Cache`."""

    def __init__(self, spec: ModelSpec, batch: int) -> None:
        self._spec = spec
        self._memory: HostMemory | None = _allocated(spec, batch)

    @property
    def memory(self) -> HostMemory:
        """Raises EngineError once it is closed."""
        if self._memory is None:
            raise closed_memory()
        return self._memory

    @property
    def image(self) -> Image:
        """To be filled before each step."""
        return self.memory.image

    @property
    def inputs(self) -> dict[str, NDArray[Any]]:
        """The graph's inputs by name."""
        memory = self.memory
        named: dict[str, NDArray[Any]] = {"image": memory.image, "positions": memory.positions, "mask": memory.mask}
        return named | {cache.name: array for cache, array in zip(self._spec.caches, memory.caches, strict=True)}

    @property
    def outputs(self) -> dict[str, NDArray[Any]]:
        """The graph's outputs by name."""
        memory = self.memory
        features = {cache.feature: array for cache, array in zip(self._spec.caches, memory.features, strict=True)}
        return {"depth": memory.depth, **features}

    def clear(self) -> None:
        """Zero all cached features."""
        for array in self.memory.caches:
            array.fill(0.0)

    def plan(self, plans: Sequence[StepPlan | None]) -> None:
        """Set positions and masks; a row without a plan sees only its own frame. ValueError for too many or few."""
        memory = self.memory
        if len(plans) != len(memory.image):
            raise ValueError(f"this cache holds {len(memory.image)} streams, got {len(plans)} plans")
        for row, plan in enumerate(plans):
            if plan is None:
                memory.positions[row], memory.mask[row] = 0, 0.0
                memory.mask[row, -1] = 1.0
            else:
                memory.positions[row], memory.mask[row] = plan.positions, plan.mask

    def write(self, plans: Sequence[StepPlan | None]) -> None:
        """Put the new features into their slots; nothing else moves."""
        memory = self.memory
        for row, plan in enumerate(plans):
            if plan is not None:
                for cache, feature in zip(memory.caches, memory.features, strict=True):
                    cache[row][:, plan.write] = feature[row][:, None]

    def close(self) -> None:
        """Give the memory back; arrays that callers still hold stay valid."""
        self._memory = None


def _allocated(spec: ModelSpec, batch: int) -> HostMemory:
    height, width = spec.size
    slots = spec.window.slots
    shapes = [(cache.cells(height, width), cache.channels) for cache in spec.caches]
    dtype = np.float16 if spec.precision == "fp16" else np.float32
    return HostMemory(
        image=np.zeros(spec.image_shape(batch), spec.pixels),
        positions=np.zeros((batch, slots + 1), np.int64),
        mask=np.zeros((batch, slots + 1), np.float32),
        depth=np.zeros((batch, *spec.map_size), np.float32),
        caches=[np.zeros((batch, cells, slots, channels), dtype) for cells, channels in shapes],
        features=[np.zeros((batch, cells, channels), dtype) for cells, channels in shapes],
    )

"""The door to a compiled network. One session serves many streams; what a stream owns is its `Cache`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError
from engines.spec import ModelSpec

Held = TypeVar("Held")


@dataclass(frozen=True, slots=True)
class StepPlan:
    """How one stream's next frame reads and writes its cache; pure integers.

    positions: int64 [S+1], place in the window of each slot's frame, the new frame last.
    mask: float32 [S+1], 1 where the slot takes part, 0 where it does not; 1 for the new frame.
    write: slots that receive the new frame's features after the step (usually one).
    """

    positions: NDArray[np.int64]
    mask: NDArray[np.float32]
    write: tuple[int, ...]


Image = NDArray[np.float32] | NDArray[np.uint8]
"""float32 [B, 3, H, W] normalised, or uint8 [B, H, W, 3], as the spec's `pixels` says."""


class Cache(Protocol):
    """Memory of B streams that step together: input, cached features. Belongs to the session that made it."""

    @property
    def image(self) -> Image:
        """The next frames, to be written here before `Session.step`; see `ModelSpec` for shape and values."""
        ...

    def clear(self) -> None:
        """Zero all cached features (needed after a failed step only; a new stream simply plans from frame 0)."""
        ...

    def close(self) -> None:
        """Give the memory back, between two steps; harmless when repeated, and after the session was closed.

        Whatever is asked of it then raises EngineError. Maps that were handed out stay valid.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Session(Protocol):
    """A loaded network that steps streams frame by frame."""

    @property
    def spec(self) -> ModelSpec:
        """The network's description, its input size fixed."""
        ...

    def new_cache(self, batch: int = 1) -> Cache:
        """Preallocate the memory of `batch` streams. Raises SpecError where the graph takes another number."""
        ...

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run the frames in `cache.image` and write their features into the planned slots.

        plans: one for each of the B rows; None for a row without a frame this time (its map is meaningless).
        Returns depth float32 [B, *spec.map_size] in the spec's unit, valid until the next call with this cache.
        Raises StepError when the engine fails; ValueError when the number of plans is not B.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds; harmless when repeated. Whatever is asked of it then raises EngineError."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class WindowSession(Protocol):
    """A loaded network that sees a whole window of frames at once (offline mode)."""

    @property
    def spec(self) -> ModelSpec:
        """The network's description; `spec.frames` is T."""
        ...

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth float32 [T, H, W] of normalised images float32 [T, 3, H, W]."""
        ...

    def close(self) -> None:
        """Free what the engine holds; harmless when repeated. `run` then raises EngineError."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def still_open(held: Held | None, spec: ModelSpec) -> Held:
    """What a session holds until it is closed. Raises EngineError from then on."""
    if held is None:
        raise EngineError(f"the session of {spec.name} is closed: open another")
    return held


def closed_memory() -> EngineError:
    """What is raised by a cache that was closed."""
    return EngineError("this stream's memory is closed: ask the session for another")

"""Does an engine give what its ONNX graph gives? Asked of the GPU it was built on, before the engine is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from engines.compiled import Compiled
from engines.device import Device
from engines.onnx import OnnxSession, OnnxWindowSession
from engines.session import Cache, Image, Session, StepPlan
from engines.spec import ModelSpec
from engines.tensorrt import TensorRtSession, TensorRtWindowSession
from export.verify import Departure, departure, window_departure


def engine_departure(network: Compiled, spec: ModelSpec, onnx: Path, device: Device, frames: int) -> Departure:
    """Worst departure of an engine from its graph on ONNX Runtime, in any row; a NaN where it gives one.

    frames: of a stream; a window graph is compared over one window.
    """
    if spec.kind == "window":
        with OnnxWindowSession(onnx, spec.size) as window, TensorRtWindowSession(network, spec, device) as compiled:
            return window_departure(window, compiled)
    with OnnxSession(onnx, spec.size) as graph, TensorRtSession(network, spec, device) as engine:
        return departure(FirstRow(graph, spec.batch or 1), engine, frames, engine.batches[1])


class FirstRowCache(Closing):
    """The first stream of a cache of several."""

    def __init__(self, rows: Cache) -> None:
        self.rows = rows

    @property
    def image(self) -> Image:
        """Of the first stream."""
        return self.rows.image[:1]

    def clear(self) -> None:
        """Zero all cached features."""
        self.rows.clear()

    def close(self) -> None:
        """Give the memory back."""
        self.rows.close()


class FirstRow(Closing):
    """One stream on a session whose graph always steps `rows` of them. See `engines.session.Session`."""

    def __init__(self, session: Session, rows: int) -> None:
        self._session = session
        self._rows = rows

    @property
    def spec(self) -> ModelSpec:
        """The network's description."""
        return self._session.spec

    def new_cache(self, batch: int = 1) -> FirstRowCache:
        """Memory of one stream."""
        if batch != 1:
            raise ValueError(f"one stream at a time, asked for {batch}")
        return FirstRowCache(self._session.new_cache(self._rows))

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        """Run the stream's frame; the other rows have none."""
        assert isinstance(cache, FirstRowCache)
        return self._session.step(cache.rows, [*plans, *[None] * (self._rows - 1)])[:1]

    def close(self) -> None:
        """The session belongs to its maker."""

"""The embedded model as something that takes frame after frame: trained weights in torch, or the file that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engines.onnx import OnnxSession
from engines.session import StepPlan
from export.nano.evaluate import Predictor, Streaming, prepared
from export.nano.model import SLOTS, WINDOW, load


class Deployed:
    """One stream through an exported step, its window kept as the runtime keeps it."""

    def __init__(self, session: OnnxSession) -> None:
        self._session, self._cache, self._time = session, session.new_cache(), 0

    def __call__(self, rgb: Tensor) -> NDArray[np.float32]:
        self._cache.image[:] = prepared(rgb, *self._session.spec.size).numpy()
        depth: NDArray[np.float32] = self._session.step(self._cache, [step_plan(self._time)])[0].copy()
        self._time += 1
        return depth


def step_plan(time: int) -> StepPlan:
    """How frame `time` of a stream that never restarts reads and writes its slots."""
    positions, mask = np.zeros(WINDOW, np.int64), np.zeros(WINDOW, np.float32)
    positions[SLOTS], mask[SLOTS] = WINDOW - 1, 1.0
    for back in range(1, min(time, SLOTS) + 1):
        positions[(time - back) % SLOTS], mask[(time - back) % SLOTS] = WINDOW - 1 - back, 1.0
    return StepPlan(positions, mask, (time % SLOTS,))


def opener(path: Path, height: int, width: int) -> Callable[[], Predictor]:
    """What begins a new stream each time it is called. path: `.safetensors`, or `.onnx` with its spec beside it."""
    if path.suffix == ".onnx":
        session = OnnxSession(path, (height, width), threads=1)
        return lambda: Deployed(session)
    network = load(path)
    return lambda: Streaming(network, height, width)

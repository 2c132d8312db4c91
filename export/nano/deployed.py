"""The embedded model as something that takes frame after frame: trained weights in torch, or the file that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engines.onnx import OnnxSession
from engines.window import FeatureWindow
from export.nano.evaluate import Predictor, Streaming, prepared
from export.nano.model import load


class Deployed:
    """One stream through an exported step."""

    def __init__(self, session: OnnxSession) -> None:
        self._session, self._cache = session, session.new_cache()
        self._window = FeatureWindow(session.spec.window)

    def __call__(self, rgb: Tensor) -> NDArray[np.float32]:
        self._cache.image[:] = prepared(rgb, *self._session.spec.size).numpy()
        depth: NDArray[np.float32] = self._session.step(self._cache, [self._window.plan()])[0].copy()
        return depth


def opener(path: Path, height: int, width: int) -> Callable[[], Predictor]:
    """What begins a new stream each time it is called. path: `.safetensors`, or `.onnx` with its spec beside it."""
    if path.suffix == ".onnx":
        session = OnnxSession(path, (height, width), threads=1)
        return lambda: Deployed(session)
    network = load(path)
    return lambda: Streaming(network, height, width)

"""Other people's per-frame networks: any ONNX export of Depth Anything, run without memory on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from benchmarks.predictors import Picture, as_frames
from depthcast.models import MODELS
from depthcast.plan import official_spec
from engines.closing import Closing
from stream.preprocess import network_size, resize_map, to_rgb


class PeerError(Exception):
    """A file is no network of the expected kind; one line, what was got and what is expected."""


class PeerNetwork(Closing):
    """A network from one picture, float32 [1, 3, H, W] normalised as ImageNet, to one map, [1, H, W] or [1, 1, H, W].

    threads: of ONNX Runtime; None leaves the choice to it. input_size: where the graph leaves the size open, as
    `depthcast run --input-size`. Raises PeerError for a graph with other inputs or outputs.
    """

    def __init__(self, path: Path, threads: int | None = None, input_size: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            shapes = [(value.name, value.shape) for value in inputs]
            raise PeerError(f"{path.name} takes {shapes}: a per-frame network takes one picture [1, 3, H, W]")
        self._name, self._shape = inputs[0].name, inputs[0].shape
        self._spec, self._input_size = official_spec(MODELS[1]), input_size

    def size_for(self, height: int, width: int) -> tuple[int, int]:
        """Size of the network's input for frames of height × width pixels."""
        rows, columns = self._shape[2:]
        if isinstance(rows, int) and isinstance(columns, int):
            return rows, columns
        return network_size(self._spec, height, width, self._input_size)

    def map_of(self, picture: Picture) -> NDArray[np.float32]:
        """Depth float32 [H, W], as the graph means it, at the picture's size."""
        height, width, _ = picture.shape
        frame = next(as_frames([picture]))
        # Area or cubic resampling of bytes: what the usual export scripts do with their images.
        rgb = to_rgb(frame.picture, *self.size_for(height, width)).astype(np.float32) / 255
        mean, std = (np.array(values, np.float32) for values in (self._spec.mean, self._spec.std))
        image = np.ascontiguousarray(((rgb - mean) / std).transpose(2, 0, 1)[None])
        outputs: list[Any] = self._session.run(None, {self._name: image})
        depth = np.squeeze(outputs[0])
        if depth.ndim != 2:
            raise PeerError(f"the peer's map is {np.shape(outputs[0])}: expected [1, H, W]")
        return resize_map(depth.astype(np.float32), height, width)

    def predict(self, pictures: Iterable[Picture]) -> Iterator[NDArray[np.float32]]:
        """See `benchmarks.predictors.Predict`."""
        return (self.map_of(picture) for picture in pictures)

    def close(self) -> None:
        """Free the graph."""
        del self._session

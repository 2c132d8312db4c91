"""What the embedded model's shape costs and what it buys: input size, window, INT8, encoder. On ONNX Runtime.

python -m benchmarks.nano_choice WEIGHTS DATA --threads 2

Accuracy is that of the one set of weights, on the real validation frames; what would need training of its own
(a longer window, the larger encoder) is timed only, and says so.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from benchmarks.machine import conditions, write_result
from engines.spec import sha256_of
from export.nano.data import RealFrames
from export.nano.encoder import LITE2
from export.nano.evaluate import (
    TRAIN_LAST,
    VALIDATION_FIRST,
    VALIDATION_LAST,
    Predictor,
    accuracy,
    prepared,
    single_frames_of,
)
from export.nano.model import WINDOW, NanoNetwork, load
from export.nano.to_onnx import NanoStep
from export.to_onnx import trace

RESULTS = Path(__file__).parent / "results"
SIZES = ((160, 288), (192, 256), (256, 352), (320, 448))
ROUNDS, STEPS = 10, 10
CALIBRATION = 24


@dataclass(frozen=True, slots=True)
class Variant:
    """One graph to be measured."""

    name: str
    path: Path
    size: tuple[int, int]
    window: int
    trained: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Medians and means of one variant; accuracy None where it has no training of its own."""

    name: str
    size: tuple[int, int]
    window: int
    parameters_mb: float
    p50_ms: float
    desk_abs_rel: float | None = None
    desk_delta1: float | None = None
    cabinet_abs_rel: float | None = None
    cabinet_delta1: float | None = None


class GraphStream:
    """Frames one after another through an exported step."""

    def __init__(self, session: onnxruntime.InferenceSession, size: tuple[int, int], window: int) -> None:
        self._session, self._size, self._window = session, size, window
        names = [(each.name, each.shape) for each in session.get_inputs()]
        self._caches = {name: np.zeros(shape, np.float32) for name, shape in names[3:]}
        self._time = 0

    def __call__(self, rgb: Tensor) -> NDArray[np.float32]:
        depth, *features = self._session.run(None, self.feed(prepared(rgb, *self._size).numpy()))
        for cache, feature in zip(self._caches.values(), features, strict=True):
            cache[:, :, self._time % (self._window - 1)] = feature
        self._time += 1
        out: NDArray[np.float32] = depth[0]
        return out

    def feed(self, image: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
        """The inputs of the next step."""
        slots = self._window - 1
        positions, mask = np.zeros((1, slots + 1), np.int64), np.zeros((1, slots + 1), np.float32)
        positions[0, slots], mask[0, slots] = slots, 1.0
        for back in range(1, min(self._time, slots) + 1):
            positions[0, (self._time - back) % slots], mask[0, (self._time - back) % slots] = slots - back, 1.0
        return {"image": image, "positions": positions, "mask": mask, **self._caches}


class Calibration(CalibrationDataReader):  # type: ignore[misc]
    """Training frames, streamed, for the ranges of INT8."""

    def __init__(self, session: onnxruntime.InferenceSession, size: tuple[int, int], frames: RealFrames) -> None:
        self._feeds = self._make(session, size, frames)

    @staticmethod
    def _make(
        session: onnxruntime.InferenceSession, size: tuple[int, int], frames: RealFrames
    ) -> Iterator[dict[str, NDArray[np.generic]]]:
        stream = GraphStream(session, size, WINDOW)
        for rgb in frames.rgb:
            picture = torch.from_numpy(rgb)
            yield {name: value.copy() for name, value in stream.feed(prepared(picture, *size).numpy()).items()}
            stream(picture)

    def get_next(self) -> dict[str, NDArray[np.generic]] | None:
        """The next inputs, None at the end."""
        return next(self._feeds, None)


def longer(network: NanoNetwork, window: int) -> NanoNetwork:
    """The same weights with room for a longer window; frames beyond the trained one count as its oldest."""
    wide = NanoNetwork(window=window)
    state = network.state_dict()
    for name in [name for name in state if name.endswith("pos_encoder.pe")]:
        table = state[name]
        state[name] = torch.cat((table[:, :1].expand(-1, window - table.shape[1], -1), table), 1)
    wide.load_state_dict(state)
    return wide.eval()


def write_graph(network: NanoNetwork, path: Path, size: tuple[int, int], window: int) -> None:
    """The step of this network at one size, in float32."""
    caches = [torch.zeros(1, cells, window - 1, c) for cells, c in network.cache_shapes(*size)]
    inputs = (torch.zeros(1, 3, *size), torch.zeros(1, window, dtype=torch.int64), torch.ones(1, window), *caches)
    names = ["image", "positions", "mask", *(f"cache_{i}" for i in range(len(caches)))]
    outputs = ["depth", *(f"feature_{i}" for i in range(len(caches)))]
    onnx.save(trace(NanoStep(network), inputs, names, outputs, None), path)


def quantised(source: Path, target: Path, size: tuple[int, int], data: Path) -> None:
    """INT8 convolutions (per channel, static ranges); all else stays float32."""
    frames = RealFrames(data / "tum_fr1_rpy", TRAIN_LAST - CALIBRATION + 1, TRAIN_LAST)
    prepared_path = target.with_suffix(".prepared.onnx")
    quant_pre_process(source, prepared_path, skip_symbolic_shape=True)
    quantize_static(
        prepared_path,
        target,
        Calibration(session_of(source, 1), size, frames),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def session_of(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """On the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def variants(weights: Path, data: Path, folder: Path) -> list[Variant]:
    """All graphs, written into `folder`."""
    network, found = load(weights), []
    torch.manual_seed(0)
    lite2 = NanoNetwork(LITE2).eval()
    for height, width in SIZES:
        size, tag = (height, width), f"{height}x{width}"
        plain = folder / f"lite0-{tag}.onnx"
        write_graph(network, plain, size, WINDOW)
        found.append(Variant("lite0", plain, size, WINDOW, True))
        if size in SIZES[:2]:
            write_graph(longer(network, 16), folder / f"window16-{tag}.onnx", size, 16)
            found.append(Variant("window 16", folder / f"window16-{tag}.onnx", size, 16, False))
            write_graph(lite2, folder / f"lite2-{tag}.onnx", size, WINDOW)
            found.append(Variant("lite2", folder / f"lite2-{tag}.onnx", size, WINDOW, False))
            quantised(plain, folder / f"int8-{tag}.onnx", size, data)
            found.append(Variant("int8", folder / f"int8-{tag}.onnx", size, WINDOW, True))
    return found


def step_times(chosen: list[Variant], threads: int) -> list[float]:
    """Median milliseconds of a step of each; rounds interleaved, so that a busy machine is busy for all of them."""
    streams = [(session_of(v.path, threads), v) for v in chosen]
    feeds = [GraphStream(s, v.size, v.window).feed(np.zeros((1, 3, *v.size), np.float32)) for s, v in streams]
    times: list[list[float]] = [[] for _ in chosen]
    for turn in range(ROUNDS):
        for (session, _), feed, each in zip(streams, feeds, times, strict=True):
            for _ in range(STEPS):
                begun = time.perf_counter()
                session.run(None, feed)
                if turn:
                    each.append((time.perf_counter() - begun) * 1e3)
    return [float(np.median(each)) for each in times]


def measured(variant: Variant, milliseconds: float, data: Path) -> Found:
    """Accuracy on the desk (streamed) and the cabinet (frame by frame), where the variant is trained."""
    megabytes = variant.path.stat().st_size / 1e6
    base = Found(variant.name, variant.size, variant.window, round(megabytes, 2), round(milliseconds, 2))
    if not variant.trained:
        return base
    session = session_of(variant.path, 1)

    def begin() -> Predictor:
        return GraphStream(session, variant.size, variant.window)

    desk = RealFrames(data / "tum_fr1_rpy", VALIDATION_FIRST, VALIDATION_LAST)
    cabinet = RealFrames(data / "tum_fr3_cabinet", 0, 10_000)
    one, other = accuracy(begin(), desk, stream=True), accuracy(single_frames_of(begin), cabinet)
    values = (round(x, 4) for x in (one.abs_rel, one.delta1, other.abs_rel, other.delta1))
    return Found(base.name, base.size, base.window, base.parameters_mb, base.p50_ms, *values)


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, help="folder with tum_fr1_rpy and tum_fr3_cabinet")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    begun = conditions("onnx")
    with tempfile.TemporaryDirectory() as folder:
        chosen = variants(options.weights, options.data, Path(folder))
        found = [
            measured(variant, ms, options.data)
            for variant, ms in zip(chosen, step_times(chosen, options.threads), strict=True)
        ]
    for each in found:
        print(each)
    record = {
        "benchmark": "nano_choice",
        "weights_sha256": sha256_of(options.weights),
        "threads": options.threads,
    }
    write_result(
        options.results / "nano-choice.json",
        {**record, "variants": [asdict(each) for each in found], "conditions": asdict(begun)},
    )


if __name__ == "__main__":
    main()

"""The two sides of `benchmarks.side_by_side`; also one of them in a process of its own, for its memory.

This module imports no torch: our side needs none, and its memory shall not include it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import peak_memory_bytes
from benchmarks.predictors import Picture
from depthcast.models import find
from depthcast.networks import step_session
from depthcast.plan import Engine, Mode, Precision, Wanted
from depthcast.settings import Settings
from engines.backend import load_device
from engines.session import Session
from stream.estimator import DepthEstimator
from stream.preprocess import to_rgb
from stream.sources.choose import open_source
from stream.uris import parse_source

if TYPE_CHECKING:
    from benchmarks.official import OfficialStream

Step = Callable[[Picture], NDArray[np.float32]]
OURS, OFFICIAL = "ours", "official"


@dataclass(frozen=True, slots=True)
class Setting:
    """What both sides run; plain values, because it also goes to another process.

    official: folder of the checkout, empty without one. checkpoint: empty for the packaged model.
    memory_frames: least number of frames that the run for memory takes.
    """

    model: str
    checkpoint: str
    clip: str
    frames: int
    warm_up: int
    device: str
    engine: str
    precision: str
    input_size: int | None
    threads: int
    memory_frames: int
    official: str = ""

    @property
    def half(self) -> bool:
        """The official script uses float16 on a GPU unless told otherwise."""
        return self.device == "cuda" and self.precision != "fp32"

    @property
    def wanted(self) -> Wanted:
        """Of our side."""
        checkpoint = Path(self.checkpoint) if self.checkpoint else None
        engine, precision = Engine(self.engine), Precision(self.precision)
        return Wanted(find(self.model), Mode.STREAM, engine, precision, checkpoint, self.input_size, self.threads)


@contextmanager
def our_side(setting: Setting, picture: Picture, say: Callable[[str], None]) -> Iterator[tuple[Step, Session]]:
    """Our estimator, and the session under it. Scene cuts are not watched for: the official code does not."""
    height, width, _ = picture.shape
    with step_session(setting.wanted, (height, width), Settings.from_environment(), say) as session:
        estimator = DepthEstimator(session, scene_cut=False)
        yield lambda picture: estimator.step_array(picture).depth, session


def official_side(setting: Setting) -> OfficialStream:
    """The official class with the same weights."""
    from benchmarks.official import OfficialStream

    checkout, checkpoint = Path(setting.official), Path(setting.checkpoint)
    return OfficialStream(
        checkout, setting.model, checkpoint, setting.device, setting.half, setting.input_size or 518, setting.threads
    )


def engine_of(session: Session) -> str:
    """onnx, openvino, torch or tensorrt, from the module that runs it."""
    return {"onnx": "onnx", "openvino": "openvino", "reference": "torch"}.get(
        type(session).__module__.rpartition(".")[2], "tensorrt"
    )


def clip_pictures(uri: str, count: int) -> Iterator[Picture]:
    """The first `count` pictures of a source, the clip again from its beginning where it is shorter."""
    taken = 0
    while taken < count:
        source = open_source(parse_source(uri))
        try:
            for frame in islice(source, count - taken):
                yield to_rgb(frame.picture, frame.height, frame.width)
                taken += 1
        finally:
            source.close()


def memory_alone(side: str, setting: Setting) -> int:
    """Most memory in bytes, of the machine or its GPU, that a process takes which runs this side and nothing else."""
    command = [sys.executable, "-m", "benchmarks.sides", side, json.dumps(asdict(setting))]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(finished.stdout.splitlines()[-1])


def memory_of(side: str, setting: Setting) -> int:
    """As `memory_alone`, of this process."""
    pictures = clip_pictures(setting.clip, setting.warm_up + setting.frames)
    first = next(pictures)
    on_gpu = setting.device == "cuda"
    free = _free_bytes() if on_gpu else 0
    if side == OFFICIAL:
        _run(official_side(setting).step, first, pictures)
        return free - _free_bytes() if on_gpu else peak_memory_bytes()
    with our_side(setting, first, lambda _: None) as (ours, _):
        _run(ours, first, pictures)
        return free - _free_bytes() if on_gpu else peak_memory_bytes()


def _run(step: Step, first: Picture, pictures: Iterator[Picture]) -> None:
    step(first)
    for picture in pictures:
        step(picture)


def _free_bytes() -> int:
    return load_device().memory().free_bytes


def main() -> None:
    """Print the memory of one side."""
    side, setting = sys.argv[1], Setting(**json.loads(sys.argv[2]))
    print(memory_of(side, replace(setting, warm_up=0)))


if __name__ == "__main__":
    main()

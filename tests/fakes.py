"""Deterministic stand-ins for networks, sources and sinks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import TracebackType
from typing import ClassVar, Self

import av
import numpy as np
from numpy.typing import NDArray

from engines.closing import Closing
from engines.errors import StepError
from engines.session import Cache, Image, StepPlan
from engines.spec import VDA_WINDOW, Kind, ModelSpec, Pixels, Resample, Unit, WindowRule
from stream.frame import DepthFrame, DisplayRange, Frame
from stream.sources import SourceInfo

TICK = Fraction(1, 30)


def spec(
    *,
    size: tuple[int, int] | None = (28, 42),
    multiple: int = 14,
    input_size: int = 28,
    resample: Resample = "area",
    unit: Unit = Unit.RELATIVE,
    kind: Kind = "step",
    window: WindowRule = VDA_WINDOW,
    pixels: Pixels = "float32",
) -> ModelSpec:
    """A small network's description."""
    height, width = size or (None, None)
    return ModelSpec(
        name="fake",
        kind=kind,
        unit=unit,
        precision="fp32",
        height=height,
        width=width,
        multiple=multiple,
        input_size=input_size,
        resample=resample,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        window=window,
        caches=(),
        frames=32 if kind == "window" else 1,
        licence="none",
        source="tests",
        weights_sha256="",
        onnx_sha256="",
        pixels=pixels,
    )


class FakeCache(Closing):
    """One number per slot: the mean of the frame that was written there."""

    closed = False

    def __init__(self, description: ModelSpec, batch: int) -> None:
        self._image: Image = np.zeros(description.image_shape(batch), description.pixels)
        self.features = np.full((batch, description.window.slots), 7.0, np.float32)

    @property
    def image(self) -> Image:
        return self._image

    def clear(self) -> None:
        self.features[:] = 0

    def close(self) -> None:
        self.closed = True


class FakeSession:
    """Depth that depends on the frame, on every slot in use, and on where each slot stands.

    fail_at: number of the step (counted over all streams) that raises StepError.
    """

    def __init__(self, description: ModelSpec | None = None, fail_at: int | None = None) -> None:
        self._spec = description or spec()
        self._fail_at = fail_at
        self.steps = 0

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def new_cache(self, batch: int = 1) -> FakeCache:
        return FakeCache(self._spec, batch)

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        assert isinstance(cache, FakeCache)
        number, self.steps = self.steps, self.steps + 1
        if number == self._fail_at:
            cache.features[:] = np.nan
            raise StepError("the engine stumbled: try again")
        depth = np.zeros((len(plans), *self._spec.size), np.float32)
        for row, plan in enumerate(plans):
            if plan is None:
                continue
            image, features = cache.image[row], cache.features[row]
            weights = np.where(plan.mask[:-1] > 0, 1 / (2 + plan.positions[:-1]), 0).astype(np.float32)
            past = float(np.where(weights > 0, weights * features, 0).sum())
            planes = image / 64 if image.dtype == np.uint8 else image.transpose(1, 2, 0)
            depth[row] = planes.mean(axis=-1) + 10 + 0.1 * past + 0.01 * plan.positions[-1]
            features[list(plan.write)] = image.mean()
        return depth

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class FakeWindowSession:
    """Maps whose scale and shift wander from window to window, as a relative network's do."""

    def __init__(self, description: ModelSpec | None = None) -> None:
        self._spec = description or spec(kind="window")
        self.windows: list[NDArray[np.float32]] = []

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        number = len(self.windows)
        self.windows.append(images.copy())
        plain = images.mean(axis=1) + 10
        return np.asarray(plain * (1 + 0.5 * number) + number, np.float32)

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def picture(image: NDArray[np.uint8]) -> av.VideoFrame:
    """A picture of uint8 [H, W, 3] RGB."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")


def frame(image: NDArray[np.uint8], index: int = 0, pts: int | None = None) -> Frame:
    """A frame at 30 ticks a second."""
    return Frame(picture(image), index, index if pts is None else pts, TICK, captured_ns=0)


def textured(seed: int, height: int = 36, width: int = 64) -> NDArray[np.uint8]:
    """A still scene uint8 [H, W, 3] of large random patches; each seed another one."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(0, 256, (5, 8, 3), np.uint8)
    return patches.repeat(-(-height // 5), axis=0).repeat(-(-width // 8), axis=1)[:height, :width]


def clip(count: int, seed: int = 0, height: int = 36, width: int = 64) -> list[Frame]:
    """Frames of one scene that glides to the left."""
    scene = textured(seed, height, 2 * width)
    return [frame(np.roll(scene, -index, axis=1)[:, :width], index) for index in range(count)]


def depth_frame(depth: NDArray[np.float32], index: int = 0, unit: Unit = Unit.RELATIVE) -> DepthFrame:
    """Depth of a black frame of the map's size."""
    black = frame(np.zeros((*depth.shape, 3), np.uint8), index)
    return DepthFrame(black, depth, unit, DisplayRange(0.0, 10.0), index == 0)


@dataclass
class ListSource:
    """Frames from a list; `error` is raised after the last one."""

    damaged: ClassVar[int] = 0
    reconnects: ClassVar[int] = 0
    frames: Sequence[Frame]
    live: bool = False
    error: Exception | None = None
    closed: bool = False

    @property
    def info(self) -> SourceInfo:
        first = self.frames[0]
        plain = SourceInfo(first.height, first.width, Fraction(30), TICK, len(self.frames), None, False, False, "list")
        return replace(plain, live=self.live)

    def __iter__(self) -> Iterator[Frame]:
        yield from self.frames
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ListSink:
    """Keeps what it is given. fail_at: number of the write that raises `error`; close_error: raised by close."""

    kind = "list"

    def __init__(
        self, fail_at: int | None = None, error: Exception | None = None, close_error: Exception | None = None
    ) -> None:
        self.taken: list[DepthFrame] = []
        self.closed = self.aborted = False
        self._fail_at = fail_at
        self._error = error or OSError("the sink is full")
        self._close_error = close_error

    def write(self, depth_frame: DepthFrame) -> None:
        if len(self.taken) == self._fail_at:
            raise self._error
        self.taken.append(depth_frame)

    def close(self) -> None:
        if self._close_error is not None:
            raise self._close_error
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

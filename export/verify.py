"""Parity: does a compiled network give what the torch oracle gives, over a whole stream?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.session import Image, Session, WindowSession
from engines.spec import ModelSpec, Precision
from engines.window import FeatureWindow
from export.errors import ParityError
from export.progress import Progress
from stream.preprocess import resize_map

LIMITS: dict[Precision, float] = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 2e-2}
"""Largest mean departure in any one frame, relative to the mean of the oracle's maps."""
FRAMES = 60
"""Past the 42 frames that the window rule can tell apart."""
CHECKING = "comparing it with the original"
"""Name of the phase, for `Progress`."""


@dataclass(frozen=True, slots=True)
class Departure:
    """How far a candidate's maps lie from the oracle's, in the worst frame.

    relative: mean absolute difference over the mean of the oracle's map; largest: maximum absolute difference.
    """

    relative: float
    largest: float
    frames: int


def require_parity(found: Departure, limit: float, name: str) -> Departure:
    """The departure of a network of this name. Raises ParityError where it is beyond the limit, or a NaN."""
    if not found.relative <= limit:
        raise ParityError(
            f"{name} departs from the torch oracle by {found.relative:.2e} of the mean depth "
            f"(limit {limit:.0e}) within {found.frames} frames and was not written: use --precision fp32, "
            "or state another limit with --parity-limit"
        )
    return found


def departure(
    oracle: Session, candidate: Session, frames: int = FRAMES, batch: int = 1, progress: Progress | None = None
) -> Departure:
    """Worst departure over a stream, in any of the candidate's rows. A NaN in its maps makes it NaN."""
    window = FeatureWindow(oracle.spec.window)
    relative = largest = 0.0
    with oracle.new_cache() as lane, candidate.new_cache(batch) as lanes:
        for t in range(frames):
            if progress is not None:
                progress(CHECKING, t, frames)
            picture, plan = moving_picture(oracle.spec, t), window.plan()
            lane.image[:] = as_taken(picture, oracle.spec)
            lanes.image[:] = as_taken(picture, candidate.spec)
            wanted = oracle.step(lane, [plan])[0]
            wanted = resize_map(wanted, *candidate.spec.map_size).astype(np.float64)
            error = np.abs(candidate.step(lanes, [plan] * batch) - wanted)
            # max() would drop a NaN; np.maximum keeps it.
            relative = float(np.maximum(relative, error.mean(axis=(1, 2)).max() / max(wanted.mean(), 1e-9)))
            largest = float(np.maximum(largest, error.max()))
    return Departure(relative, largest, frames)


def window_departure(oracle: WindowSession, candidate: WindowSession) -> Departure:
    """Worst departure in any frame of one window of a moving test picture; NaN where the candidate gives one."""
    spec = candidate.spec
    images = np.stack([normalised(moving_picture(spec, t), spec) for t in range(spec.frames)])
    wanted, got = oracle.run(images).astype(np.float64), candidate.run(images)
    error = np.abs(got - wanted)
    relative = error.mean(axis=(1, 2)) / np.maximum(wanted.mean(axis=(1, 2)), 1e-9)
    return Departure(float(relative.max()), float(error.max()), spec.frames)


def moving_picture(spec: ModelSpec, t: int) -> NDArray[np.uint8]:
    """Frame t of a test picture with edges, gradients and motion: uint8 [H, W, 3] RGB at the network's size."""
    height, width = spec.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    u, v = x / width, y / height
    waves = [np.sin((5 + 2 * c) * u + (3 + c) * v + 0.21 * t + c) for c in range(3)]
    square = ((u * 4 + 0.07 * t) % 1 < 0.5) ^ ((v * 3 - 0.03 * t) % 1 < 0.5)
    rgb = np.stack([0.5 + 0.3 * wave + 0.2 * (square - 0.5) for wave in waves], axis=2)
    picture: NDArray[np.uint8] = (np.clip(rgb, 0, 1) * 255).astype(np.uint8)
    return picture


def as_taken(picture: NDArray[np.uint8], spec: ModelSpec) -> Image:
    """uint8 [H, W, 3] as the network takes it: the same bytes, or normalised."""
    return picture if spec.pixels == "uint8" else normalised(picture, spec)


def normalised(picture: NDArray[np.uint8], spec: ModelSpec) -> NDArray[np.float32]:
    """uint8 [H, W, 3] to the network's float32 [3, H, W]."""
    mean, std = (np.array(values, np.float32) for values in (spec.mean, spec.std))
    return np.ascontiguousarray(((picture.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1))

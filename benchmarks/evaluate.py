"""One sequence through one way of estimating depth, and the figures of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.sequence import Sequence, at_depth
from benchmarks.metrics import (
    ALIGNMENTS,
    Alignment,
    Camera,
    Errors,
    Floats,
    aligned_depth,
    alignment_errors,
    errors,
    flicker,
)
from benchmarks.odometry import View, trajectory
from benchmarks.predictors import Picture, Predict
from engines.spec import Unit

STILL_FRAMES = 40
SETTLED = 8
"""Frames of a still clip that are not counted: the memory has to fill first."""
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Truth:
    """What a sequence's maps are measured against.

    depth: float32 [T, h, w], metres. poses: given, or estimated from the sensor's depth, or none (`how`).
    """

    depth: Floats
    poses: list[NDArray[np.float64]] | None
    camera: Camera | None
    how: str
    sensor_tae: float | None
    """Temporal alignment error of the sensor's own depth under these poses: what a perfect method would show."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """aligned: errors by alignment; tae: of each pair, ×100, None without poses; depth: aligned over the sequence."""

    aligned: dict[Alignment, Errors]
    tae: NDArray[np.float64] | None
    depth: Floats

    def figures(self) -> dict[str, object]:
        """Means over frames and pairs."""
        found: dict[str, object] = {
            name.replace(" ", "_"): {
                "abs_rel": round(float(each.abs_rel.mean()), 4),
                "delta1": round(float(each.delta1.mean()), 4),
            }
            for name, each in self.aligned.items()
        }
        return found | {"tae": None if self.tae is None else mean_or_none(self.tae)}


def mean_or_none(values: NDArray[np.float64]) -> float | None:
    """Mean of those that are no NaN; None where there are none."""
    kept = values[np.isfinite(values)]
    return round(float(kept.mean()), 3) if kept.size else None


def truth_of(sequence: Sequence, estimate_motion: bool, told: Callable[[], None] = lambda: None) -> Truth:
    """Read the depth of a sequence; estimate its poses where it has none and that is asked for."""
    depth = np.stack([sequence.depth(index) for index in range(len(sequence.shots))])
    camera, poses, how = sequence.cropped_camera, sequence.poses, "given"
    if camera is not None and poses is None and estimate_motion:
        views = []
        for index, metres in enumerate(depth):
            rgb = at_depth(sequence.picture(index), metres.shape)
            views.append(View(rgb @ np.array(_LUMA), metres.astype(np.float64)))
            told()
        poses, how = trajectory(views, camera), "estimated from the sensor's depth"
    if poses is None or camera is None:
        return Truth(depth, None, camera, "none", None)
    return Truth(depth, poses, camera, how, mean_or_none(alignment_errors(depth, poses, camera)))


def evaluate(
    predict: Predict, unit: Unit, sequence: Sequence, truth: Truth, told: Callable[[], None] = lambda: None
) -> Evaluation:
    """Run a sequence through `predict` and measure it; `told` after each frame."""
    maps = np.empty_like(truth.depth)
    for row, found in zip(maps, predict(pictures_of(sequence)), strict=True):
        row[:] = at_depth(found, row.shape)
        told()
    depths = {alignment: aligned_depth(maps, truth.depth, sequence.cap_m, unit, alignment) for alignment in ALIGNMENTS}
    aligned = {alignment: errors(depth, truth.depth, sequence.cap_m) for alignment, depth in depths.items()}
    tae = None
    if truth.poses is not None and truth.camera is not None:
        tae = alignment_errors(depths["sequence"], truth.poses, truth.camera)
    return Evaluation(aligned, tae, depths["sequence"])


def pictures_of(sequence: Sequence) -> Iterator[Picture]:
    """Pictures of all frames, read one by one."""
    return (sequence.picture(index) for index in range(len(sequence.shots)))


def noisy_copies(picture: Picture, frames: int = STILL_FRAMES, seed: int = 0) -> Iterator[Picture]:
    """One picture as a camera on a tripod repeats it: fresh noise (sigma 4 of 255) and 1 % of exposure flicker."""
    random = np.random.default_rng(seed)
    for _ in range(frames):
        shaken = picture * random.normal(1.0, 0.01) + random.normal(0.0, 4.0, picture.shape)
        yield np.clip(shaken, 0, 255).astype(np.uint8)


def still_flicker(predict: Predict, picture: Picture) -> float:
    """`benchmarks.metrics.flicker` of a picture that stands still, in percent."""
    maps = np.stack(list(predict(noisy_copies(picture))))
    return round(flicker(maps[SETTLED:]), 4)

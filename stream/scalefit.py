"""Scale for relative depth: 1 / metres = factor · depth + shift, from points whose distance is known, robustly.

The error of a point is relative, (factor · d + shift) · metres - 1, so near and far points count alike. Every pair of
points proposes a scale; the one with the least median error (Rousseeuw 1984) outvotes up to half of wrong points, and
reweighted least squares with Tukey's weights refine it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.spec import Unit
from stream.errors import UnitError
from stream.frame import DepthFrame, DisplayRange
from stream.metric import turned_range

Floats = NDArray[np.float64]
_PAIRS = 250
_SINGLES = 20
_VOTERS = 200
_MOST_POINTS = 2000
_ROUNDS = 10
_TUKEY = 4.685
_MAD = 1.4826
_LEAST_SIGMA = 0.01
"""Relative error that even perfect points are granted: the map's own grain."""
_LEAST_INLIERS = 0.4
_UNSCALED = DisplayRange(0.1, 10.0)


@dataclass(frozen=True, slots=True)
class Points:
    """Known distances. x, y: pixels [N]; metres: [N], above zero, along the optical axis."""

    x: Floats
    y: Floats
    metres: Floats


@dataclass(frozen=True, slots=True)
class Scale:
    """1 / metres = factor · depth + shift. inliers: share of the points that agree, 0..1; error: their median one."""

    factor: float
    shift: float
    inliers: float
    error: float

    def metres(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 [H, W] in metres; infinite where the map is beyond the scale's end."""
        inverse = depth * np.float32(self.factor) + np.float32(self.shift)
        with np.errstate(divide="ignore"):
            return np.where(inverse > 0, 1 / inverse, np.where(np.isnan(inverse), inverse, np.float32(np.inf)))


class References(Protocol):
    """Where known points come from."""

    def points(self, index: int, height: int, width: int) -> Points | None:
        """Those of a frame of height × width pixels; None where there are none."""
        ...


def fit(depth: Floats, metres: Floats) -> Scale | None:
    """The scale of relative inverse depths [N] at points of known metres [N]; None where they contradict it."""
    usable = np.isfinite(depth) & np.isfinite(metres) & (metres > 0)
    depth, metres = depth[usable], metres[usable]
    if not depth.size:
        return None
    random = np.random.default_rng(0)
    if depth.size > _MOST_POINTS:
        chosen = random.choice(depth.size, _MOST_POINTS, replace=False)
        depth, metres = depth[chosen], metres[chosen]
    first = _voted(depth, metres, random)
    return None if first is None else _refined(*first, depth, metres)


def _voted(depth: Floats, metres: Floats, random: np.random.Generator) -> tuple[float, float] | None:
    """The proposal with the least median error; None where none has depth grow with nearness."""
    if depth.size > _VOTERS:
        chosen = random.choice(depth.size, _VOTERS, replace=False)
        depth, metres = depth[chosen], metres[chosen]
    factors, shifts = _proposals(depth, 1 / metres, random)
    if not factors.size:
        return None
    errors = np.abs((factors[:, None] * depth + shifts[:, None]) * metres - 1)
    best = int(np.argmin(np.median(errors, axis=1)))
    return float(factors[best]), float(shifts[best])


def _proposals(depth: Floats, inverse: Floats, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Factors above zero and shifts: of pairs of points, and of single ones, which say nothing of the shift."""
    one, other = np.triu_indices(depth.size, 1)
    if one.size > _PAIRS:
        one, other = random.integers(0, depth.size, (2, 2 * _PAIRS))
    apart = np.abs(depth[one] - depth[other]) > 1e-6 * np.abs(depth).max()
    one, other = one[apart][:_PAIRS], other[apart][:_PAIRS]
    factors = (inverse[one] - inverse[other]) / (depth[one] - depth[other])
    shifts = inverse[one] - factors * depth[one]
    alone = np.flatnonzero(depth > 0)[:_SINGLES]
    factors = np.append(factors, inverse[alone] / depth[alone])
    shifts = np.append(shifts, np.zeros(alone.size))
    return factors[factors > 0], shifts[factors > 0]


def _refined(factor: float, shift: float, depth: Floats, metres: Floats) -> Scale:
    rows = np.stack([depth * metres, metres], axis=1)
    for _ in range(_ROUNDS):
        errors = (factor * depth + shift) * metres - 1
        reach = _TUKEY * max(_MAD * float(np.median(np.abs(errors))), _LEAST_SIGMA)
        weights = np.clip(1 - (errors / reach) ** 2, 0, None) ** 2
        sums = rows.T @ (rows * weights[:, None])
        determinant = float(np.linalg.det(sums))
        if determinant <= 1e-9 * sums[0, 0] * sums[1, 1]:
            break
        better, shifted = np.linalg.solve(sums, rows.T @ weights)
        if better <= 0:
            break
        factor, shift = float(better), float(shifted)
    errors = np.abs((factor * depth + shift) * metres - 1)
    median = float(np.median(errors))
    inlying = errors <= _TUKEY * max(_MAD * median, _LEAST_SIGMA)
    return Scale(factor, shift, float(inlying.mean()), median)


class ScaleTracker:
    """Gives a stream of relative depth its scale, following it over time.

    memory_s: time constant of the following, in stream time; a restart of the window starts anew.
    Frames before the first fit have no reading at all: NaN. A fit that most points contradict is left out.
    """

    __slots__ = ("_last_s", "_memory_s", "_references", "misfits", "scale")

    def __init__(self, references: References, memory_s: float = 1.0) -> None:
        self._references = references
        self._memory_s = memory_s
        self._last_s = 0.0
        self.scale: Scale | None = None
        self.misfits = 0
        """Frames whose points did not agree on a scale, so far."""

    def scaled(self, depth_frame: DepthFrame) -> DepthFrame:
        """The frame in metres. Raises UnitError for a frame that has them already."""
        if depth_frame.unit is not Unit.RELATIVE:
            raise UnitError(f"points of known distance give relative depth a scale; this is {depth_frame.unit.value}")
        self._follow(depth_frame)
        if self.scale is None:
            nothing = np.full_like(depth_frame.depth, np.nan)
            return replace(depth_frame, depth=nothing, unit=Unit.METRE, range=_UNSCALED)
        shown = turned_range(depth_frame.range, self.scale.factor, self.scale.shift)
        return replace(depth_frame, depth=self.scale.metres(depth_frame.depth), unit=Unit.METRE, range=shown)

    def _follow(self, depth_frame: DepthFrame) -> None:
        frame = depth_frame.frame
        if depth_frame.reset:
            self.scale = None
        points = self._references.points(frame.index, *depth_frame.depth.shape)
        if points is None:
            return
        fitted = fit(sampled(depth_frame.depth, points), points.metres)
        if fitted is None or fitted.inliers < _LEAST_INLIERS:
            self.misfits += 1
            return
        now_s = float(frame.pts * frame.time_base)
        if self.scale is not None:
            share = 1 - exp(-max(now_s - self._last_s, 0.0) / self._memory_s)
            fitted = replace(
                fitted,
                factor=self.scale.factor + share * (fitted.factor - self.scale.factor),
                shift=self.scale.shift + share * (fitted.shift - self.scale.shift),
            )
        self.scale, self._last_s = fitted, now_s


def sampled(depth: NDArray[np.float32], points: Points) -> Floats:
    """The map's values at points [N]; NaN for those outside."""
    height, width = depth.shape
    x, y = np.rint(points.x).astype(np.intp), np.rint(points.y).astype(np.intp)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    values = np.full(x.shape, np.nan)
    values[inside] = depth[y[inside], x[inside]]
    return values

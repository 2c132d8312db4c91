"""Durations that can be compared: warmed up, taken in turn within one run, summed up by medians and their spread."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Durations:
    """Summary of many durations of one thing, milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float

    @classmethod
    def of(cls, ms: ArrayLike) -> Self:
        """Summary of durations [N], milliseconds; ValueError where there are none."""
        values = np.asarray(ms, np.float64)
        if not values.size:
            raise ValueError("nothing was measured")
        p50, p95, p99 = (round(float(value), 4) for value in np.percentile(values, (50, 95, 99)))
        return cls(values.size, p50, p95, p99, round(float(values.mean()), 4))


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of the ratios of durations taken next to each other, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, above: ArrayLike, below: ArrayLike) -> Self:
        """Ratios above[i] / below[i] of durations [N] taken in the same round."""
        ratios = np.asarray(above, np.float64) / np.asarray(below, np.float64)
        low, median, high = (round(float(value), 3) for value in np.quantile(ratios, (0.25, 0.5, 0.75)))
        return cls(median, low, high)


REST_S = 0.005
"""Between two variants: the threads of ONNX Runtime spin for a while after a run, and would slow the next one down."""


def interleave(
    variants: Mapping[str, Step], rounds: int, warm_up: int = 0, rest_s: float = REST_S
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds [rounds] of each variant.

    Every round runs each variant once, starting with another one each time, so that what disturbs the machine
    disturbs all alike and none always follows the same neighbour. `warm_up` rounds go before and are not counted.
    """
    names = list(variants)
    taken = {name: np.zeros(rounds) for name in names}
    gc.collect()
    for index in range(-warm_up, rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            began = time.perf_counter_ns()
            variants[name]()
            if index >= 0:
                taken[name][index] = (time.perf_counter_ns() - began) / 1e6
            if len(names) > 1:
                time.sleep(rest_s)
    return taken

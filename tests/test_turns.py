"""Streams of their own threads on one session."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import StepError
from engines.session import Cache, StepPlan
from stream.estimator import DepthEstimator
from stream.turns import TurnsSession
from tests.fakes import FakeSession, clip


class Busy(FakeSession):
    """Notices when it is entered twice, and who came in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0
        self.crowded = False
        self.order: list[str] = []
        self.go = threading.Event()

    def step(self, cache: Cache, plans: Sequence[StepPlan | None]) -> NDArray[np.float32]:
        self.inside += 1
        self.crowded |= self.inside > 1
        self.order.append(threading.current_thread().name)
        assert self.go.wait(10)
        depth = super().step(cache, plans)
        self.inside -= 1
        return depth


def test_streams_step_one_at_a_time_and_see_only_their_own_past() -> None:
    alone = DepthEstimator(FakeSession())
    frames = clip(20)
    expected = [alone.step(frame).depth.copy() for frame in frames]
    busy = Busy()
    busy.go.set()
    with TurnsSession(busy) as shared, ThreadPoolExecutor(3) as pool:

        def depths() -> list[NDArray[np.float32]]:
            estimator = DepthEstimator(shared)
            return [estimator.step(frame).depth.copy() for frame in frames]

        for depth in [pool.submit(depths) for _ in range(3)]:
            np.testing.assert_array_equal(depth.result(10), expected)
    assert not busy.crowded


def test_who_asked_first_goes_first() -> None:
    busy = Busy()
    shared = TurnsSession(busy)
    frame = clip(1)[0]
    estimators = [DepthEstimator(shared) for _ in range(4)]
    threads = [
        threading.Thread(target=estimator.step, args=(frame,), name=str(number))
        for number, estimator in enumerate(estimators)
    ]
    for waiting, thread in enumerate(threads, 1):
        thread.start()
        while shared._tickets < len(estimators) + waiting:
            thread.join(0.001)
    busy.go.set()
    for thread in threads:
        thread.join(10)
    assert busy.order == ["0", "1", "2", "3"]


def test_a_failed_step_does_not_block_the_others() -> None:
    shared = TurnsSession(FakeSession(fail_at=0))
    cache = shared.new_cache(1)
    with pytest.raises(StepError):
        shared.step(cache, [None])
    assert shared.step(cache, [None]).shape == (1, *shared.spec.size)
    shared.close()

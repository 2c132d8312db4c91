"""Turns are given in the order in which they were asked for, and given back whatever happens."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from engines.errors import StepError
from stream.estimator import DepthEstimator
from stream.turns import Turns, TurnSession
from tests.conditions import until
from tests.fakes import FakeSession, clip


def test_first_come_first_served() -> None:
    turns, order = Turns(), list[int]()

    def take(number: int) -> None:
        with turns.taken():
            order.append(number)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(5)]
    with turns.taken():
        for number, thread in enumerate(threads):
            thread.start()
            until(partial(lambda asked: turns.waiting == asked, number + 2))
        assert not order
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]
    assert turns.waiting == 0


def test_who_asks_again_stands_behind_those_who_wait() -> None:
    turns, order, busy = Turns(), list[str](), threading.Event()

    def greedy() -> None:
        for turn in range(2):
            with turns.taken():
                order.append(f"greedy {turn}")
                busy.set()
                until(lambda: turns.waiting == 2 or order[-1] == "greedy 1")

    first = threading.Thread(target=greedy)
    first.start()
    assert busy.wait(10)
    with turns.taken():
        order.append("patient")
    first.join()
    assert order == ["greedy 0", "patient", "greedy 1"]


def test_a_failed_step_gives_its_turn_back() -> None:
    turns = Turns()
    shared = TurnSession(FakeSession(fail_at=0), turns)
    estimator = DepthEstimator(shared)
    with pytest.raises(StepError):
        estimator.step(clip(1)[0])
    assert turns.waiting == 0
    assert estimator.step(clip(2)[1]).reset

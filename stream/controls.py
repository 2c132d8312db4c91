"""What a person may ask of a stream while it runs. Set from any thread, heeded between two frames."""

from __future__ import annotations

import threading
from collections.abc import Callable

from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame


class Controls:
    """paused: let frames go and hold the last map, until it is False again."""

    __slots__ = ("_reset", "paused")

    def __init__(self) -> None:
        self.paused = False
        self._reset = threading.Event()

    def reset(self) -> None:
        """Wish that the next frame be the first of its window and its range."""
        self._reset.set()

    def takes_reset(self) -> bool:
        """Whether there is such a wish; it is fulfilled by asking."""
        wished = self._reset.is_set()
        if wished:
            self._reset.clear()
        return wished


def steered(estimator: DepthEstimator, controls: Controls) -> Callable[[Frame], DepthFrame]:
    """The estimator's step, which starts anew when the controls ask for it."""

    def step(frame: Frame) -> DepthFrame:
        if controls.takes_reset():
            estimator.reset()
        return estimator.step(frame)

    return step

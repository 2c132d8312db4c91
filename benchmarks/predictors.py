"""Ways of turning pictures into depth maps that are measured side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

from engines.session import Session, WindowSession
from stream.estimator import DepthEstimator
from stream.frame import Frame
from stream.offline import offline
from stream.policy import AS_TRAINED, WindowPolicy

Picture = NDArray[np.uint8]
"""uint8 [H, W, 3] RGB."""
Predict = Callable[[Iterable[Picture]], Iterator[NDArray[np.float32]]]
"""Pictures of one sequence, in order, to as many maps float32 [H, W]."""

RATE = Fraction(30)


def streaming(session: Session, policy: WindowPolicy = AS_TRAINED) -> Predict:
    """Frame by frame with the window, as `depthcast run` does."""

    def predict(pictures: Iterable[Picture]) -> Iterator[NDArray[np.float32]]:
        estimator = DepthEstimator(session, policy=policy)
        for picture in pictures:
            yield estimator.step_array(picture).depth

    return predict


def each_alone(session: Session) -> Predict:
    """The same network, every frame as if it were the first of a stream."""

    def predict(pictures: Iterable[Picture]) -> Iterator[NDArray[np.float32]]:
        estimator = DepthEstimator(session)
        for picture in pictures:
            estimator.reset()
            yield estimator.step_array(picture).depth

    return predict


def looking_ahead(session: WindowSession) -> Predict:
    """Offline: windows that see the frames to come."""

    def predict(pictures: Iterable[Picture]) -> Iterator[NDArray[np.float32]]:
        for depth in offline(as_frames(pictures), session):
            yield depth.depth

    return predict


def as_frames(pictures: Iterable[Picture]) -> Iterator[Frame]:
    """Pictures as the frames of a clip at 30 frames/s."""
    for index, picture in enumerate(pictures):
        coded = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        yield Frame(coded, index, index, 1 / RATE, time.monotonic_ns())

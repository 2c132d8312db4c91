"""One stream's depth, frame by frame: the network is shared, everything here belongs to the stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from engines.closing import Closing
from engines.dlpack import DeviceArray, OnDevice
from engines.errors import StepError
from engines.session import Image, Session
from engines.spec import ModelSpec
from stream.frame import DepthFrame, DisplayRange, Frame
from stream.pacing import Rhythm
from stream.policy import AS_TRAINED, WindowPolicy
from stream.postprocess import update_range
from stream.preprocess import resize_map, write_image
from stream.scenecut import SceneState, thumbnail, watch
from stream.shape import Shape, are_alike, is_stretched
from stream.stats import StageTimes

_LOG = logging.getLogger(__name__)
_ARRAY_RATE = Fraction(30)
_LUMA = (0.299, 0.587, 0.114)

SessionFor = Callable[[int, int], Session]
"""The session for pictures that are shown at height × width pixels; the one in use where no other fits better."""


@dataclass(frozen=True, slots=True)
class _Previous:
    """What the next frame is compared with."""

    height: int
    width: int
    time_s: float


class DepthEstimator(Closing):
    """Steps frames of one stream through a session. Close it, or use it in a `with` block; the session stays open.

    session: shared by any number of estimators, stepped from one thread at a time; its input size is fixed.
    scene_cut: restart the window and the range at hard cuts.
    gap_s: a pause between two frames (seconds of stream time) that is longer than this, and than three of the usual
        ones, restarts the window, as does a new frame size. Between the first two nobody knows what is usual.
    rate: of the source, which has a say in what is usual until frames have shown it often enough.
    policy: another use of the network's window than the one it was trained with; ValueError where it does not fit.
    session_for: asked when pictures of another shape come; None: all are stretched to the one session's input.
    """

    __slots__ = (
        "_cache",
        "_converter",
        "_gap_s",
        "_policy",
        "_previous",
        "_range",
        "_rate",
        "_rhythm",
        "_scene",
        "_scene_cut",
        "_session",
        "_session_for",
        "_shape",
        "_taken",
        "_window",
        "timings",
    )

    def __init__(
        self,
        session: Session,
        scene_cut: bool = True,
        gap_s: float = 1.0,
        policy: WindowPolicy = AS_TRAINED,
        rate: Fraction | None = None,
        session_for: SessionFor | None = None,
    ) -> None:
        self._session = session
        self._session_for = session_for
        self._shape: Shape | None = None
        self._policy = policy
        self._scene_cut = scene_cut and policy.resets_at_cuts
        self._gap_s = gap_s
        self._rate = rate
        self._cache = session.new_cache(1)
        self._window = policy.window(session.spec.window)
        self._converter = VideoReformatter()
        self.timings = StageTimes()
        """Stages preprocess, infer and postprocess of all steps so far."""
        self.reset()

    def reset(self) -> None:
        """Forget the stream: what follows is byte-equal to a first run."""
        self._window.reset()
        self._scene = SceneState()
        self._range: DisplayRange | None = None
        self._previous: _Previous | None = None
        self._rhythm = Rhythm(self._rate)
        self._taken = 0

    def step(self, frame: Frame) -> DepthFrame:
        """Depth of the next frame.

        Raises StepError when the engine fails; the stream has then been restarted, and the next frame is its first.
        """
        self._fit(frame.size)
        now = _Previous(frame.height, frame.width, float(frame.pts * frame.time_base))
        with self.timings.timed("preprocess"):
            write_image(frame.picture, self._session.spec, self._cache.image[0], self._converter, frame.light)
            self._restart_where_needed(now)
        plan = self._window.plan()
        try:
            with self.timings.timed("infer"):
                depth = self._session.step(self._cache, [plan])[0]
        except StepError:
            self._cache.clear()
            self.reset()
            raise
        with self.timings.timed("postprocess"):
            dt_s = now.time_s - self._previous.time_s if self._previous else 0.0
            self._range = update_range(self._range, depth, dt_s)
            full_size = resize_map(depth, frame.height, frame.width)
        self._previous = now
        return DepthFrame(frame, full_size, self._session.spec.unit, self._range, self._window.t == 1)

    def _fit(self, shape: Shape) -> None:
        """Go on with the session for pictures of this shape."""
        before = self._shape
        if before is not None and are_alike(before, shape):
            return
        self._shape = shape
        if self._session_for is None:
            if before is not None and is_stretched(shape, self._session.spec.size):
                _LOG.warning("pictures of %sx%s are stretched to the network's %sx%s", *shape, *self._session.spec.size)
            return
        session = self._session_for(*shape)
        if session is self._session:
            return
        cache = session.new_cache(1)
        self._cache.close()
        self._session, self._cache = session, cache
        self._window = self._policy.window(session.spec.window)
        self._scene = SceneState()

    def close(self) -> None:
        """Give back what the stream holds of its session; `step` then raises EngineError."""
        self._cache.close()

    @property
    def device_depth(self) -> DeviceArray | None:
        """The last map where the engine computed it, float32 [1, *spec.map_size], for DLPack; until the next step.

        None for engines of the processor: there `DepthFrame.depth` is all there is.
        """
        return self._cache.device_depth if isinstance(self._cache, OnDevice) else None

    def _restart_where_needed(self, now: _Previous) -> None:
        is_cut = self._scene_cut and self._opens_scene()
        before = self._previous
        if is_cut:
            self._range = None
        if before is not None and (
            is_cut
            or (before.height, before.width) != (now.height, now.width)
            or now.time_s < before.time_s
            or (self._rhythm.has_told and now.time_s - before.time_s > self._rhythm.away_after_s(self._gap_s))
        ):
            self._window.reset()
        self._rhythm.note(now.time_s)

    def _opens_scene(self) -> bool:
        luma = _luma(self._cache.image[0], self._session.spec)
        self._scene, is_cut = watch(self._scene, thumbnail(luma))
        return is_cut

    def step_array(self, image: NDArray[np.uint8]) -> DepthFrame:
        """Depth of an image uint8 [H, W, 3] RGB; calls count as frames at 30 fps."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = Frame(picture, self._taken, self._taken, 1 / _ARRAY_RATE, time.monotonic_ns())
        self._taken += 1
        return self.step(frame)


def _luma(image: Image, spec: ModelSpec) -> NDArray[np.float32]:
    """float32 [H, W], 0..255, of one row of the network's input."""
    weights = np.array(_LUMA, np.float32)
    if spec.pixels == "uint8":
        return np.asarray(image @ weights, np.float32)
    mean, std = 255 * np.array([spec.mean, spec.std], np.float32)
    return np.asarray(np.tensordot(weights * std, image, axes=1) + weights @ mean, np.float32)

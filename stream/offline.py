"""Best quality, not causal: overlapping windows of 32 frames, each fitted onto the ones before and cross-faded.

Video Depth Anything (Chen et al., CVPR 2025, arXiv 2501.12375), section 3.4. A window advances by 22 frames; its
first ten inputs repeat frames of the window before it: two far key frames for the fit, eight near ones for the fade.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from engines.session import WindowSession
from engines.spec import ModelSpec, Unit
from stream.frame import DepthFrame, DisplayRange, Frame
from stream.postprocess import update_range
from stream.preprocess import resize_map, write_image
from stream.shape import are_alike
from stream.stats import StageTimes
from stream.twoway import TwoWaySession

Maps = NDArray[np.float32]
"""float32 [N, h, w] at the network's size."""

WINDOW = 32
REPEATED = (0, 12, 24, 25, 26, 27, 28, 29, 30, 31)
"""Entries of a window whose inputs open the next one."""
KEYS = 2
"""How many of the repeated entries fix scale and shift."""
FADED = len(REPEATED) - KEYS
ADVANCE = WINDOW - len(REPEATED)


def offline(frames: Iterable[Frame], session: WindowSession, timings: StageTimes | None = None) -> Iterator[DepthFrame]:
    """Depth of a clip, one depth frame for each frame, in order; holds at most two windows of frames.

    session: a window graph of 32 frames with its input size fixed. Relative maps of such a graph have a scale and a
        shift of their own in each window, and are fitted onto those before; metric ones, and those of a network that
        streams, which keeps its scale from window to window, are joined as they are.
    timings: receives the stages preprocess, infer and postprocess.
    Raises ValueError for a session of another window length; StepError when the engine fails.
    """
    if session.spec.frames != WINDOW:
        raise ValueError(
            f"offline mode needs a window of {WINDOW} frames, {session.spec.name} has {session.spec.frames}"
        )
    times = timings or StageTimes()
    windows = _Windows(iter(frames), session.spec, times)
    # The fit's two far frames stand out of order in the window: a streaming network knows them less well than it knows
    # its scale, so that fitting moved whole windows by several per cent.
    joined = Joined(fits=session.spec.unit is Unit.RELATIVE and not isinstance(session, TwoWaySession))
    shown: DisplayRange | None = None
    before: Frame | None = None
    while windows.advance():
        with times.timed("infer"):
            maps = session.run(windows.images)
        for depth in joined.add(maps, is_last=not windows.more):
            frame = windows.waiting.popleft()
            with times.timed("postprocess"):
                shown = update_range(shown, depth, _seconds_between(before, frame))
                full_size = resize_map(depth, frame.height, frame.width)
            yield DepthFrame(frame, full_size, session.spec.unit, shown, before is None)
            before = frame
            if not windows.waiting:
                return


def offline_by_shape(
    frames: Iterable[Frame], session_for: Callable[[int, int], WindowSession], timings: StageTimes | None = None
) -> Iterator[DepthFrame]:
    """As `offline`, of a clip whose pictures may change shape: each stretch of one shape is a clip of its own.

    session_for: gives the session for pictures that are shown at height × width pixels.
    """
    first: list[Frame] = []

    def stretch(rest: Iterator[Frame]) -> Iterator[Frame]:
        """Frames up to one of another shape, which opens the next stretch."""
        shape = first[0].size
        yield first.pop()
        for frame in rest:
            if not are_alike(shape, frame.size):
                first.append(frame)
                return
            yield frame

    whole = iter(frames)
    first.extend(islice(whole, 1))
    while first:
        yield from offline(stretch(whole), session_for(*first[0].size), timings)


class _Windows:
    """The inputs of one window after another, and the frames whose maps are still to come."""

    def __init__(self, frames: Iterator[Frame], spec: ModelSpec, timings: StageTimes) -> None:
        self._frames = frames
        self._spec = spec
        self._timings = timings
        self._converter = VideoReformatter()
        self._taken = self._started = 0
        self.images = np.empty((WINDOW, 3, *spec.size), np.float32)
        self.waiting: deque[Frame] = deque()

    @property
    def more(self) -> bool:
        """Another window begins within the clip."""
        return self._taken > ADVANCE * self._started

    def advance(self) -> bool:
        """Fill `images` with the next window's inputs; False when the clip is covered."""
        is_first = self._started == 0
        if not is_first and not self.more:
            return False
        if not is_first:
            self.images[: len(REPEATED)] = self.images[list(REPEATED)]
        for entry in range(0 if is_first else len(REPEATED), WINDOW):
            self._fill(entry)
        self._started += 1
        return self._taken > 0

    def _fill(self, entry: int) -> None:
        """The next frame, or the last one again beyond the end of the clip."""
        frame = next(self._frames, None)
        if frame is None:
            self.images[entry] = self.images[entry - 1]
            return
        with self._timings.timed("preprocess"):
            write_image(frame.picture, self._spec, self.images[entry], self._converter, frame.light)
        self.waiting.append(frame)
        self._taken += 1


class Joined:
    """Windows of maps joined into one sequence.

    fits: bring each window to the scale and shift of the ones before it.
    """

    __slots__ = ("_anchor", "_fits", "_held", "_key")

    def __init__(self, fits: bool) -> None:
        self._fits = fits
        self._held: Maps | None = None
        self._anchor: Maps
        self._key: Maps

    def add(self, maps: Maps, is_last: bool) -> Maps:
        """The maps that are final after one more window of 32; the last eight are held back for the fade."""
        if self._held is None:
            ready, aligned = maps, maps
            self._anchor = maps[REPEATED[0]].copy()
        else:
            keys = np.stack([self._anchor, self._key])
            scale, shift = fit(maps[:KEYS], keys) if self._fits else (1.0, 0.0)
            aligned = np.maximum(maps * np.float32(scale) + np.float32(shift), 0)
            faded = crossfade(self._held, aligned[KEYS : KEYS + FADED])
            ready = np.concatenate([faded, aligned[len(REPEATED) :]])
        self._key = aligned[REPEATED[1]].copy()
        self._held = ready[-FADED:].copy()
        return ready if is_last else ready[:-FADED]


def fit(maps: Maps, onto: Maps) -> tuple[float, float]:
    """Scale and shift that bring `maps` closest to `onto` in the least-squares sense; same shapes.

    Constant maps have no scale: it is 1, and the shift joins the means.
    """
    x, y = maps.astype(np.float64).ravel(), onto.astype(np.float64).ravel()
    x_mean, y_mean = float(x.mean()), float(y.mean())
    spread = float(np.square(x - x_mean).sum())
    scale = float((x - x_mean) @ (y - y_mean)) / spread if spread > 0 else 1.0
    return scale, y_mean - scale * x_mean


def crossfade(old: Maps, new: Maps) -> Maps:
    """From the first of `old` to the last of `new`, linearly; same shapes [N, h, w]."""
    weight = np.linspace(0, 1, len(new), dtype=np.float32)[:, None, None]
    return old * (1 - weight) + new * weight


def _seconds_between(before: Frame | None, frame: Frame) -> float:
    return 0.0 if before is None else float((frame.pts - before.pts) * frame.time_base)

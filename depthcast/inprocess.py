"""Depth inside other programs: a source opened by name, or frames of one's own camera loop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from numpy.typing import NDArray

from depthcast.api import EngineName, logger, wanted_for
from depthcast.models import NANO
from depthcast.plan import Mode, Wanted
from depthcast.sensing import Sensing, refinement_of, seen_through
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from depthcast.shapes import ShapedSessions, own_steps
from depthcast.sources import opened_source
from engines.closing import Closing
from engines.dlpack import DeviceArray
from engines.session import Session
from engines.spec import Unit
from stream.calibration import read_camera
from stream.camera import Camera, Intrinsics
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame, held
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.metric import Limits
from stream.recorded import RecordedDepth
from stream.recorded import read as read_recording
from stream.refine import Refinement
from stream.shape import Shape
from stream.sources import SourceInfo
from stream.uris import FileIn, parse_source

_LEAVE_S = 5.0
"""How long a source that is closed may take to notice."""
_MICROSECONDS = Fraction(1, 10**6)
Order = Literal["rgb", "bgr"]
CameraLike = Camera | Intrinsics | str | None
"""A camera; `fov=DEGREES` or a file's name as `--camera` takes them; or intrinsics of pictures of one size."""


class DepthReader(Closing):
    """Depth of a source, frame by frame; what `depthcast.open` returns. Close it, or use it in a `with` block.

    info: of the source; unit: of every map.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        wanted: Wanted,
        sensing: Sensing,
        scene_cut: bool,
        stale_after_s: float,
    ) -> None:
        uri = parse_source(source) if isinstance(source, str) else FileIn(Path(source))
        settings = Settings.from_environment()
        with ExitStack() as opened:
            brought = opened.enter_context(opened_source(uri, settings, logger.info, HttpPorts()))
            frames = seen_through(brought, sensing)
            self.info: SourceInfo = frames.info
            networks = opened.enter_context(_networks(wanted, settings, waits=not self.info.live))
            session = networks.session_for(*self.info.size)
            self._refinement = refinement_of(sensing, self.info)
            self.unit: Unit = self._refinement.check(session.spec.unit)
            self._estimator = opened.enter_context(
                DepthEstimator(session, scene_cut, rate=self.info.rate, session_for=networks.session_for)
            )
            self._frames = frames
            self._box: Mailbox[Frame] = Mailbox(1, Overflow.REPLACE)
            self._capturing: threading.Thread | None = None
            self._stale_after_s = stale_after_s
            self._last: DepthFrame | None = None
            self._opened = opened.pop_all()

    def __iter__(self) -> Iterator[DepthFrame]:
        """The frames, once; of a live source the newest each time. Raises StreamError or EngineError.

        While a live source sends nothing, its last frame comes again and again, marked stale.
        """
        for frame in self._newest() if self.info.live else self._frames:
            if frame is not None:
                self._last = self._refinement.apply(self._estimator.step(frame))
                yield self._last
            elif self._last is not None:
                yield held(self._last, time.monotonic_ns())

    def _newest(self) -> Iterator[Frame | None]:
        """The newest frame each time; None where none came in time."""
        self._capturing = threading.Thread(target=self._capture, name="capture", daemon=True)
        self._capturing.start()
        try:
            while True:
                try:
                    yield self._box.take(self._stale_after_s)
                except TimeoutError:
                    yield None
                except MailboxClosed:
                    return
        finally:
            self._end_capture()

    def _capture(self) -> None:
        try:
            for frame in self._frames:
                self._box.put(frame)
            self._box.close()
        except MailboxClosed:
            pass
        except BaseException as error:  # a thread's boundary: whoever takes the frames gets it
            self._box.close(error)

    def _end_capture(self) -> None:
        """Nobody reads the source any more when this returns, unless it hangs."""
        # As an error, so that what waits in it is not taken any more.
        self._box.close(MailboxClosed("the reader is closed"))
        if self._capturing is not None:
            self._frames.close()
            self._capturing.join(_LEAVE_S)

    @property
    def device_depth(self) -> DeviceArray | None:
        """See `stream.estimator.DepthEstimator.device_depth`."""
        return self._estimator.device_depth

    def close(self) -> None:
        """End the iteration and close the source and the network; harmless when repeated."""
        self._end_capture()
        self._opened.close()


def _networks(wanted: Wanted, settings: Settings, waits: bool) -> ShapedSessions[Session]:
    return ShapedSessions(wanted, own_steps(settings), settings, logger.info, waits=waits)


def open(
    source: str | os.PathLike[str],
    model: str = NANO,
    *,
    metric: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    engine: EngineName = "auto",
    input_size: int | None = None,
    threads: int | None = None,
    scene_cut: bool = True,
    camera: CameraLike = None,
    undistort: bool = False,
    unit: Unit | None = None,
    near_m: float = 0.0,
    far_m: float = inf,
    scale_to: str | os.PathLike[str] | None = None,
    stale_after_s: float = 1.5,
) -> DepthReader:
    """Depth of a video, a camera or a stream: `for depth in depthcast.open("rtsp://…")`.

    source: a file, or as text any source that `depthcast run` takes. The other arguments are that command's options.
    stale_after_s: a live source that sends nothing for so long has its last frame repeated, marked stale.
    Raises DepthcastError, StreamError or EngineError, with what to do in the message.
    """
    wanted = wanted_for(model, metric, Mode.STREAM, checkpoint, engine, input_size, threads)
    scale = None if scale_to is None else Path(scale_to)
    sensing = Sensing(_camera_of(camera), undistort, unit, Limits(near_m, far_m), scale)
    return DepthReader(source, wanted, sensing, scene_cut, stale_after_s)


class DepthStream(Closing):
    """Depth for those who own their camera loop: `stream.step(image)` for each picture, from one thread.

    The network is loaded for the shape of the first picture, and again for another shape, unless `session`, which is
    shared and left open, is given. A pause of more than a second, and of three usual intervals,
    restarts the stream, as does another size.
    camera, near_m, far_m, unit: as for `depthcast.open`. Raises DepthcastError or EngineError at the first step.
    """

    def __init__(
        self,
        model: str = NANO,
        *,
        session: Session | None = None,
        metric: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        engine: EngineName = "auto",
        input_size: int | None = None,
        threads: int | None = None,
        scene_cut: bool = True,
        camera: CameraLike = None,
        unit: Unit | None = None,
        near_m: float = 0.0,
        far_m: float = inf,
    ) -> None:
        self._wanted = wanted_for(model, metric, Mode.STREAM, checkpoint, engine, input_size, threads)
        self._refinement = Refinement(camera=_camera_of(camera), unit=unit, limits=Limits(near_m, far_m))
        self._scene_cut = scene_cut
        self._shared = session
        self._networks: ShapedSessions[Session] | None = None
        self._estimator: DepthEstimator | None = None
        self._taken = 0
        self._last_us = -1

    def step(self, image: Any, *, order: Order = "rgb", time_s: float | None = None) -> DepthFrame:
        """Depth of the next picture.

        image: uint8 [H, W, 3], an array, or anything with `__array__` or CPU `__dlpack__`. Rows in order are used
            where they lie: the picture of the returned frame is the array itself.
        order: of its channels; OpenCV's are "bgr". time_s: when it was taken, any clock; None: now.
        Raises ValueError for another array, StepError when the engine fails (the stream then begins anew).
        """
        pixels = _pixels(image)
        taken_s = time.monotonic() if time_s is None else time_s
        # Times rise strictly, however coarse the caller's clock is.
        self._last_us = max(self._last_us + 1, round(taken_s * 1e6))
        frame = Frame(_picture(pixels, order), self._taken, self._last_us, _MICROSECONDS, time.monotonic_ns())
        self._taken += 1
        estimator = self._estimator or self._opened(frame.size)
        return self._refinement.apply(estimator.step(frame))

    def reset(self) -> None:
        """Forget the stream: the next picture is a first one, of any time."""
        self._last_us = -1
        if self._estimator is not None:
            self._estimator.reset()

    @property
    def device_depth(self) -> DeviceArray | None:
        """See `stream.estimator.DepthEstimator.device_depth`."""
        return None if self._estimator is None else self._estimator.device_depth

    def _opened(self, shape: Shape) -> DepthEstimator:
        # What an earlier try has left, where the unit was refused.
        self.close()
        session, session_for = self._shared, None
        if session is None:
            self._networks = _networks(self._wanted, Settings.from_environment(), waits=True)
            session, session_for = self._networks.session_for(*shape), self._networks.session_for
        self._refinement.check(session.spec.unit)
        if self._refinement.meant is None:
            self._refinement = replace(self._refinement, meant=shape)
        self._estimator = DepthEstimator(session, self._scene_cut, session_for=session_for)
        return self._estimator

    def close(self) -> None:
        """Free the network, unless it is shared; harmless when repeated. The next step opens it again."""
        if self._estimator is not None:
            self._estimator.close()
            self._estimator = None
        if self._networks is not None:
            self._networks.close()
            self._networks = None


def read(path: str | os.PathLike[str]) -> Iterator[RecordedDepth]:
    """The maps of a recording, exactly as they were written. See `stream.recorded.read`."""
    return read_recording(Path(path))


def _camera_of(camera: CameraLike) -> Camera | None:
    if isinstance(camera, str):
        return read_camera(camera)
    return Camera(camera) if isinstance(camera, Intrinsics) else camera


def _pixels(image: Any) -> NDArray[np.uint8]:
    is_foreign = hasattr(image, "__dlpack__") and not isinstance(image, np.ndarray)
    pixels: NDArray[Any] = np.asarray(np.from_dlpack(image) if is_foreign else image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
    return pixels


def _picture(pixels: NDArray[np.uint8], order: Order) -> av.VideoFrame:
    """Without a copy where each row lies in one piece and may be shared."""
    layout = f"{order}24"
    shared = pixels.strides[1:] == (3, 1) and pixels.strides[0] > 0 and pixels.flags.writeable
    if shared:
        return av.VideoFrame.from_numpy_buffer(pixels, format=layout)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=layout)

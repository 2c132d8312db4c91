"""A camera that speaks RTSP and misbehaves on demand: our own server, fed with pictures and faults."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Self

from engines.spec import Unit
from stream.frame import DepthFrame, DisplayRange
from stream.pacing import TICKS_PER_S
from stream.rtsp.rtp import AccessUnit
from stream.rtsp.server import RtspServer
from stream.sinks.encoder import LiveEncoder, choose_encoder
from stream.sinks.picture import Painter
from stream.sources.synthetic import SyntheticSource
from stream.uris import RtspServe

Fault = Callable[[int, AccessUnit], AccessUnit | None]
"""What becomes of picture number n; None: it is not sent."""


def faultless(_number: int, unit: AccessUnit) -> AccessUnit:
    return unit


class RtspCamera:
    """The test scene, its barcodes in the left half, at `rate` frames a second.

    fault: done to every picture, and exchanged at will. hung: connections stay open, nothing is sent.
    """

    def __init__(
        self, rate: int = 30, fault: Fault = faultless, size: tuple[int, int] = (120, 160), port: int = 0
    ) -> None:
        self.fault = fault
        self.hung = threading.Event()
        self._ended = threading.Event()
        self._source = SyntheticSource(*size, Fraction(rate))
        painter = Painter(self._source.info, side_by_side=True)
        choice = choose_encoder(painter, Fraction(rate))
        self._encoder = LiveEncoder(choice, painter, Fraction(rate))
        self._server = RtspServer(RtspServe("127.0.0.1", port, "/cam"), choice.parameter_sets)
        self._thread = threading.Thread(target=self._send, args=(1 / rate,))
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    @property
    def watched(self) -> bool:
        return self._server.is_watched

    def _send(self, period_s: float) -> None:
        depth = self._source.depth(0)
        began_s = time.monotonic()
        for number, frame in enumerate(self._source):
            if self._ended.wait(max(0.0, began_s + number * period_s - time.monotonic())):
                return
            if self.hung.is_set() or not self._server.is_watched:
                continue
            shown = DepthFrame(frame, depth, Unit.METRE, DisplayRange(0.0, 10.0), False)
            unit = self._encoder.encode(shown, self._server.takes_key())
            unit = replace(unit, timestamp=round(number * period_s * TICKS_PER_S))
            changed = self.fault(number, unit)
            if changed is not None:
                self._server.send(changed, time.monotonic_ns())

    def close(self) -> None:
        """Cut every connection."""
        self._ended.set()
        self._thread.join()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

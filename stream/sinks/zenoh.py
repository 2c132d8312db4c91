"""Raw depth messages under a key of a zenoh network (docs/raw-depth.md)."""

from __future__ import annotations

import json

import zenoh

from stream.clock import UnixClock
from stream.dataouts import ZenohOut
from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.raw.codec import Encoder
from stream.sources import SourceInfo

ENCODING = "application/x-depthcast-raw"


class ZenohSink:
    """Publishes each frame; what a subscriber cannot take in time is dropped for it. Raises SinkError."""

    kind = "zenoh"

    __slots__ = ("_clock", "_encoder", "_publisher", "_session")

    def __init__(self, uri: ZenohOut, info: SourceInfo, limits: tuple[float, float] = (0.0, float("inf"))) -> None:
        self._encoder = Encoder(uri.values, limits)
        self._clock = UnixClock(info.live)
        try:
            self._session = zenoh.open(config_of(uri))
            self._publisher = self._session.declare_publisher(
                uri.key, encoding=ENCODING, congestion_control=zenoh.CongestionControl.DROP
            )
        except zenoh.ZError as error:
            raise SinkError(f"cannot publish at {uri}: {error}") from error

    def write(self, depth_frame: DepthFrame) -> None:
        """Publish one frame, where anybody listens."""
        if not self._publisher.matching_status.matching:
            self._encoder.skip()
            return
        try:
            self._publisher.put(self._encoder.encode(depth_frame, self._clock.stamp_ns(depth_frame.frame)))
        except zenoh.ZError as error:
            raise SinkError(f"zenoh does not take a frame: {error}") from error

    def close(self) -> None:
        """Leave the network."""
        self._session.close()

    def abort(self) -> None:
        """Leave the network; harmless when repeated."""
        self._session.close()


def config_of(uri: ZenohOut) -> zenoh.Config:
    """A peer's configuration. With endpoints given it looks for nobody else. Raises zenoh.ZError."""
    config = zenoh.Config()
    for place, endpoint in (("connect", uri.connect), ("listen", uri.listen)):
        if endpoint is not None:
            config.insert_json5(f"{place}/endpoints", json.dumps([endpoint]))
            config.insert_json5("scouting/multicast/enabled", "false")
    return config

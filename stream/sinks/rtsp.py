"""Coloured depth over RTSP: from our own server to any number of viewers."""

from __future__ import annotations

import logging

from stream.frame import DepthFrame
from stream.rtsp.server import DEFAULT_LIMITS, Limits, RtspServer
from stream.sinks.encoder import LiveEncoder, choose_encoder
from stream.sinks.picture import Painter
from stream.sources import SourceInfo
from stream.uris import RtspServe

_LOG = logging.getLogger(__name__)


class RtspServeSink:
    """Encodes each picture once, while anybody watches, and serves it.

    Raises SinkError when there is no encoder or the port is taken.
    """

    __slots__ = ("_encoder", "_server")

    def __init__(self, uri: RtspServe, info: SourceInfo, painter: Painter, limits: Limits = DEFAULT_LIMITS) -> None:
        choice = choose_encoder(painter, info.rate)
        self._encoder = LiveEncoder(choice, painter, info.rate)
        self._server = RtspServer(uri, choice.parameter_sets, limits)
        shown = RtspServe(uri.host, self._server.port, uri.path)
        _LOG.info("serving %s%s", shown, " to those who know the password" if uri.login else "")

    @property
    def port(self) -> int:
        """The one that is listened on."""
        return self._server.port

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode and send one picture."""
        if self._server.is_watched:
            unit = self._encoder.encode(depth_frame, self._server.takes_key())
            self._server.send(unit, depth_frame.frame.captured_ns)

    def close(self) -> None:
        """Leave the viewers."""
        self._server.close()

    def abort(self) -> None:
        """Leave the viewers."""
        self._server.close()

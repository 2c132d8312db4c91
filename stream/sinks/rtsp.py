"""Coloured depth over RTSP: from our own server to any number of viewers."""

from __future__ import annotations

import logging
from dataclasses import replace

from engines.spec import Unit
from stream.frame import DepthFrame
from stream.rtsp.h264 import DELIMITER
from stream.rtsp.server import DEFAULT_LIMITS, Limits, RtspServer
from stream.sinks.encoder import LiveEncoder, choose_encoder
from stream.sinks.picture import Painter, meaning
from stream.sources import SourceInfo
from stream.uris import RtspServe

_LOG = logging.getLogger(__name__)


class RtspServeSink:
    """Encodes each picture once, while anybody watches, and serves it.

    unit: of the depth that is written; those who ask are told.
    Raises SinkError when there is no encoder or the port is taken.
    """

    kind = "rtsp"

    __slots__ = ("_encoder", "_server")

    def __init__(
        self, uri: RtspServe, info: SourceInfo, painter: Painter, unit: Unit, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        choice = choose_encoder(painter, info.rate)
        self._encoder = LiveEncoder(choice, painter, info.rate)
        self._server = RtspServer(uri, choice.parameter_sets, limits, about=meaning(unit))
        shown = RtspServe(uri.host, self._server.port, uri.path)
        _LOG.info("serving %s%s", shown, " to those who know the password" if uri.login else "")

    @property
    def port(self) -> int:
        """The one that is listened on."""
        return self._server.port

    @property
    def viewers(self) -> int:
        """Those who play at the moment."""
        return self._server.viewers

    @property
    def sent_bytes(self) -> int:
        """Of RTP, to all viewers together, so far."""
        return self._server.sent_bytes

    @property
    def dropped(self) -> int:
        """Pictures that were encoded and not sent, so far."""
        return self._server.dropped

    def write(self, depth_frame: DepthFrame) -> None:
        """Encode and send one picture, ended by a delimiter: no player waits for the next one to see where it ends.

        (FFmpeg trac 3354.) FFmpeg takes it for the beginning of the next picture and gives each the time of the one
        before it, a constant shift; waiting would cost the same time in earnest.
        """
        if self._server.is_watched:
            unit = self._encoder.encode(depth_frame, self._server.takes_key())
            self._server.send(replace(unit, units=(*unit.units, DELIMITER)), depth_frame.frame.captured_ns)

    def close(self) -> None:
        """Leave the viewers."""
        self._server.close()

    def abort(self) -> None:
        """Leave the viewers."""
        self._server.close()

"""Coloured depth to somebody else's RTSP server, connected to again whenever it is lost."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from functools import partial

from engines.spec import Unit
from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.mailbox import Mailbox, MailboxClosed, Overflow
from stream.pacing import wait_before_try_s
from stream.rtsp.conversation import Refused
from stream.rtsp.publication import Publication
from stream.rtsp.rtp import Sender
from stream.rtsp.sdp import describe
from stream.sinks.encoder import LiveEncoder, choose_encoder
from stream.sinks.picture import Painter, meaning
from stream.sources import SourceInfo
from stream.uris import RtspPublish

_LOG = logging.getLogger(__name__)
_PLACES = 2
_LEAVE_S = 0.5
_REPORT_EVERY_S = 5.0


class RtspPublishSink:
    """Encodes and sends from a thread of its own, since a server may stop reading; `write` never waits.

    Meanwhile newer pictures replace older ones. A server that is absent is asked again at growing intervals, and that
    is no error: only what cannot be encoded is (SinkError).
    unit: of the depth that is written; the server is told.
    timeout_s: of every wait for the server; wait: sleeps so many seconds, or until the event is set; replaced in tests.
    """

    kind = "rtsp-publish"

    def __init__(
        self,
        uri: RtspPublish,
        info: SourceInfo,
        painter: Painter,
        unit: Unit,
        timeout_s: float = 5.0,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        self._uri = uri
        self._timeout_s = timeout_s
        self._wait = wait
        choice = choose_encoder(painter, info.rate)
        self._encoder = LiveEncoder(choice, painter, info.rate)
        self._description = partial(describe, choice.parameter_sets, about=meaning(unit))
        self._pictures: Mailbox[DepthFrame] = Mailbox(_PLACES, Overflow.REPLACE)
        self._closing = threading.Event()
        self._publication: Publication | None = None
        self._lost = 0
        self.connections = 0
        """Times that the server took our stream, so far."""
        self.sent_bytes = 0
        """Of RTP, so far."""
        # A daemon: a name that takes long to be resolved must not keep the program alive.
        self._sender = threading.Thread(target=self._send, name="rtsp publisher", daemon=True)
        self._sender.start()

    @property
    def dropped(self) -> int:
        """Pictures replaced by newer ones before they could be sent, or sent in part: the system had no room."""
        return self._pictures.dropped + self._lost

    @property
    def viewers(self) -> int:
        """1 while a server takes our stream; who watches there is not known here."""
        return int(self._publication is not None)

    def write(self, depth_frame: DepthFrame) -> None:
        """Take one picture, to be sent next. Raises SinkError when an earlier one could not be encoded."""
        self._pictures.put(depth_frame)

    def close(self) -> None:
        """Send what waits, where the server takes it at once, and leave."""
        self._pictures.close()
        self._closing.set()
        self._sender.join(_LEAVE_S)
        publication = self._publication
        if publication is not None and self._sender.is_alive():
            publication.cut()
            self._sender.join(_LEAVE_S)

    def abort(self) -> None:
        """Leave."""
        self.close()

    def _send(self) -> None:
        """The sender's life: connection after connection."""
        failures = 0
        try:
            while True:
                # No server is kept waiting for the first picture.
                first = self._pictures.take()
                reason = self._sent_from(first)
                was_open, self._publication = self._publication is not None, None
                if was_open or not failures:
                    _LOG.warning("%s does not take our stream (%s), trying again", self._uri, reason)
                failures = 1 if was_open else failures + 1
                self._wait(self._closing, wait_before_try_s(failures))
        except MailboxClosed:
            pass
        except SinkError as error:
            self._pictures.close(error)
        except Exception as error:  # a thread's boundary: the run ends with it
            _LOG.debug("the publisher ended", exc_info=True)
            failure = SinkError(f"cannot publish to {self._uri}: {error}")
            failure.__cause__ = error
            self._pictures.close(failure)

    def _sent_from(self, first: DepthFrame) -> str:
        """Send until the mailbox closes (raises MailboxClosed) or the way breaks: then says why."""
        try:
            publication = Publication(self._uri, self._description, self._timeout_s)
        except (OSError, Refused) as error:
            return str(error)
        self._publication = publication
        self.connections += 1
        _LOG.info("publishing to %s", self._uri)
        sender = Sender(*(secrets.randbits(bits) for bits in (32, 16, 32)))
        picture, is_first, reported_s = first, True, time.monotonic()
        try:
            while True:
                packets = sender.packets(self._encoder.encode(picture, key=is_first))
                self._lost += not publication.send(packets)
                self.sent_bytes += sum(map(len, packets))
                is_first = False
                now_s = time.monotonic()
                if now_s - reported_s >= _REPORT_EVERY_S:
                    reported_s = now_s
                    publication.report(sender.report(time.time(), now_s - picture.frame.captured_ns / 1e9))
                picture = self._pictures.take()
        except OSError as error:
            publication.cut()
            return str(error)
        except BaseException:
            publication.close()
            raise

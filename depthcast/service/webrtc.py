"""WebRTC outputs and sources of a run: made of `stream.webrtc`, reached over HTTP."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from urllib.parse import unquote

from depthcast.exports import Say
from depthcast.live import LiveRun, LiveStream
from depthcast.service.ports import HttpPorts
from depthcast.service.security import is_loopback
from depthcast.service.whip import sessions_router
from depthcast.settings import Settings
from stream.sinks.picture import Painter
from stream.sinks.webrtc import Viewing, WebRtcSink
from stream.sinks.whip import WhipPublishSink
from stream.sources import Source, SourceInfo
from stream.sources.webrtc import PublishedSource, Reception
from stream.webrtc.corrections import Ice, IceServer, own_addresses
from stream.webrtc.watch import ice_towards
from stream.webrtcuris import WebRtcIn, WebRtcServe, WhipPublish

_LOG = logging.getLogger(__name__)


@contextmanager
def viewed(
    uri: WebRtcServe, run: LiveRun, painter: Painter, settings: Settings, ports: HttpPorts
) -> Iterator[WebRtcSink]:
    """An output that is watched through WHEP at `/whep/NAME`, and listed on the page there, inside the block.

    Raises SinkError.
    """
    viewing = Viewing(settings.max_viewers, settings.max_bitrate)
    ice = ice_of(settings, uri.host)
    sink = WebRtcSink(run.info, painter, ice, viewing)
    ports.mount(uri.host, uri.port, sessions_router(f"/whep/{uri.name}", sink.door, uri.token, ice.servers))
    _LOG.info("serving %s%s", uri, " to those who bring the token" if uri.token else "")
    stream = LiveStream(uri.name, run, painter, f"whep/{uri.name}", lambda: sink.viewers, uri.token)
    with ports.live(uri.host, uri.port, settings).listed(stream):
        yield sink


def brought(uri: WhipPublish, info: SourceInfo, painter: Painter, settings: Settings) -> WhipPublishSink:
    """An output that we bring to another's WHIP server. Raises SinkError."""
    plain = ice_towards(uri.url)
    ice = Ice(settings.ice_addresses or plain.addresses, servers_of(settings))
    return WhipPublishSink(uri, info, painter, ice, settings.max_bitrate)


@contextmanager
def published(uri: WebRtcIn, settings: Settings, say: Say, ports: HttpPorts) -> Iterator[Source]:
    """A source that a publisher brings by WHIP to `/whip/NAME`; waits for the first picture.

    Raises UsageError where the address is taken.
    """
    ice = ice_of(settings, uri.host)
    with closing(Reception(str(uri), ice)) as reception:
        ports.mount(uri.host, uri.port, sessions_router(f"/whip/{uri.name}", reception.door, uri.token, ice.servers))
        with ports.serving():
            say(f"waiting for a publisher at {ports.url(uri.host, uri.port)}/whip/{uri.name}")
            yield PublishedSource(reception)


def ice_of(settings: Settings, host: str) -> Ice:
    """What peers are offered: the addresses of the settings, else the one that is listened on, else all.

    host: that is listened on. One of loopback's is reached from this machine alone, unless a proxy before it or a
        server between peers says otherwise.
    """
    servers = servers_of(settings)
    if settings.ice_addresses:
        return Ice(settings.ice_addresses, servers)
    is_reached = bool(servers) or (settings.public_url is not None and not settings.public_url.is_here)
    if is_reached and is_loopback(host):
        host = ""
    is_here = is_loopback(host)
    if (is_here or not _is_address(host)) and not own_addresses():
        _LOG.warning(
            "this machine has no address but loopback's: Firefox cannot watch or publish here, Chromium can; "
            "connect a network, or set Firefox's media.peerconnection.ice.loopback"
        )
    if is_here:
        return Ice((host if _is_address(host) else "127.0.0.1",), servers, only_here=True)
    return Ice((host,) if _is_address(host) else (), servers)


def servers_of(settings: Settings) -> tuple[IceServer, ...]:
    """Those that help peers to find each other."""
    return tuple(map(_server, settings.ice_servers))


def _is_address(host: str) -> bool:
    """One that peers can be sent to."""
    try:
        return not ip_address(host).is_unspecified
    except ValueError:
        return False


def _server(text: str) -> IceServer:
    found = re.fullmatch(r"(stun|turns?):(?:([^:@]*):?([^@]*)@)?(.+)", text)
    assert found is not None, "the settings have checked it"
    scheme, user, password, place = found.groups()
    return IceServer(f"{scheme}:{place}", unquote(user) if user else None, unquote(password) if password else None)

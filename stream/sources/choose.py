"""From a parsed URI to an open source."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

from stream.errors import SourceError
from stream.rtsp.redirects import keep_login
from stream.sources import Source
from stream.sources.connection import Address
from stream.sources.file import FileSource
from stream.sources.limited import limited
from stream.sources.live import LiveSource
from stream.sources.paced import Looped, Paced
from stream.sources.synthetic import SyntheticSource
from stream.sources.verified import system_authorities
from stream.uris import CameraIn, FileIn, HttpIn, RtspIn, SourceUri, TestIn
from stream.webrtcuris import WebRtcIn

_HTTP_PROTOCOLS = "http,https,tcp,tls,httpproxy,crypto"
"""What an address on the web may lead to: never a file of this machine."""
_RTSP_PROTOCOLS = "rtsp,rtsps,rtp,rtcp,udp,tcp,tls,srtp"


def open_source(
    uri: SourceUri,
    max_frames: int | None = None,
    output_fps: Fraction | None = None,
    timeout_s: float = 5.0,
    authorities: Path | None = None,
) -> Source:
    """Open what the URI names.

    max_frames: end after this many, unless it is live: whoever drops frames of a live source counts the others.
    output_fps: thin to this rate; timeout_s: of every wait for the network.
    authorities: certificates (PEM) that servers are verified against; None: those of this machine for https://, and
        for rtsps:// none, since most cameras sign their own.
    Raises SourceError with what to do.
    """
    if isinstance(uri, FileIn) and not uri.loop and not uri.realtime:
        return FileSource(uri.path, max_frames, output_fps)
    source = _opened(uri, timeout_s, authorities)
    return limited(source, max_frames, output_fps)


def _opened(uri: SourceUri, timeout_s: float, authorities: Path | None) -> Source:
    match uri:
        case FileIn(path, loop, realtime):
            source: Source = Looped(path) if loop else FileSource(path)
            return Paced(source) if realtime else source
        case TestIn((height, width), rate, frames, realtime):
            scene = SyntheticSource(height, width, rate, frames)
            return Paced(scene) if realtime else scene
        case RtspIn() | HttpIn():
            return LiveSource(address_of(uri, timeout_s, authorities))
        case WebRtcIn():
            raise SourceError(
                f"{uri} is brought over HTTP: `depthcast run`, `depthcast.estimate` and `depthcast.open` listen for it"
            )
        case CameraIn():
            if not Path(uri.device).exists():
                raise SourceError(f"there is no camera {uri.device}: the ones of this machine are {_cameras()}")
            return LiveSource(address_of(uri, timeout_s))


def address_of(uri: RtspIn | HttpIn | CameraIn, timeout_s: float, authorities: Path | None = None) -> Address:
    """What FFmpeg is told."""
    limit = str(round(timeout_s * 1e6))
    match uri:
        case RtspIn():
            trusted = None if uri.insecure else authorities
            options = {
                "rtsp_transport": uri.transport.value,
                "timeout": limit,
                # Decode from the first packets on instead of watching for a second what comes.
                "probesize": "32",
                "analyzeduration": "0",
                "protocol_whitelist": _RTSP_PROTOCOLS,
                **_verified(trusted),
            }
            check = None if uri.remote.login is None else partial(keep_login, uri.remote, timeout_s, trusted)
            return Address(uri.remote.url, str(uri), tuple(options.items()), "rtsp", timeout_s, check=check)
        case HttpIn():
            trusted = None if uri.insecure else authorities or system_authorities()
            options = {
                "timeout": limit,
                "rw_timeout": limit,
                # Half of what opening may take: where the first key picture is late, there is nothing to analyse.
                "analyzeduration": str(round(timeout_s * 5e5)),
                "protocol_whitelist": _HTTP_PROTOCOLS,
                **_verified(trusted),
            }
            return Address(uri.remote.url, str(uri), tuple(options.items()), None, timeout_s, True, trusted)
        case CameraIn(device, size, rate):
            options = {}
            if size is not None:
                options["video_size"] = f"{size[1]}x{size[0]}"
            if rate is not None:
                options["framerate"] = str(rate)
            return Address(device, str(uri), tuple(options.items()), "v4l2", timeout_s)


def _verified(trusted: Path | None) -> dict[str, str]:
    return {} if trusted is None else {"tls_verify": "1", "ca_file": str(trusted)}


def _cameras() -> str:
    return ", ".join(sorted(str(path) for path in Path("/dev").glob("video*"))) or "none"

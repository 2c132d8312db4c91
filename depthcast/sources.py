"""What a run reads: opened by the core, or brought to us over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

from depthcast.exports import Say
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from stream.sources import Source
from stream.sources.choose import open_source
from stream.sources.limited import limited
from stream.uris import SourceUri
from stream.webrtcuris import WebRtcIn


@contextmanager
def opened_source(
    uri: SourceUri,
    settings: Settings,
    say: Say,
    ports: HttpPorts,
    max_frames: int | None = None,
    output_fps: Fraction | None = None,
) -> Iterator[Source]:
    """A source, open inside the block; one that a publisher brings is waited for, and served at its address.

    max_frames, output_fps: as of `open_source`. Raises SourceError, or UsageError where an address is taken.
    """
    if not isinstance(uri, WebRtcIn):
        with open_source(uri, max_frames, output_fps, authorities=settings.authorities) as source:
            yield source
        return
    # Neither the web framework nor aiortc is loaded for runs that have no use for them.
    from depthcast.service.webrtc import published

    with published(uri, settings, say, ports) as brought:
        yield limited(brought, max_frames, output_fps)

"""Who is served where, known before anything listens: outputs that name one address share a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from depthcast.live import LiveStreams
from depthcast.settings import Settings

if TYPE_CHECKING:
    from fastapi import APIRouter


class HttpPorts:
    """The HTTP servers of one run. The web framework is loaded only where one is needed."""

    __slots__ = ("_live", "_routers")

    def __init__(self) -> None:
        self._routers: dict[tuple[str, int], list[APIRouter]] = {}
        self._live: dict[tuple[str, int], LiveStreams] = {}

    def mount(self, host: str, port: int, router: APIRouter) -> None:
        """Have these routes served at the address; an empty host is every address, port 0 a free one."""
        self._routers.setdefault((host, port), []).append(router)

    def live(self, host: str, port: int, settings: Settings) -> LiveStreams:
        """Those that the page at the address lists; who asks first has the page served."""
        streams = self._live.get((host, port))
        if streams is None:
            from depthcast.service.live import live_routers

            streams = self._live[host, port] = LiveStreams()
            for router in live_routers(streams, settings):
                self.mount(host, port, router)
        return streams

    @contextmanager
    def serving(self) -> Iterator[tuple[str, ...]]:
        """Serve all inside the block; yields their URLs in order of mounting.

        Raises UsageError where an address cannot be listened on.
        """
        if not self._routers:
            yield ()
            return
        from depthcast.service.app import create_app
        from depthcast.service.server import serving

        with ExitStack() as servers:
            yield tuple(
                servers.enter_context(serving(create_app(*routers), host, port))
                for (host, port), routers in self._routers.items()
            )

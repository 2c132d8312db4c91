"""Who is served where, known before anything listens: outputs that name one address share a server."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from depthcast.live import LiveStreams
from depthcast.publicurl import PublicUrl
from depthcast.settings import Settings

if TYPE_CHECKING:
    from fastapi import APIRouter, FastAPI
    from starlette.routing import BaseRoute


_LOG = logging.getLogger(__name__)


class HttpPorts:
    """The HTTP servers of one run. The web framework is loaded only where one is needed.

    public: what clients reach them by, behind a proxy.
    """

    __slots__ = ("_added", "_live", "_mounting", "_public", "_routers", "_running", "_urls")

    def __init__(self, public: PublicUrl | None = None) -> None:
        self._public = public
        self._mounting = threading.RLock()
        self._added: dict[tuple[str, int], dict[frozenset[object], list[BaseRoute]]] = {}
        self._routers: dict[tuple[str, int], list[APIRouter]] = {}
        self._running: dict[tuple[str, int], FastAPI] = {}
        self._urls: dict[tuple[str, int], str] = {}
        self._live: dict[tuple[str, int], LiveStreams] = {}

    def announce(self, host: str, port: int) -> None:
        """Have the address served even before anything is mounted there: for who mounts later, and leaves earlier."""
        self._routers.setdefault((host, port), [])

    def mount(self, host: str, port: int, router: APIRouter) -> None:
        """Have these routes served at the address; an empty host is every address, port 0 a free one.

        Where the address is served already they are there at once, without the router's lifespan, and in the place of
        earlier ones of the same path: a stream that begins again is found where it was.
        """
        place = host, port
        with self._mounting:
            if place in self._running:
                self._put(router, place)
            else:
                self._routers.setdefault(place, []).append(router)

    def _put(self, router: APIRouter, place: tuple[str, int]) -> None:
        """Add the routes to a running application, without those of an earlier router for the same paths."""
        from depthcast.service.security import include

        app, there = self._running[place], self._added.setdefault(place, {})
        before, paths = list(app.router.routes), frozenset(map(_path, router.routes))
        include(app, router)
        old, there[paths] = there.get(paths, []), app.router.routes[len(before) :]
        app.router.routes[:] = [route for route in app.router.routes if not any(route is one for one in old)]
        app.openapi_schema = None

    def url(self, host: str, port: int) -> str:
        """Of an address that is served, as people are told of it."""
        return self._urls[host, port] if self._public is None else str(self._public)

    def live(self, host: str, port: int, settings: Settings) -> LiveStreams:
        """Those that the page at the address lists; who asks first has the page served."""
        from depthcast.service.live import live_routers

        place = host, port
        with self._mounting:
            if place not in self._live:
                self._live[place] = LiveStreams()
                for router in live_routers(self._live[place], settings):
                    self.mount(host, port, router)
                if place in self._running:
                    self._say_where(place)
            return self._live[place]

    def _say_where(self, place: tuple[str, int]) -> None:
        _LOG.info("the page is at %s/", self.url(*place))

    @contextmanager
    def serving(self) -> Iterator[tuple[str, ...]]:
        """Serve what has been mounted inside the block; yields all URLs in order of mounting.

        May be entered again inside, for what has been mounted since.
        Raises UsageError where an address cannot be listened on.
        """
        with ExitStack() as servers:
            for place in self._routers.keys() - self._running.keys():
                servers.enter_context(self._served(*place))
            yield tuple(self._urls[place] for place in self._routers)

    @contextmanager
    def _served(self, host: str, port: int) -> Iterator[None]:
        from depthcast.service.app import create_app
        from depthcast.service.server import serving

        place = host, port
        app = create_app(*self._routers[place], public=self._public)
        with serving(app, host, port) as self._urls[place]:
            self._running[place] = app
            if place in self._live:
                self._say_where(place)
            try:
                yield
            finally:
                del self._running[place]


def _path(route: BaseRoute) -> tuple[object, ...]:
    return type(route), getattr(route, "path", ""), frozenset(getattr(route, "methods", None) or ())

"""The HTTP application: what every one of ours answers, and the routers it was made of."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from depthcast import __version__
from depthcast.service import errors
from depthcast.service.openapi import Application
from depthcast.service.requests import Pace, Requests
from depthcast.service.security import Protection, include, protect

_PACE = Pace()
_OWN = APIRouter(tags=["health"])


@_OWN.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "version": __version__}


def create_app(*routers: APIRouter, protection: Protection | None = None, pace: Pace = _PACE) -> FastAPI:
    """An application of these routers, behind its protection; their lifespans are entered when it starts serving.

    protection: None asks for no key, and refuses pages of other sites. pace: of what is sent to it.
    """
    app = Application(title="depthcast", version=__version__)
    errors.install(app)
    app.add_middleware(Requests, pace=pace)
    protect(app, protection or Protection())
    for router in (_OWN, *routers):
        include(app, router)
    return app

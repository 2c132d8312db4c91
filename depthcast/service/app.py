"""The HTTP application: what every one of ours answers, and the routers it was made of."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from depthcast import __version__
from depthcast.publicurl import PublicUrl
from depthcast.service import errors
from depthcast.service.openapi import Application, docs
from depthcast.service.requests import Pace, Requests
from depthcast.service.security import Protection, include, protect, reached_by

_PACE = Pace()
_OWN = APIRouter(tags=["health"])
_OWN.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)


@_OWN.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "version": __version__}


def create_app(
    *routers: APIRouter,
    protection: Protection | None = None,
    pace: Pace = _PACE,
    public: PublicUrl | None = None,
) -> FastAPI:
    """An application of these routers, behind its protection; their lifespans are entered when it starts serving.

    protection: None asks for no key, and refuses pages of other sites. pace: of what is sent to it.
    public: what it is reached by from outside, where a proxy stands before it.
    """
    app = Application("depthcast", __version__, public.path if public else "")
    errors.install(app)
    app.add_middleware(Requests, pace=pace)
    protect(app, reached_by(public, protection or Protection()))
    for router in (_OWN, *routers):
        include(app, router)
    return app

"""The HTTP application: what every one of ours answers, and the routers it was made of."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from depthcast import __version__
from depthcast.service import errors
from depthcast.service.openapi import Application

_OWN = APIRouter(tags=["health"])


@_OWN.get("/healthz")
async def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok", "version": __version__}


def create_app(*routers: APIRouter) -> FastAPI:
    """An application of these routers; their lifespans are entered when it starts serving."""
    app = Application(title="depthcast", version=__version__)
    errors.install(app)
    for router in (_OWN, *routers):
        app.include_router(router)
    return app

"""The job API as part of an application: its routes, and the queue that lives as long as they are served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from depthcast.service.answers import Json
from depthcast.service.api import events, generate, generations, models, queue, results
from depthcast.service.api.context import JobsOf
from depthcast.service.jobs.folders import Folders
from depthcast.service.jobs.queue import Jobs
from depthcast.service.jobs.store import Store
from depthcast.service.settings import ServiceSettings

_HEALTH = APIRouter(tags=["health"])


@_HEALTH.get("/readyz", responses={503: {"description": "Not ready: the body says what is missing."}})
async def readyz(jobs: JobsOf) -> Json:
    """Jobs can be taken: the queue answers, and there is room for results, as it was measured last."""
    waiting = await jobs.db(jobs.store.active)
    is_ready = not jobs.is_closing and jobs.room.is_there
    words = {True: "ready", False: "closing" if jobs.is_closing else "no room for results"}
    return Json({"status": words[is_ready], "jobs": waiting}, 200 if is_ready else 503)


def check_data(settings: ServiceSettings) -> None:
    """Raise UsageError or OSError where the folder of the queue cannot be used, before anything listens."""
    Store(Folders(settings.data).database).close()


def jobs_router(settings: ServiceSettings, is_live: Callable[[], bool] = lambda: False) -> APIRouter:
    """All routes of the job API. `app.state.jobs` is the queue while it is served.

    is_live: whether there are live streams, for which jobs make room.
    """

    @asynccontextmanager
    async def alive(app: FastAPI) -> AsyncIterator[None]:
        jobs = app.state.jobs = Jobs(settings, is_live)
        await jobs.open()
        try:
            yield
        finally:
            await jobs.close()

    router = APIRouter(lifespan=alive)
    for part in (generate, queue, events, models, generations, results):
        router.include_router(part.router)
    router.include_router(_HEALTH)
    return router

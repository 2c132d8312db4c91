"""GET /api/events: a client is told how its generations end, as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from starlette.responses import StreamingResponse

from depthcast.service.answers import compact
from depthcast.service.api.context import Caller, JobsOf, Links, LinksOf
from depthcast.service.api.describe import completed, progressed
from depthcast.service.errors import ApiError
from depthcast.service.jobs.bus import Event, Progress, Subscription
from depthcast.service.jobs.queue import Jobs
from depthcast.service.rates import site_of

router = APIRouter(tags=["events"])
KEEP_ALIVE_S = 15.0
_REPLAYED_S = 3600
_MOST_REPLAYED = 50
_MOST_LISTENERS, _MOST_OF_ONE = 500, 50
"""Of all clients, and of one, so that it cannot take the places of the others."""
_KEEP_ALIVE = ": keep-alive\n\n"
_PADDING = ":" + " " * 8192 + "\n\n"
"""Clients that pipe this through mawk see an event when a block of 4096 bytes is full, and curl notices that mawk has
ended when it writes another one."""


@router.get("/api/events", response_class=StreamingResponse)
async def events(request: Request, caller: Caller, jobs: JobsOf, links: LinksOf) -> StreamingResponse:
    """Events `media_generation_completed`, those of the last hour first, and, ours, `media_generation_progress`."""
    client = f"{caller} {site_of(request.client.host if request.client else '')}"
    if len(jobs.bus) >= _MOST_LISTENERS or jobs.bus.of(client) >= _MOST_OF_ONE:
        raise ApiError(429, "rate_limit_exceeded", "too many clients listen to events", {"Retry-After": "15"})
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_told(caller, client, jobs, links), media_type="text/event-stream", headers=headers)


async def _told(caller: str, client: str, jobs: Jobs, links: Links) -> AsyncIterator[str]:
    with jobs.bus.subscribed(caller, client) as subscription:
        yield _KEEP_ALIVE
        recent = await jobs.db(jobs.store.completed, caller, int(jobs.now()) - _REPLAYED_S, _MOST_REPLAYED)
        told = {generation.id for generation in recent}
        for generation in recent:
            yield text(generation, links)
        while not (subscription.is_lost or jobs.is_closing):
            event = await _next(subscription, jobs)
            if event is None:
                if not jobs.is_closing:
                    yield _KEEP_ALIVE
            elif isinstance(event, Progress) or event.id not in told:
                yield text(event, links)


async def _next(subscription: Subscription, jobs: Jobs) -> Event | None:
    """The next event, or None when there is none for a while, or the service closes."""
    coming = asyncio.ensure_future(subscription.events.get())
    closing = asyncio.ensure_future(jobs.closing.wait())
    try:
        await asyncio.wait({coming, closing}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        coming.cancel()
        closing.cancel()


def text(event: Event, links: Links) -> str:
    """An event as it goes over the wire."""
    if isinstance(event, Progress):
        return f"event: media_generation_progress\ndata: {compact(progressed(event))}\n\n"
    return f"event: media_generation_completed\ndata: {compact(completed(event, links))}\n\n{_PADDING}"

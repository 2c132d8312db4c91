"""/api/ai/queue: ask for depth now, look for it later."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from depthcast.service.answers import Json
from depthcast.service.api.bodies import Asked, asked_of, later
from depthcast.service.api.context import Caller, JobsOf, LinksOf
from depthcast.service.api.describe import item
from depthcast.service.api.schemas import ENQUEUE_BODY, Cancelled, Enqueued, Item, Items, answers
from depthcast.service.errors import not_found
from depthcast.service.jobs.generation import Filter, Generation, Status
from depthcast.service.jobs.queue import Jobs, QueueFullError

router = APIRouter(tags=["queue"], default_response_class=Json)
_ACTIVE = (Status.QUEUED, Status.PROCESSING)
Word = Annotated[str | None, Query(max_length=500)]


async def filter_of(
    caller: Caller,
    namespace: Word = None,
    model: Word = None,
    media_type: Annotated[str | None, Query(pattern="^(image|video)$")] = None,
    status: Annotated[Status | None, Query()] = None,
    repo: Word = None,
    folder: Word = None,
) -> Filter:
    """Which of the caller's rows are meant."""
    statuses = () if status is None else (status,)
    return Filter(caller, namespace or caller, model, media_type, repo, folder, statuses)


Wanted = Annotated[Filter, Depends(filter_of)]


@router.post("/api/ai/queue", responses=answers(Enqueued, 400, 401, 404, 413, 429), openapi_extra=ENQUEUE_BODY)
async def enqueue(request: Request, caller: Caller, jobs: JobsOf) -> Json:
    """Queue one to four generations of the same parameters, which are looked at when the work begins."""
    async with asked_of(request, caller, jobs) as asked:
        made = await admitted(asked, caller, jobs)
    return Json({"generations": [{"generation_id": each.id, "status": Status.QUEUED.value} for each in made]})


async def admitted(asked: Asked, caller: str, jobs: Jobs) -> list[Generation]:
    """Queue what is asked for. Raises ApiError where too much waits."""
    try:
        return await jobs.enqueue(caller, asked.model, asked.parameters, asked.target, asked.count, asked.upload)
    except QueueFullError as error:
        raise later(error) from error


@router.get("/api/ai/queue", responses=answers(Items, 400, 401))
async def list_queue(wanted: Wanted, jobs: JobsOf, links: LinksOf) -> Json:
    """What waits and runs; with `status`, rows of that status, finished ones too."""
    shown = wanted if wanted.statuses else replace(wanted, statuses=_ACTIVE)
    found = await jobs.db(jobs.store.matching, shown)
    return Json({"count": len(found), "generations": [item(each, links, jobs.progress(each.id)) for each in found]})


@router.get("/api/ai/queue/{generation_id}", responses=answers(Item, 401, 404))
async def get_generation(generation_id: str, caller: Caller, jobs: JobsOf, links: LinksOf) -> Json:
    """One generation, with every parameter as it was sent."""
    found = await of_caller(generation_id, caller, jobs)
    return Json(item(found, links, jobs.progress(found.id)))


@router.delete("/api/ai/queue/{generation_id}", responses=answers(Cancelled, 401, 404))
async def cancel(generation_id: str, caller: Caller, jobs: JobsOf) -> Json:
    """Cancel a generation: its work stops at once. One that has ended stays as it is."""
    found = await of_caller(generation_id, caller, jobs)
    await jobs.cancel(found)
    return Json({"status": "success", "generation_id": found.id})


async def of_caller(generation_id: str, caller: str, jobs: Jobs) -> Generation:
    """A generation of this client; ApiError where there is none of that id."""
    found = await jobs.db(jobs.store.get, generation_id)
    if found is None or found.owner != caller:
        raise not_found()
    return found

"""/api/ai/generations: everything a client has asked for, page by page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from depthcast.service.answers import Json
from depthcast.service.api.context import Caller, JobsOf, LinksOf
from depthcast.service.api.describe import history
from depthcast.service.api.queue import Wanted, of_caller
from depthcast.service.api.schemas import History, HistoryEntry, answers

router = APIRouter(tags=["history"], default_response_class=Json)
_LAST_PAGE = 1_000_000


@router.get("/api/ai/generations", responses=answers(History, 400, 401))
async def list_generations(
    wanted: Wanted,
    jobs: JobsOf,
    links: LinksOf,
    page: Annotated[int, Query(ge=1, le=_LAST_PAGE)] = 1,
    page_size: Annotated[int, Query(ge=1, le=1000)] = 50,
) -> Json:
    """Generations of any status, the newest first."""
    found = await jobs.db(jobs.store.matching, wanted, page_size, (page - 1) * page_size)
    entries = await jobs.db(jobs.store.count, wanted)
    return Json(
        {
            "count": len(found),
            "generations": [history(each, links) for each in found],
            "page_number": page,
            "page_size": page_size,
            "total_pages": -(-entries // page_size),
            "total_entries": entries,
            "total_cost": None,
        }
    )


@router.get("/api/ai/generations/{generation_id}", responses=answers(HistoryEntry, 401, 404))
async def get_history(generation_id: str, caller: Caller, jobs: JobsOf, links: LinksOf) -> Json:
    """One generation."""
    found = await of_caller(generation_id, caller, jobs)
    return Json({"status": "success", "status_message": "resource_found", "generation": history(found, links)})

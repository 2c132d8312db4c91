"""The files that were made, for whoever holds their signed address or the key they were asked for with."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse

from depthcast.service.api.context import JobsOf
from depthcast.service.api.describe import raw_name, video_name
from depthcast.service.errors import not_found
from depthcast.service.files import StoredFile
from depthcast.service.jobs.generation import Status
from depthcast.service.jobs.signing import is_valid

router = APIRouter(tags=["results"])
Word = Annotated[str, Query(max_length=200)]


@router.get("/api/repos/{owner}/generations/file/{name}", response_class=FileResponse)
async def get_result(
    owner: str, name: str, request: Request, jobs: JobsOf, exp: Word = "", sig: Word = ""
) -> StoredFile:
    """A finished video (.mp4) or its raw depth (.npz), whole or in ranges."""
    generation_id, _, kind = name.rpartition(".")
    found = await jobs.db(jobs.store.get, generation_id)
    if found is None or found.owner != owner or found.status is not Status.SUCCEEDED or kind not in ("mp4", "npz"):
        raise not_found()
    signed = is_valid(jobs.secret, name, exp, sig, jobs.now())
    if not signed and found.owner != getattr(request.state, "caller", None):
        raise not_found("this address has expired: ask for the generation again")
    path, shown, media = (
        (jobs.folders.video(found.id), video_name(found.id), "video/mp4")
        if kind == "mp4"
        else (jobs.folders.raw(found.id), raw_name(found.id), "application/octet-stream")
    )
    try:
        status = await asyncio.to_thread(path.stat)
    except FileNotFoundError:
        raise not_found("this result is no longer kept") from None
    return StoredFile(path, media_type=media, filename=shown, content_disposition_type="inline", stat_result=status)

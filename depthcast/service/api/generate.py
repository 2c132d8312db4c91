"""POST /api/ai/videos/generate: ask for depth and wait for it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from depthcast.service.answers import Json, compact
from depthcast.service.api.bodies import Asked, asked_of
from depthcast.service.api.context import Caller, JobsOf, LinksOf
from depthcast.service.api.describe import extras
from depthcast.service.api.queue import admitted
from depthcast.service.api.schemas import GENERATE_BODY, Generated, answers
from depthcast.service.errors import invalid
from depthcast.service.jobs.generation import Generation, Status
from depthcast.service.jobs.parameters import ParameterError, parse
from depthcast.service.jobs.queue import Jobs

router = APIRouter(tags=["generate"], default_response_class=Json)
_BLOCK = 3 << 18
"""Divisible by three, so that the pieces of Base64 join without padding."""


@router.post(
    "/api/ai/videos/generate", responses=answers(Generated, 400, 401, 404, 413, 429), openapi_extra=GENERATE_BODY
)
async def generate(request: Request, caller: Caller, jobs: JobsOf, links: LinksOf) -> Response:
    """Depth of a video, when it is done. A client that goes away cancels it."""
    async with asked_of(request, caller, jobs) as asked:
        _check(asked)
        (queued,) = await admitted(replace(asked, count=1), caller, jobs)
    done = await _waited(queued, request, jobs)
    if done.status is not Status.SUCCEEDED:
        raise invalid(done.error or "the generation was cancelled")
    head = {"model": done.model, "created": done.completed_at or 0}
    if asked.parameters.get("response_format") == "b64_json":
        content = _with_video(head, jobs.folders.video(done.id), extras(done, links))
        return StreamingResponse(content, media_type="application/json")
    return Json(head | {"videos": [{"url": links.video(done), **extras(done, links)}]})


def _check(asked: Asked) -> None:
    """Raise ApiError where the parameters make no sense: who waits is to know at once."""
    try:
        parse(asked.parameters, asked.upload is not None)
        if asked.parameters.get("response_format", "url") not in ("url", "b64_json"):
            raise ParameterError("response_format must be one of url, b64_json")
    except ParameterError as error:
        raise invalid(str(error)) from error


async def _waited(queued: Generation, request: Request, jobs: Jobs) -> Generation:
    end = asyncio.ensure_future(jobs.ended(queued.id))
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({end, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not end.done():
            await jobs.cancel(queued)
        return await end
    finally:
        end.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client has hung up; the body has been read by then."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _with_video(head: Mapping[str, Any], path: Path, more: Mapping[str, Any]) -> AsyncIterator[str]:
    """The answer with the video in it, a piece at a time: it may be larger than memory."""
    video, _, rest = compact({**head, "videos": [{"b64_json": "", **more}]}).partition('"b64_json":"')
    yield f'{video}"b64_json":"'
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, _BLOCK):
            yield base64.b64encode(block).decode("ascii")
    yield rest

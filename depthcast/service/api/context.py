"""What a route needs to know of the service it belongs to, and of whom it answers."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request

from depthcast.service.jobs.generation import Generation
from depthcast.service.jobs.queue import Jobs
from depthcast.service.jobs.signing import sign

NOBODY = "local"
"""Whose jobs those are that come without a key, where none is asked for."""


async def jobs_of(request: Request) -> Jobs:
    """The queue of this service."""
    jobs = request.app.state.jobs
    assert isinstance(jobs, Jobs)
    return jobs


async def caller_of(request: Request) -> str:
    """The name of the key that the request came with."""
    return str(getattr(request.state, "caller", NOBODY))


class Links:
    """Addresses of results, as this client reaches the service; each works for a while, without a key."""

    __slots__ = ("_base", "_jobs")

    def __init__(self, jobs: Jobs, base: str) -> None:
        self._jobs = jobs
        self._base = base.rstrip("/")

    def video(self, generation: Generation) -> str:
        """Of the finished video."""
        return self._signed(generation, f"{generation.id}.mp4")

    def raw(self, generation: Generation) -> str:
        """Of the raw depth."""
        return self._signed(generation, f"{generation.id}.npz")

    def _signed(self, generation: Generation, name: str) -> str:
        expires_at = int(self._jobs.now()) + self._jobs.settings.link_s
        place = f"{self._base}/api/repos/{quote(generation.owner, safe='')}/generations/file/{name}"
        return f"{place}?exp={expires_at}&sig={sign(self._jobs.secret, name, expires_at)}"


async def links_of(request: Request, jobs: Annotated[Jobs, Depends(jobs_of)]) -> Links:
    """Addresses for the client of this request."""
    return Links(jobs, jobs.settings.public_url or str(request.base_url))


JobsOf = Annotated[Jobs, Depends(jobs_of)]
Caller = Annotated[str, Depends(caller_of)]
LinksOf = Annotated[Links, Depends(links_of)]

"""`depthcast serve`: everything over HTTP, in one process."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from depthcast.commands.console import tell
from depthcast.commands.options import command_of
from depthcast.models import NANO
from depthcast.plan import Mode
from depthcast.publicurl import PublicUrl
from depthcast.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from depthcast.service.keys import KeyRing
    from depthcast.service.settings import ServiceSettings

ENVIRONMENT = "DEPTHCAST_SERVE"
"""What the variables begin with that stand for options: DEPTHCAST_SERVE_PORT for --port."""


class Fallback(StrEnum):
    """What may run in place of a model that is not installed."""

    NANO = NANO


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What an operator asks for."""

    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080
    public_url: Annotated[str | None, typer.Option(help="What clients reach the service by, behind a proxy.")] = None
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everybody in who can reach it.")] = False
    origin: Annotated[list[str] | None, typer.Option(help="A site whose pages may use it, https://….")] = None
    data: Annotated[Path | None, typer.Option(help="Folder of the queue and of results.")] = None
    fallback: Annotated[Fallback | None, typer.Option(help="Run this where a model is not installed.")] = None
    mode: Annotated[Mode, typer.Option(help="Of jobs: windows that look ahead, or frame by frame.")] = Mode.OFFLINE
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of one job's engine.")] = None
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Videos worked on at a time.")] = 1
    live_share: Annotated[float, typer.Option(min=0.01, max=1, help="Of the time, to jobs beside live streams.")] = 0.25
    job_hours: Annotated[float, typer.Option(min=0.001, help="Longest work on one video.")] = 6
    max_queued: Annotated[int, typer.Option(min=1, help="Videos that wait or run, of all clients.")] = 1000
    max_queued_per_key: Annotated[int, typer.Option(min=1, help="Videos that wait or run, of one client.")] = 200
    allow: Annotated[
        list[str] | None, typer.Option(help="A host or network beyond the public internet to fetch videos from.")
    ] = None
    max_mb: Annotated[float, typer.Option(min=0.001, help="Largest video that is fetched or sent.")] = 2048
    max_minutes: Annotated[float, typer.Option(min=0.01, help="Longest video.")] = 60
    keep_days: Annotated[float, typer.Option(min=0, help="How long results are kept.")] = 7
    disk_gb: Annotated[float, typer.Option(min=0.001, help="Room for all files; the oldest results go first.")] = 20
    link_hours: Annotated[float, typer.Option(min=0.001, help="How long the address of a result works.")] = 24
    grace: Annotated[float, typer.Option(min=0, help="Seconds that running work is given at the end.")] = 10


def run_service(asked: ServeOptions) -> None:
    """Serve depth over HTTP until Ctrl-C or SIGTERM."""
    from depthcast.service.hosted import check_data
    from depthcast.service.server import serve_until_stopped

    logging.basicConfig(format="%(levelname)s: %(message)s")
    public = None if asked.public_url is None else PublicUrl.of(asked.public_url)
    own = replace(Settings.from_environment(), public_url=public)
    settings = settings_of(asked, own)
    check_data(settings)
    app = application(asked, settings, own)
    serve_until_stopped(app, asked.host, asked.port, lambda: app.state.jobs.closing.set(), round(settings.grace_s) + 1)


def application(asked: ServeOptions, settings: ServiceSettings, own: Settings) -> FastAPI:
    """All that is served, behind its protection. Raises UsageError where others would get in unasked."""
    from depthcast.board import Board
    from depthcast.service.app import create_app
    from depthcast.service.camera import browser_routers, cameras_of
    from depthcast.service.hosted import jobs_router
    from depthcast.service.keys import KeyRing
    from depthcast.service.metrics import metrics_router
    from depthcast.service.security import protection_for

    ring = KeyRing(own.keys, own.api_key)
    tell(_who_gets_in(ring, asked.no_auth))
    protection = protection_for(asked.host, ring, asked.no_auth, asked.origin or ())
    board = Board()
    cameras = cameras_of(own, asked.host, board=board)
    jobs = jobs_router(settings, lambda: cameras.running > 0)
    routers = jobs, metrics_router(board), *browser_routers(own, cameras)
    return create_app(*routers, protection=protection, public=own.public_url)


def _who_gets_in(ring: KeyRing, no_auth: bool) -> str:
    """For the operator, who may have made keys under another DEPTHCAST_HOME."""
    if no_auth:
        return "every client is let in, without a key (--no-auth)"
    if ring() is None:
        return f"no key is asked for until there is one in {ring.path.absolute()}"
    return f"every client is asked for a key, of {ring.path.absolute()} or DEPTHCAST_API_KEY"


def settings_of(asked: ServeOptions, own: Settings) -> ServiceSettings:
    """The same in the units of the service."""
    from depthcast.service.addresses import Allowed
    from depthcast.service.fetch import FetchRules
    from depthcast.service.probe import ProbeLimits
    from depthcast.service.settings import ServiceSettings

    largest = round(asked.max_mb * 1e6)
    return ServiceSettings(
        data=asked.data or own.home / "service",
        public_url=None if own.public_url is None else str(own.public_url),
        jobs=asked.jobs,
        max_queued=asked.max_queued,
        max_queued_per_key=asked.max_queued_per_key,
        fallback=asked.fallback is not None,
        mode=asked.mode,
        threads=asked.threads,
        max_job_s=asked.job_hours * 3600,
        max_upload_bytes=largest,
        keep_s=round(asked.keep_days * 86400),
        disk_bytes=round(asked.disk_gb * 1e9),
        link_s=round(asked.link_hours * 3600),
        grace_s=asked.grace,
        live_share=asked.live_share,
        fetch=FetchRules(max_bytes=largest, allow=Allowed.of(asked.allow or ())),
        video=ProbeLimits(max_duration_s=asked.max_minutes * 60),
    )


serve = command_of(ServeOptions, run_service)

"""`depthcast serve`: everything over HTTP, in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from depthcast.plan import Mode
from depthcast.settings import Settings


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    data: Annotated[Path | None, typer.Option(help="Folder of the queue and of results.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Videos worked on at a time.")] = 1,
    mode: Annotated[Mode, typer.Option(help="Of jobs: windows that look ahead, or frame by frame.")] = Mode.OFFLINE,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of one job's engine.")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="A host or network beyond the public internet to fetch videos from.")
    ] = None,
    fallback: Annotated[
        str | None, typer.Option(help="nano: run the embedded model where the one asked for is not installed.")
    ] = None,
) -> None:
    """Serve depth over HTTP until Ctrl-C or SIGTERM."""
    from depthcast.service.addresses import Allowed
    from depthcast.service.app import create_app
    from depthcast.service.fetch import FetchRules
    from depthcast.service.hosted import jobs_router
    from depthcast.service.server import serve_until_stopped
    from depthcast.service.settings import ServiceSettings

    settings = ServiceSettings(
        data or Settings.from_environment().home / "service",
        jobs=jobs,
        mode=mode,
        threads=threads,
        fallback=fallback == "nano",
        fetch=FetchRules(allow=Allowed.of(allow or ())),
    )
    app = create_app(jobs_router(settings))
    serve_until_stopped(app, host, port, lambda: app.state.jobs.closing.set(), round(settings.grace_s))

"""`depthcast serve`: everything over HTTP, in one process."""

from __future__ import annotations

from typing import Annotated

import typer

from depthcast.settings import Settings


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
) -> None:
    """Serve depth over HTTP until Ctrl-C or SIGTERM."""
    from depthcast.board import Board
    from depthcast.service.app import create_app
    from depthcast.service.camera import browser_routers
    from depthcast.service.metrics import metrics_router
    from depthcast.service.server import serve_until_stopped

    routers = browser_routers(Settings.from_environment(), host)
    serve_until_stopped(create_app(metrics_router(Board()), *routers), host, port)

"""The option `--metrics`: figures of a run for Prometheus."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from depthcast.board import Board
from depthcast.errors import UsageError
from depthcast.service.ports import HttpPorts

Metrics = Annotated[
    str | None,
    typer.Option(metavar="[ADDRESS:]PORT", help="Serve /metrics for Prometheus; without an address on 127.0.0.1 only."),
]
_LOCAL = "127.0.0.1"


def measured(metrics: str | None, board: Board, ports: HttpPorts) -> None:
    """Have the board's figures served where `metrics` says. Raises UsageError."""
    if metrics is None:
        return
    address = parse_address(metrics)
    from depthcast.service.metrics import metrics_router

    ports.mount(*address, metrics_router(board))


def parse_address(text: str) -> tuple[str, int]:
    """(address, port) of `9090`, `:9090` (every address), `0.0.0.0:9090` or `[::1]:9090`. Raises UsageError."""
    found = re.fullmatch(r"(?:(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:))?([0-9]{1,5})", text)
    if found is None or int(found[3]) > 65535:
        raise UsageError(f"--metrics takes a port or ADDRESS:PORT, such as 9090 or 0.0.0.0:9090; got {text!r}")
    return (found[1].strip("[]") if found[2] else _LOCAL), int(found[3])

"""`depthcast pull`: official weights from the hub."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from depthcast.commands.console import download_progress, tell
from depthcast.models import find
from depthcast.pull import check_licence, notice
from depthcast.pull import pull as pull_weights
from depthcast.settings import Settings


def pull(
    model: Annotated[str, typer.Argument(help="VDA-Small, VDA-Base or VDA-Large.")],
    metric: Annotated[bool, typer.Option("--metric", help="The variant that gives metres.")] = False,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept a licence that forbids commercial use.")
    ] = False,
) -> None:
    """Download official weights; go on with a download that was interrupted."""
    wanted = find(model, metric)
    settings = Settings.from_environment()

    def accept(text: str) -> bool:
        return accept_licence or (sys.stdin.isatty() and typer.confirm(f"{text} Accept?", err=True))

    check_licence(wanted, accept)
    with download_progress(wanted.label) as progress:
        path = pull_weights(wanted, settings, progress)
    tell(notice(wanted))
    print(path)

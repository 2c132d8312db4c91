"""`depthcast run --config`: many streams in one process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from depthcast.board import Board
from depthcast.commands.console import streams_progress, tell, told_logs
from depthcast.commands.ending import Stop, summary
from depthcast.commands.metrics import measured
from depthcast.many import Ended, NamedJob, Streams, announced
from depthcast.service.ports import HttpPorts
from depthcast.settings import Settings
from depthcast.streams import read_streams


def run_streams(config: Path, metrics: str | None) -> None:
    """Run until all streams have ended; exit status 1 where one of them ended with an error."""
    asked = read_streams(config)
    jobs, settings = asked.jobs, replace(Settings.from_environment(), public_url=asked.public_url)
    ports, stop = HttpPorts(asked.public_url), Stop()
    with streams_progress([one.name for one in jobs]) as show, stop.on_signals(), told_logs():
        board = Board(lambda one: show(one.name, one.state, one.stats.frames_out if one.stats else 0))
        measured(metrics, board, ports)
        with announced(jobs, ports).serving():
            ended = Streams(jobs, settings, tell, board, ports).run(stop.event)
    for job, one in zip(jobs, ended, strict=True):
        _report(job, one)
    if stop.status:
        tell("interrupted: the outputs end with the last finished frame")
        raise typer.Exit(stop.status)
    if failed := [one.name for one in ended if one.error]:
        tell(f"{len(failed)} of {len(ended)} streams failed: {', '.join(failed)}")
        raise typer.Exit(1)


def _report(job: NamedJob, one: Ended) -> None:
    if one.outcome is None:
        print(f"{one.name}: {one.error}")
        return
    for note in one.outcome.notes:
        tell(f"{one.name}: {note}")
    print(f"{one.name}: {summary(job.job, one.outcome.stats)}")

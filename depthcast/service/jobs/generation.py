"""One video to be turned into depth, as it is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """Where a generation is. The last three are final."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing changes any more."""
        return self not in (Status.QUEUED, Status.PROCESSING)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client wants its results filed: kept and filtered by, otherwise without effect here."""

    namespace: str
    repo: str | None = None
    directory: str | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What a finished generation left on disk.

    video_bytes, raw_bytes: sizes; raw_bytes is None where raw depth was not asked for.
    notes: what the client should know about the result, a sentence each.
    """

    video_bytes: int
    raw_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """A row of the queue.

    parameters: as the client sent them, without those that have a field here.
    uploaded: the video came with the request; otherwise it is to be fetched from `video_url`.
    attempts: times its work was begun. enqueued_at, started_at, completed_at: Unix seconds.
    """

    id: str
    owner: str
    model: str
    parameters: Mapping[str, Any]
    target: Target
    enqueued_at: int
    uploaded: bool = False
    status: Status = Status.QUEUED
    attempts: int = 0
    started_at: int | None = None
    completed_at: int | None = None
    error: str | None = None
    made: Made | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are meant; None leaves a field open.

    statuses: empty means any.
    """

    owner: str
    namespace: str | None = None
    model: str | None = None
    media_type: str | None = None
    repo: str | None = None
    folder: str | None = None
    statuses: tuple[Status, ...] = ()

"""What is asked of a service and what it answers, as values. A service may say more than is read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self

import httpx

from depthcast.errors import DepthcastError

MODEL = "bytedance-depth-anything-video"


class ClientError(DepthcastError):
    """A service that cannot be reached, or that refuses. status: of its answer, where it gave one."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class State(StrEnum):
    """Of a generation."""

    QUEUED = "queued"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Nothing changes any more."""
        return self not in (State.QUEUED, State.PROCESSING)


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of a video; what is None is left to the service.

    depth_model: VDA-Small, VDA-Base or VDA-Large. colormap: grayscale, turbo, inferno, magma or viridis.
    resolution: auto, 360p, 480p, 720p or 1080p. include_raw_depths: float32 maps too, NPZ.
    """

    depth_model: str | None = None
    colormap: str | None = None
    resolution: str | None = None
    max_frames: int | None = None
    output_fps: float | None = None
    side_by_side: bool | None = None
    include_raw_depths: bool | None = None

    def fields(self) -> dict[str, Any]:
        """Those that were set, under their names in the API."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}


@dataclass(frozen=True, slots=True)
class Generation:
    """One video's depth, wanted or made.

    url, raw_url: of the video and of the raw maps, once it has succeeded; they expire. error: why it failed.
    enqueued_at, started_at, completed_at: Unix seconds.
    phase, progress, eta_s: of one that runs: what is being done, 0..1 of it, seconds until its end.
    notes: what should be known of the result.
    """

    id: str
    state: State
    url: str | None = None
    raw_url: str | None = None
    error: str | None = None
    enqueued_at: int = 0
    started_at: int | None = None
    completed_at: int | None = None
    phase: str | None = None
    progress: float | None = None
    eta_s: float | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        """From a row of the queue. Raises ClientError where it is none."""
        reader = _Reader(row)
        return cls(
            id=reader.text("generation_id"),
            state=reader.state(),
            url=row.get("result_url"),
            raw_url=_url(row.get("raw_depths")),
            error=row.get("error_message"),
            enqueued_at=row.get("enqueued_at") or 0,
            started_at=row.get("started_at"),
            completed_at=row.get("completed_at"),
            phase=row.get("phase"),
            progress=row.get("progress"),
            eta_s=row.get("eta_seconds"),
            notes=tuple(row.get("notes") or ()),
        )


@dataclass(frozen=True, slots=True)
class Advanced:
    """Event: a running generation has come so far; fields as in Generation."""

    id: str
    phase: str | None
    progress: float | None
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Ended:
    """Event: a generation succeeded or failed; fields as in Generation."""

    id: str
    state: State
    url: str | None
    raw_url: str | None
    error: str | None


def event_of(kind: str, data: str) -> Advanced | Ended | None:
    """An event of the service; None where it is of another kind. Raises ClientError where it means nothing."""
    if kind not in ("media_generation_completed", "media_generation_progress"):
        return None
    said = _parsed(data)
    reader = _Reader(said)
    if kind == "media_generation_progress":
        return Advanced(reader.text("generation_id"), said.get("phase"), said.get("progress"), said.get("eta_seconds"))
    raw_url = _url(said.get("raw_depths"))
    return Ended(reader.text("generation_id"), reader.state(), said.get("url"), raw_url, said.get("error"))


def answer_of(response: httpx.Response) -> Mapping[str, Any]:
    """What a service said. Raises ClientError where it refused, with its reason."""
    if response.is_success:
        return _parsed(response.text)
    reason = _reason(response.text) or response.reason_phrase or "no reason given"
    hint = "; set DEPTHCAST_API_KEY to a key of this service" if response.status_code == 401 else ""
    raise ClientError(f"the service refused: {reason} ({response.status_code}){hint}", response.status_code)


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise ClientError("the service answered with something that is not JSON; is its address right?") from error
    if not isinstance(said, dict):
        raise ClientError("the service answered with something unexpected; is its address right?")
    return said


def _reason(text: str) -> str | None:
    """The sentence in either envelope of an error."""
    try:
        error = json.loads(text)["error"]
        found = [error[name] for name in ("detail", "message", "title", "type") if error.get(name)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return str(found[0]) if found else None


def _url(file: Any) -> str | None:
    return str(file["url"]) if isinstance(file, dict) and "url" in file else None


@dataclass(frozen=True, slots=True)
class _Reader:
    """Fields that must be there."""

    row: Mapping[str, Any]

    def text(self, name: str) -> str:
        value = self.row.get(name)
        if not isinstance(value, str):
            raise ClientError(f"the service named no {name}; is its address right?")
        return value

    def state(self) -> State:
        status = self.text("status")
        try:
            return State(status)
        except ValueError as error:
            raise ClientError(
                f"the service named a status unknown here: {status}; a newer depthcast may know it"
            ) from error

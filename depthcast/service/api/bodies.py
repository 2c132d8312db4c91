"""Reads what clients send: JSON, or a form with the video itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from fastapi import Request

from depthcast.service.api.catalog import MODEL
from depthcast.service.api.forms import read_form
from depthcast.service.api.models import require_model
from depthcast.service.errors import ApiError, invalid
from depthcast.service.jobs.generation import Target
from depthcast.service.jobs.parameters import ParameterError, kept
from depthcast.service.jobs.queue import Jobs, QueueFullError
from depthcast.service.jobs.room import Arrival, NoRoomError
from depthcast.service.requests import LARGEST_BODY, body_of

_ROOM_LATER_S = "60"
_OURS = frozenset({"model", "num_generations", "target_namespace", "target_repo", "target_directory"})
_LONGEST_NAME = 500
_COUNTS = range(1, 5)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for depth, checked as far as it is before it is queued.

    parameters: those of the model, as they were sent. upload: the video, where it came along.
    """

    target: Target
    parameters: Mapping[str, Any]
    count: int = 1
    upload: Arrival | None = None
    model: str = MODEL


@asynccontextmanager
async def asked_of(request: Request, caller: str, jobs: Jobs) -> AsyncIterator[Asked]:
    """What is asked for; a file that came along goes at the end of the block, unless it has become a job's.

    Raises ApiError or DispatchError.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        yield _asked(await _json(request), caller, None)
        return
    body = body_of(request)
    body.most = jobs.settings.max_upload_bytes + LARGEST_BODY
    body.check()
    # Nothing is read of a video that would not be taken.
    try:
        arrival = await jobs.begin_upload(caller, body.announced)
    except (QueueFullError, NoRoomError) as error:
        raise later(error) from error
    try:
        fields = await _form(request, arrival, jobs)
        yield _asked(fields, caller, arrival)
    finally:
        jobs.room.drop(arrival)


def _asked(fields: Mapping[str, Any], caller: str, upload: Arrival | None) -> Asked:
    require_model(fields.get("model"))
    given = {name: value for name, value in fields.items() if name not in _OURS and value is not None}
    try:
        parameters = kept(given)
    except ParameterError as error:
        raise invalid(str(error)) from error
    return Asked(_target(fields, caller), parameters, _count(fields.get("num_generations")), upload)


def later(error: QueueFullError | NoRoomError) -> ApiError:
    """A refusal that tells when to come back."""
    if isinstance(error, QueueFullError):
        return ApiError(429, "rate_limit_exceeded", str(error), {"Retry-After": str(error.retry_after_s)})
    return ApiError(503, "service_unavailable", str(error), {"Retry-After": _ROOM_LATER_S})


async def _json(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        fields = json.loads(body, parse_constant=_refuse_constant)
        json.dumps(fields, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise invalid("the body must be a JSON object") from error
    if not isinstance(fields, dict):
        raise invalid("the body must be a JSON object")
    return fields


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


async def _form(request: Request, arrival: Arrival, jobs: Jobs) -> dict[str, Any]:
    """Fields of a form, each read as JSON where it is that and as text elsewhere; its file is where it arrives."""

    async def write(data: bytes) -> None:
        if arrival.size + len(data) > jobs.settings.max_upload_bytes:
            raise ApiError(413, "payload_too_large", f"at most {jobs.settings.max_upload_bytes:,} bytes are taken")
        await jobs.room.write(arrival, data)

    try:
        fields = await read_form(request, request.stream(), write)
    except NoRoomError as error:
        raise later(error) from error
    return {name: _read(value) for name, value in fields.items()}


def _read(text: str) -> Any:
    """A number, true, false or null of a form's field; anything else is text."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def _count(value: object) -> int:
    if value is None:
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or value not in _COUNTS:
        raise invalid("num_generations must be an integer between 1 and 4")
    return value


def _target(fields: Mapping[str, Any], caller: str) -> Target:
    names = [_name(fields, name) for name in ("target_namespace", "target_repo", "target_directory")]
    return Target(names[0] or caller, names[1], names[2])


def _name(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise invalid(f"{name} must be text of at most {_LONGEST_NAME} characters")
    return value

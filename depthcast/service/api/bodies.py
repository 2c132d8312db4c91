"""Reads what clients send: JSON, or a form with the video itself."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from depthcast.service.api.catalog import MODEL
from depthcast.service.api.models import require_model
from depthcast.service.errors import ApiError, invalid
from depthcast.service.jobs.generation import Target
from depthcast.service.jobs.queue import Jobs

_LARGEST_JSON = 1 << 20
_MOST_FIELDS = 64
_OURS = frozenset({"model", "num_generations", "target_namespace", "target_repo", "target_directory"})
_LONGEST_NAME = 500
_COUNTS = range(1, 5)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for depth, checked as far as it is before it is queued.

    parameters: those of the model, as they were sent. upload: the video, where it came along; whoever reads this
    removes it.
    """

    target: Target
    parameters: Mapping[str, Any]
    count: int = 1
    upload: Path | None = None
    model: str = MODEL


async def asked_of(request: Request, caller: str, jobs: Jobs) -> Asked:
    """What is asked for. Raises ApiError or DispatchError."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "multipart/form-data":
        fields, upload = await _form(request, jobs)
    else:
        fields, upload = await _json(request), None
    try:
        require_model(fields.get("model"))
        parameters = {name: value for name, value in fields.items() if name not in _OURS and value is not None}
        return Asked(_target(fields, caller), parameters, _count(fields.get("num_generations")), upload)
    except BaseException:
        if upload is not None:
            upload.unlink(missing_ok=True)
        raise


async def _json(request: Request) -> dict[str, Any]:
    body = b"".join([chunk async for chunk in _limited(request, _LARGEST_JSON)])
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


async def _form(request: Request, jobs: Jobs) -> tuple[dict[str, Any], Path]:
    """Fields of a form, each read as JSON where it is that and as text elsewhere, and its file."""
    stream = _limited(request, jobs.settings.max_upload_bytes + _LARGEST_JSON)
    parser = MultiPartParser(request.headers, stream, max_files=1, max_fields=_MOST_FIELDS)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise invalid(error.message) from error
    except KeyError as error:
        raise invalid("the form has no boundary") from error
    try:
        files = {name: value for name, value in form.items() if isinstance(value, UploadFile)}
        if len(files) != 1:
            raise invalid("a form must hold the video as one file, named video")
        fields = {name: _read(value) for name, value in form.items() if isinstance(value, str)}
        file = next(iter(files.values()))
        if (file.size or 0) > jobs.settings.max_upload_bytes:
            raise _too_large(jobs.settings.max_upload_bytes)
        upload = jobs.folders.new_upload()
        await asyncio.to_thread(_copy, file, upload)
    finally:
        await form.close()
    return fields, upload


def _read(text: str) -> Any:
    """A number, true, false or null of a form's field; anything else is text."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return text
    return value if value is None or isinstance(value, bool | int | float) else text


def _copy(file: UploadFile, path: Path) -> None:
    try:
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target, 1 << 20)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body, refused where it is larger."""
    announced = request.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_large(most)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _too_large(most)
        yield chunk


def _too_large(most: int) -> ApiError:
    return ApiError(413, "payload_too_large", f"at most {most:,} bytes are taken")


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

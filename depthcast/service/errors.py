"""How the job API says no: the two envelopes of the hosted one."""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from depthcast.service.answers import Json

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROOM_LATER_S = "60"
_LOG = logging.getLogger(__name__)
_TITLES = {
    "invalid_params": "Invalid parameters supplied, please check your request and try again.",
    "resource_not_found": "The requested resource could not be found",
    "unauthenticated": "Authentication is required: send a valid API key as a Bearer token.",
    "forbidden": "This is not allowed",
    "rate_limit_exceeded": "Rate limit exceeded",
    "method_not_allowed": "This method is not allowed for the requested resource",
    "request_timeout": "The request took too long to arrive",
    "payload_too_large": "The request is larger than what is accepted",
    "service_unavailable": "The service cannot do this at present",
    "unknown_error": "An unknown error occurred",
}
_TYPES = {
    401: "unauthenticated",
    403: "forbidden",
    404: "resource_not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    503: "service_unavailable",
}
_EXPLAINED = (408, 413)


class ApiError(Exception):
    """A refusal in the first envelope. `type` is one of `_TITLES`; detail says what was wrong, where that helps."""

    def __init__(self, status: int, kind: str, detail: str | None = None, headers: Mapping[str, str] | None = None):
        super().__init__(detail or kind)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, headers


class DispatchError(Exception):
    """A refusal in the second envelope: about the model that was named."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


def invalid(detail: str) -> ApiError:
    """Parameters that cannot be what was meant."""
    return ApiError(400, "invalid_params", detail)


def not_found(detail: str | None = None) -> ApiError:
    """What is asked for is not here, or is another's."""
    return ApiError(404, "resource_not_found", detail)


def envelope(kind: str, detail: str | None = None) -> dict[str, object]:
    """The first envelope."""
    error = {"type": kind, "title": _TITLES[kind]}
    if detail:
        error["detail"] = detail
    return {"error": error, "status": "error", "status_message": kind}


def install(app: FastAPI) -> None:
    """Have an application answer in these envelopes below /api; elsewhere it answers as FastAPI does."""
    app.add_exception_handler(ApiError, _refused)
    app.add_exception_handler(DispatchError, _undispatched)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(OSError, _unwritten)
    app.add_exception_handler(sqlite3.Error, _unwritten)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _failed)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return Json(envelope(error.kind, error.detail), error.status, error.headers)


async def _undispatched(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DispatchError)
    return Json({"error": {"message": error.message}}, error.status)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if not _is_ours(request):
        return await http_exception_handler(request, error)
    kind = _TYPES.get(error.status_code, "invalid_params" if error.status_code < 500 else "unknown_error")
    detail = error.detail if error.status_code in _EXPLAINED else None
    return Json(envelope(kind, detail), error.status_code, error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if not _is_ours(request):
        return await request_validation_exception_handler(request, error)
    first = error.errors()[0]
    return Json(envelope("invalid_params", f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"), 400)


async def _unwritten(request: Request, error: Exception) -> Response:
    """A disk that is full, under the queue or under files, is the operator's to mend; the client may come again."""
    if not _is_full(error):
        return await _failed(request, error)
    _LOG.error("%s %s: the disk is full", request.method, request.url.path)
    detail = "the service has no room on its disk at present; try again later"
    return Json(envelope("service_unavailable", detail), 503, {"Retry-After": _ROOM_LATER_S})


def _is_full(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in _FULL


async def _left(_request: Request, _error: Exception) -> Response:
    """Nobody hears this: the client went in the middle of its request."""
    return Json(envelope("invalid_params", "the request is cut short"), 400)


async def _failed(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return Json(envelope("unknown_error"), 500)


def _is_ours(request: Request) -> bool:
    return request.url.path.startswith("/api/")

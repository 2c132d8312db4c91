"""A file as an answer: whole, in ranges, or not at all where the client has it (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

_MOST_RANGES = 16
_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18})", re.ASCII)
_KEPT = ("ETag", "Last-Modified", "Cache-Control", "Content-Security-Policy", "Vary")
"""Of the headers of the file, those that a 304 repeats."""


class StoredFile(FileResponse):
    """Starlette's answer, but for conditions, which it does not know, and ranges that it should not heed.

    To be made with `stat_result`.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a GET."""
        assert self.stat_result is not None
        headers, etag, modified_s = Headers(scope=scope), self.headers["ETag"], self.stat_result.st_mtime
        if is_another(headers, etag, modified_s):
            await Response(status_code=412)(scope, receive, send)
            return
        if has_it(headers, etag, modified_s):
            kept = {name: self.headers[name] for name in _KEPT if name in self.headers}
            await Response(status_code=304, headers=kept)(scope, receive, send)
            return
        others = [one for one in scope["headers"] if one[0] != b"range"]
        heeded = heeded_range(headers.get("Range"), self.stat_result.st_size)
        ranges = [] if heeded is None else [(b"range", heeded.encode())]
        await super().__call__({**scope, "headers": [*others, *ranges]}, receive, send)


def is_another(headers: Headers, etag: str, modified_s: float) -> bool:
    """Whether a client wants a state of the file that this is not: to go on with a download, say.

    etag: strong. modified_s: Unix seconds, whose fraction HTTP does not know.
    """
    wanted = headers.getlist("If-Match")
    if wanted:
        return not any(one.strip() in (etag, "*") for one in ",".join(wanted).split(","))
    since = _date(headers.get("If-Unmodified-Since"))
    return since is not None and int(modified_s) > since.timestamp()


def has_it(headers: Headers, etag: str, modified_s: float) -> bool:
    """Whether a client has this state of a file; values as for `is_another`."""
    known = headers.getlist("If-None-Match")
    if known:
        # Weak tags do for this comparison (13.1.2).
        return any(one.strip().removeprefix("W/") in (etag, "*") for one in ",".join(known).split(","))
    since = _date(headers.get("If-Modified-Since"))
    return since is not None and int(modified_s) <= since.timestamp()


def heeded_range(text: str | None, size: int) -> str | None:
    """A Range header, as far as it can be answered in parts, or with 416 where all of it lies beyond the end.

    None: one of another unit, or that makes no sense, is as though it were not there (14.2). So is one of many parts,
    and one of an empty file.
    """
    unit, _, listed = (text or "").partition("=")
    if unit.strip().lower() != "bytes" or not size:
        return None
    parts = [part.strip() for part in listed.split(",") if part.strip()]
    found = [_RANGE.fullmatch(part) for part in parts[: _MOST_RANGES + 1]]
    ranges = [one for one in found if one is not None and (not one[2] or int(one[1]) <= int(one[2]))]
    if not ranges or len(ranges) < len(parts) or len(parts) > _MOST_RANGES:
        return None
    there = [one[0] for one in ranges if (int(one[1]) < size if one[1] else int(one[3]) > 0)]
    return f"bytes={','.join(there or [one[0] for one in ranges])}"


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, TypeError):
        return None
    return date.replace(tzinfo=UTC) if date.tzinfo is None else date

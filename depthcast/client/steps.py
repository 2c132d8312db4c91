"""What a client does, step by step, without doing it: requests and pauses that one of the clients carries out.

A step generator yields an `Ask` and is sent the response, or is thrown the httpx.RequestError that came instead; it
yields a `Pause` and is sent None. So the two clients differ in how they wait and in nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from depthcast.client.values import MODEL, ClientError, Generation, Options, State, answer_of
from stream.sources.pipe import is_pipe
from stream.uris import STANDARD_INPUT

T = TypeVar("T")

_PATIENCE_S = 60.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0
_LATER = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. body: JSON, or the fields beside `upload`, which is sent as a form."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] | None = None
    upload: Path | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Time to let pass."""

    seconds: float


Steps = Generator[Ask | Pause, httpx.Response | None, T]
OnChange = Callable[[Generation], None]


def asking(ask: Ask) -> Steps[Mapping[str, Any]]:
    """One request, once."""
    try:
        response = yield ask
    except httpx.RequestError as error:
        raise unreachable(error) from error
    assert response is not None
    return answer_of(response)


def asking_patiently(ask: Ask) -> Steps[Mapping[str, Any]]:
    """A request that may be repeated, until a service that is busy or starting anew answers; a minute at most."""
    waited_s, pause_s = 0.0, _FIRST_PAUSE_S
    while True:
        try:
            response = yield ask
            assert response is not None
            if response.status_code not in _LATER or waited_s >= _PATIENCE_S:
                return answer_of(response)
            wished = response.headers.get("Retry-After", "")
            pause_s = max(pause_s, float(wished)) if wished.isdecimal() else pause_s
        except httpx.RequestError as error:
            if waited_s >= _PATIENCE_S:
                raise unreachable(error) from error
        pause_s = min(pause_s, _PATIENCE_S)
        yield Pause(pause_s)
        waited_s += pause_s
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def submitting(video: str | Path, options: Options) -> Steps[Generation]:
    """Queue a video, by its address or as a file, a pipe or `-`, standard input."""
    body = {"model": MODEL, **options.fields()}
    if isinstance(video, str) and video.lower().startswith(("http://", "https://")):
        ask = Ask("POST", "/api/ai/queue", {**body, "video_url": video})
    else:
        path = STANDARD_INPUT if video == "-" else Path(video)
        if not path.is_file() and not is_pipe(path):
            raise ClientError(f"{path} is neither a file nor an address that begins with https:// or http://")
        ask = Ask("POST", "/api/ai/queue", body, upload=path)
    said = yield from asking(ask)
    rows = said.get("generations")
    if not isinstance(rows, list) or len(rows) != 1:
        raise ClientError("the service queued nothing; is its address right?")
    return Generation.read(rows[0])


def looking(generation_id: str) -> Steps[Generation]:
    """See how one is doing."""
    return Generation.read((yield from asking_patiently(Ask("GET", f"/api/ai/queue/{generation_id}"))))


def listing(state: State | None) -> Steps[tuple[Generation, ...]]:
    """Those of a state, or those that wait and run."""
    query = None if state is None else {"status": state.value}
    said = yield from asking_patiently(Ask("GET", "/api/ai/queue", query=query))
    return tuple(map(Generation.read, said.get("generations") or ()))


def cancelling(generation_id: str) -> Steps[None]:
    """Stop one."""
    yield from asking_patiently(Ask("DELETE", f"/api/ai/queue/{generation_id}"))


def waiting(generation_id: str, on_change: OnChange | None, timeout_s: float | None) -> Steps[Generation]:
    """Look until it has ended."""
    waited_s, pause_s = 0.0, _FIRST_PAUSE_S
    before: Generation | None = None
    while True:
        now = yield from looking(generation_id)
        if on_change is not None and now != before:
            on_change(now)
        if now.state.is_final:
            return now
        if timeout_s is not None and waited_s >= timeout_s:
            raise ClientError(f"the generation is still {now.state} after {timeout_s:g} s; it goes on")
        yield Pause(pause_s)
        before, waited_s = now, waited_s + pause_s
        pause_s = min(pause_s * 1.25, _LONGEST_PAUSE_S)


def result_url(generation: Generation, raw: bool) -> str:
    """Where its video or its raw maps are. Raises ClientError where there are none."""
    if generation.state is not State.SUCCEEDED:
        why = f": {generation.error}" if generation.error else ""
        raise ClientError(f"there is no result, the generation is {generation.state}{why}")
    url = generation.raw_url if raw else generation.url
    if url is None:
        raise ClientError("raw maps were not asked for; submit the video with include_raw_depths")
    return url


def unreachable(error: httpx.RequestError) -> ClientError:
    """What a failed connection means."""
    try:
        url = error.request.url
        place = f"{url.scheme}://{url.netloc.decode('ascii')}"
    except RuntimeError:
        place = "its address"
    reason = re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or "no answer within the time limit"
    return ClientError(f"the service at {place} cannot be reached: {reason}; is it running?")

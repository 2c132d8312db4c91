"""The client for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import httpx

from depthcast.client import steps
from depthcast.client.steps import Ask, OnChange, Steps
from depthcast.client.values import Advanced, ClientError, Ended, Generation, Options, State, answer_of
from depthcast.client.wire import (
    RECONNECTIONS,
    SERVICE,
    SILENCE_S,
    EventReader,
    base_of,
    content_of,
    headers_for,
    part_of,
    place_of,
)
from depthcast.settings import Settings

T = TypeVar("T")


class Client:
    """Asks a service for depth.

    service: its address. key: an API key; None: the one of `DEPTHCAST_API_KEY`, if any.
    Every method raises ClientError with what the service said, or why it cannot be reached.
    """

    __slots__ = ("_base", "_http", "_key")

    def __init__(self, service: str = SERVICE, key: str | None = None, timeout_s: float = 60.0) -> None:
        self._base = base_of(service)
        self._key = key or Settings.from_environment().api_key
        self._http = httpx.Client(base_url=self._base, timeout=timeout_s, follow_redirects=True)

    def submit(self, video: str | Path, options: Options | None = None) -> Generation:
        """Queue a video: an http(s) address that the service fetches, or a file that is sent to it."""
        return self._do(steps.submitting(video, options or Options()))

    def get(self, generation_id: str) -> Generation:
        """How it is doing."""
        return self._do(steps.looking(generation_id))

    def generations(self, state: State | None = None) -> tuple[Generation, ...]:
        """Those of a state, or those that wait and run."""
        return self._do(steps.listing(state))

    def wait(self, generation_id: str, on_change: OnChange | None = None, timeout_s: float | None = None) -> Generation:
        """Until it has ended, in whatever way; ClientError after `timeout_s`. on_change: told each new state of it."""
        return self._do(steps.waiting(generation_id, on_change, timeout_s))

    def cancel(self, generation_id: str) -> None:
        """Stop it; one that has ended stays as it is."""
        self._do(steps.cancelling(generation_id))

    def download(self, generation: Generation, path: Path | str) -> Path:
        """Save the video, whole or not at all."""
        return self._save(steps.result_url(generation, raw=False), Path(path))

    def download_raw(self, generation: Generation, path: Path | str) -> Path:
        """Save the raw maps (NPZ), whole or not at all."""
        return self._save(steps.result_url(generation, raw=True), Path(path))

    def events(self) -> Iterator[Advanced | Ended]:
        """What happens to the generations of this key from now on, and how those of the last hour ended; endless.

        A connection that breaks is made again; ClientError when that fails for half a minute.
        """
        reader, failures = EventReader(), 0
        url = place_of(self._base, "/api/events")
        while True:
            reader.restart()
            try:
                with self._http.stream("GET", url, headers=self._headers(url), timeout=SILENCE_S) as response:
                    if not response.is_success:
                        response.read()
                        answer_of(response)
                    failures = 0
                    yield from (event for line in response.iter_lines() if (event := reader.feed(line)) is not None)
            except httpx.RequestError as error:
                failures += 1
                if failures > RECONNECTIONS:
                    raise steps.unreachable(error) from error
            time.sleep(1)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _headers(self, url: httpx.URL) -> dict[str, str]:
        return headers_for(url, self._base, self._key)

    def _do(self, todo: Steps[T]) -> T:
        try:
            step = next(todo)
            while True:
                if isinstance(step, Ask):
                    try:
                        response = self._ask(step)
                    except httpx.RequestError as error:
                        step = todo.throw(error)
                    else:
                        step = todo.send(response)
                else:
                    time.sleep(step.seconds)
                    step = todo.send(None)
        except StopIteration as end:
            result: T = end.value
            return result

    def _ask(self, ask: Ask) -> httpx.Response:
        url = place_of(self._base, ask.path)
        with content_of(ask) as content:
            return self._http.request(ask.method, url, headers=self._headers(url), **content)

    def _save(self, url: str, path: Path) -> Path:
        part = part_of(path)
        place = self._base.join(url)
        try:
            with self._http.stream("GET", place, headers=self._headers(place)) as response:
                if not response.is_success:
                    response.read()
                    answer_of(response)
                with part.open("wb") as file:
                    for chunk in response.iter_bytes(1 << 20):
                        file.write(chunk)
            part.replace(path)
        except httpx.RequestError as error:
            raise steps.unreachable(error) from error
        except OSError as error:
            raise ClientError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        return path

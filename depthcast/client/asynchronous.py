"""The client for programs with an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
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


class AsyncClient:
    """Asks a service for depth, without keeping its thread from other work.

    service: its address. key: an API key; None: the one of `DEPTHCAST_API_KEY`, if any.
    Every method raises ClientError with what the service said, or why it cannot be reached.
    """

    __slots__ = ("_base", "_http", "_key")

    def __init__(self, service: str = SERVICE, key: str | None = None, timeout_s: float = 60.0) -> None:
        self._base = base_of(service)
        self._key = key or Settings.from_environment().api_key
        self._http = httpx.AsyncClient(base_url=self._base, timeout=timeout_s, follow_redirects=True)

    async def submit(self, video: str | Path, options: Options | None = None) -> Generation:
        """Queue a video: an http(s) address that the service fetches, or a file that is sent to it."""
        return await self._do(steps.submitting(video, options or Options()))

    async def get(self, generation_id: str) -> Generation:
        """How it is doing."""
        return await self._do(steps.looking(generation_id))

    async def generations(self, state: State | None = None) -> tuple[Generation, ...]:
        """Those of a state, or those that wait and run."""
        return await self._do(steps.listing(state))

    async def wait(
        self, generation_id: str, on_change: OnChange | None = None, timeout_s: float | None = None
    ) -> Generation:
        """Until it has ended, in whatever way; ClientError after `timeout_s`. on_change: told each new state of it."""
        return await self._do(steps.waiting(generation_id, on_change, timeout_s))

    async def cancel(self, generation_id: str) -> None:
        """Stop it; one that has ended stays as it is."""
        await self._do(steps.cancelling(generation_id))

    async def download(self, generation: Generation, path: Path | str) -> Path:
        """Save the video, whole or not at all."""
        return await self._save(steps.result_url(generation, raw=False), Path(path))

    async def download_raw(self, generation: Generation, path: Path | str) -> Path:
        """Save the raw maps (NPZ), whole or not at all."""
        return await self._save(steps.result_url(generation, raw=True), Path(path))

    async def events(self) -> AsyncIterator[Advanced | Ended]:
        """What happens to the generations of this key from now on, and how those of the last hour ended; endless.

        A connection that breaks is made again; ClientError when that fails for half a minute.
        """
        reader, failures = EventReader(), 0
        url = place_of(self._base, "/api/events")
        while True:
            reader.restart()
            try:
                async with self._http.stream("GET", url, headers=self._headers(url), timeout=SILENCE_S) as response:
                    if not response.is_success:
                        await response.aread()
                        answer_of(response)
                    failures = 0
                    async for line in response.aiter_lines():
                        if (event := reader.feed(line)) is not None:
                            yield event
            except httpx.RequestError as error:
                failures += 1
                if failures > RECONNECTIONS:
                    raise steps.unreachable(error) from error
            await asyncio.sleep(1)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _headers(self, url: httpx.URL) -> dict[str, str]:
        return headers_for(url, self._base, self._key)

    async def _do(self, todo: Steps[T]) -> T:
        try:
            step = next(todo)
            while True:
                if isinstance(step, Ask):
                    try:
                        response = await self._ask(step)
                    except httpx.RequestError as error:
                        step = todo.throw(error)
                    else:
                        step = todo.send(response)
                else:
                    await asyncio.sleep(step.seconds)
                    step = todo.send(None)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _ask(self, ask: Ask) -> httpx.Response:
        url = place_of(self._base, ask.path)
        with ExitStack() as opened:
            # A pipe is read to its end there.
            content = await asyncio.to_thread(opened.enter_context, content_of(ask))
            return await self._http.request(ask.method, url, headers=self._headers(url), **content)

    async def _save(self, url: str, path: Path) -> Path:
        part = part_of(path)
        place = self._base.join(url)
        try:
            async with self._http.stream("GET", place, headers=self._headers(place)) as response:
                if not response.is_success:
                    await response.aread()
                    answer_of(response)
                with part.open("wb") as file:
                    async for chunk in response.aiter_bytes(1 << 20):
                        await asyncio.to_thread(file.write, chunk)
            part.replace(path)
        except httpx.RequestError as error:
            raise steps.unreachable(error) from error
        except OSError as error:
            raise ClientError(f"{path} cannot be written: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        return path

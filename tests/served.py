"""A service of depth and a web server with a clip, both on this machine, for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from depthcast.plan import Mode
from depthcast.service.addresses import Allowed
from depthcast.service.api.catalog import MODEL
from depthcast.service.app import create_app
from depthcast.service.fetch import FetchRules
from depthcast.service.hosted import jobs_router
from depthcast.service.jobs.queue import Jobs
from depthcast.service.server import serving
from depthcast.service.settings import ServiceSettings

Seen = TypeVar("Seen")
FINAL = {"succeeded", "failed", "cancelled"}
DEADLINE_S = 60.0


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


class _Same(_Quiet):
    """The same file, whatever is asked for."""

    def translate_path(self, path: str) -> str:
        return str(next(iter(Path(super().translate_path(path[:1])).glob("*.mp4"))))


@contextmanager
def files_served(folder: Path, any_path: bool = False) -> Iterator[str]:
    """A folder on 127.0.0.1; with `any_path` its clip, whatever is asked for. Yields the URL."""
    answer = partial(_Same if any_path else _Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def settings(data: Path, **changes: Any) -> ServiceSettings:
    """Videos from 127.0.0.1 are fetched, and the embedded model runs where another is asked for."""
    fetch = FetchRules(allow=Allowed.of(["127.0.0.1"]), attempts=1)
    given: dict[str, Any] = {
        "fallback": True,
        "mode": Mode.STREAM,
        "threads": 1,
        "fetch": fetch,
        "grace_s": 1.0,
        "niceness": 0,
    }
    return ServiceSettings(data, **(given | changes))


class Service:
    """A client of a service that runs in this process."""

    def __init__(self, app: FastAPI, http: httpx.Client) -> None:
        self._app = app
        self.http = http

    @property
    def jobs(self) -> Jobs:
        """What the service itself sees; for looking, from another thread."""
        jobs = self._app.state.jobs
        assert isinstance(jobs, Jobs)
        return jobs

    def enqueue(self, **fields: Any) -> list[str]:
        """Ids of new generations."""
        answer = self.http.post("/api/ai/queue", json={"model": MODEL, **fields})
        assert answer.status_code == 200, answer.text
        return [generation["generation_id"] for generation in answer.json()["generations"]]

    def get(self, generation_id: str) -> dict[str, Any]:
        """A row."""
        answer = self.http.get(f"/api/ai/queue/{generation_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ended(self, generation_id: str) -> dict[str, Any]:
        """A row, once it has ended."""
        return self.until(generation_id, lambda row: row["status"] in FINAL)

    def until(self, generation_id: str, reached: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """A row, once it is as wanted."""
        return until(lambda: self.get(generation_id), reached)


def until(look: Callable[[], Seen], reached: Callable[[Seen], bool]) -> Seen:
    """What is seen once it is as wanted; fails after a minute."""
    waiting = threading.Event()
    deadline_s = time.monotonic() + DEADLINE_S
    while not reached(seen := look()):
        assert time.monotonic() < deadline_s, seen
        waiting.wait(0.05)
    return seen


@contextmanager
def service(wanted: ServiceSettings) -> Iterator[Service]:
    """A service in a thread of this process."""
    app = create_app(jobs_router(wanted))
    with serving(app, "127.0.0.1", 0) as url, httpx.Client(base_url=url, timeout=DEADLINE_S) as http:
        yield Service(app, http)

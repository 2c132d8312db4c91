"""A service whose disk is full: every answer says so, and it goes on when there is room again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from depthcast.service.api.catalog import MODEL
from depthcast.service.jobs import worker
from tests.served import Service, service, settings
from tests.test_file_sink import files_of_at_most

ROOM = "the service has no room"


def is_told(answer: object) -> bool:
    assert hasattr(answer, "json")
    said = answer.json()
    assert said["status_message"] == "service_unavailable"
    assert ROOM in said["error"]["detail"]
    return True


def test_an_upload_that_finds_no_room_is_told_to_come_again(tmp_path: Path) -> None:
    with service(settings(tmp_path / "data")) as here:
        video = {"video": ("a.mp4", b"x" * 3_000_000)}
        with files_of_at_most(2_000_000):
            answer = here.http.post("/api/ai/queue", data={"model": MODEL}, files=video)
        assert answer.status_code in (503, 507), answer.text
        assert is_told(answer)
        assert answer.headers["Retry-After"]
        assert not list((tmp_path / "data" / "work").iterdir())
        assert here.http.post("/api/ai/queue", data={"model": MODEL}, files=video).status_code == 200


def test_a_queue_that_cannot_be_written_is_told_to_come_again(tmp_path: Path) -> None:
    with service(settings(tmp_path / "data")) as here:
        pages = _limited(here, None)
        _limited(here, pages)
        wanted = {"model": MODEL, "video_url": "http://127.0.0.1:9/" + "a" * 7000}
        answers = [here.http.post("/api/ai/queue", json=wanted) for _ in range(8)]
        full = [one for one in answers if one.status_code != 200]
        assert full
        assert {one.status_code for one in full} == {503}
        assert all(map(is_told, full))
        _limited(here, 1 << 20)
        assert here.http.post("/api/ai/queue", json=wanted).status_code == 200


def _limited(here: Service, pages: int | None) -> int:
    """Let the database have so many pages; those that it has."""
    database: sqlite3.Connection = here.jobs.store._db
    found: int = database.execute("PRAGMA page_count").fetchone()[0]
    if pages is not None:
        database.execute(f"PRAGMA max_page_count = {pages}")
    return found


def test_a_result_that_finds_no_room_is_told_without_what_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stream.sinks.npz import NpzSink
    from tests.fakes import depth_frame
    from tests.test_file_sink import INFO, RAMP

    said: list[str] = []

    class Told:
        def say(self, **message: str) -> None:
            said.append(message["failed"])

    def full(*_: object) -> tuple[str, ...]:
        sink = NpzSink(Path("raw.npz"), INFO, "fake")
        with files_of_at_most(20_000):
            for index in range(4):
                sink.write(depth_frame(RAMP.copy(), index))
        return ()

    monkeypatch.setattr(worker, "do", full)
    monkeypatch.setattr(worker, "limit_files", lambda _: None)
    monkeypatch.chdir(tmp_path)

    class Folder:
        folder = str(tmp_path)
        room = 0

    worker._attempt(Folder, None, Told(), None)  # type: ignore[arg-type]
    assert said == ["cannot write raw.npz: the file is as large as it may become there"]

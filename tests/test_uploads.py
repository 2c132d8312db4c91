"""Videos that come with their requests: refused before they are read, counted while they arrive, gone when refused."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections import namedtuple
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from depthcast.service.api.catalog import MODEL
from depthcast.service.app import create_app
from depthcast.service.hosted import jobs_router
from depthcast.service.jobs.folders import Folders
from depthcast.service.jobs.room import NoRoomError, Room
from depthcast.service.keys import Keys
from depthcast.service.rates import Rate, Rates
from depthcast.service.security import Protection
from depthcast.service.server import serving
from depthcast.service.settings import ServiceSettings
from tests.conditions import until
from tests.served import Service, service, settings

KEY = "k" * 32
BOUNDARY = "xxBOUNDARYxx"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\n{MODEL}\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="video"; filename="v.mp4"\r\n\r\n'
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


class Sender:
    """A client that sends a form as slowly as it is told to."""

    def __init__(self, here: Service, length: int | None, *headers: str, path: str = "/api/ai/queue") -> None:
        self._socket = socket.create_connection(("127.0.0.1", here.http.base_url.port or 0), 20)
        size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}"
        lines = [f"POST {path} HTTP/1.1", "Host: localhost", size, kind, *headers, "", ""]
        self._is_chunked = length is None
        self._socket.sendall("\r\n".join(lines).encode())

    def send(self, data: bytes) -> None:
        self._socket.sendall(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def status(self) -> int:
        """Of the answer, or of an interim one."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            part = self._socket.recv(1)
            assert part, head
            head += part
        return int(head.split(b" ")[1])

    def close(self) -> None:
        self._socket.close()


@contextmanager
def guarded(data: Path, rates: Rates, **changes: Any) -> Iterator[Service]:
    import httpx

    protection = Protection(lambda: Keys().with_key("ann", KEY), rates=rates)
    app = create_app(jobs_router(settings(data, **changes)), protection=protection)
    with serving(app, "127.0.0.1", 0) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield Service(app, http)


def arrived(here: Service) -> list[int]:
    """Sizes of files that are arriving."""
    return sorted(path.stat().st_size for path in (here.jobs.folders.root / "work").glob("upload-*"))


EXPECT = "Expect: 100-continue"
"""The body is sent when the server wants it: an answer without `100` was given before a byte of it was read."""


def test_an_upload_without_a_key_or_beyond_the_rate_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with guarded(tmp_path, Rates(writes=Rate(1e-6, 1))) as here:
        bearer = f"Authorization: Bearer {KEY}"
        for headers, status in (((EXPECT,), 401), ((EXPECT, bearer), 100), ((EXPECT, bearer), 429)):
            with closing(Sender(here, 10**6, *headers)) as sender:
                assert sender.status() == status
        until(lambda: not arrived(here))


@pytest.mark.parametrize("path", ["/api/ai/queue", "/api/ai/videos/generate"])
def test_an_upload_for_which_there_is_no_place_is_refused_before_it_is_read(path: str, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        service(settings(tmp_path / "data", max_queued_per_key=2)) as here,
    ):
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/never.mp4"
        here.enqueue(video_url=url)
        with closing(Sender(here, 10**6, EXPECT)) as first:
            assert first.status() == 100
            for length in (10**6, None):
                with closing(Sender(here, length, EXPECT, path=path)) as second:
                    assert second.status() == 429, "a place is kept for what arrives"
            assert here.http.post("/api/ai/queue", json={"model": MODEL, "video_url": url}).status_code == 429
        until(lambda: not here.jobs.room.arriving())
        here.enqueue(video_url=url)


def test_an_upload_for_which_there_is_no_room_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with service(settings(tmp_path, disk_bytes=2_000_000)) as here:
        for length, status in ((3_000_000, 503), (1_000_000, 100), (3 << 30, 413)):
            with closing(Sender(here, length, EXPECT)) as sender:
                assert sender.status() == status
        refused = here.http.post("/api/ai/queue", data={"model": MODEL}, files={"video": b"x" * 3_000_000})
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "60"
        assert "no room for another video" in refused.json()["error"]["detail"]


def test_what_arrives_lies_in_the_folder_of_the_service_and_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def elsewhere(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing is spooled outside")

    for name in ("SpooledTemporaryFile", "TemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, elsewhere)
    with service(settings(tmp_path, disk_bytes=8_000_000)) as here:
        before = here.jobs.room.left
        with closing(Sender(here, None)) as first, closing(Sender(here, None)) as second:
            first.send(HEAD + b"a" * 3_000_000)
            until(lambda: sum(arrived(here)) >= 2_000_000)
            assert before - here.jobs.room.left == here.jobs.room._arriving_bytes >= 2_000_000
            assert here.http.get("/readyz").status_code == 200
            second.send(HEAD + b"a" * 7_000_000)
            assert second.status() == 503, "both together are too large"
            until(lambda: len(arrived(here)) == 1)
        until(lambda: not arrived(here))
        assert here.jobs.room.left == before, "who hangs up leaves nothing"


def test_a_file_that_is_larger_than_allowed_is_refused_and_gone(tmp_path: Path) -> None:
    with service(settings(tmp_path, max_upload_bytes=1_500_000)) as here:
        before = here.jobs.room.left
        for content in (b"x" * 1_500_001, b"x" * 4_000_000):
            refused = here.http.post("/api/ai/queue", data={"model": MODEL}, files={"video": content})
            assert refused.status_code == 413
            assert refused.json()["error"]["type"] == "payload_too_large"
        assert not arrived(here)
        assert here.jobs.room.left == before


FORMS = {
    "no file": f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nx\r\n--{BOUNDARY}--\r\n",
    "two files": HEAD.decode() + "a\r\n" + HEAD.decode() + "b" + TAIL.decode(),
    "no name": f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n",
    "no end": HEAD.decode() + "abc",
    "nothing": "",
    "another boundary": HEAD.decode().replace(BOUNDARY, "y") + TAIL.decode().replace(BOUNDARY, "y"),
    "a long head": f"--{BOUNDARY}\r\nX: {'a' * 9000}\r\n\r\nx\r\n--{BOUNDARY}--\r\n",
    "many parts": f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n" * 65 + TAIL.decode(),
    "a wrong model": HEAD.decode().replace(MODEL, "other") + TAIL.decode(),
}  # fmt: skip


def test_forms_that_make_no_sense_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    with service(settings(tmp_path)) as here:
        for name, form in FORMS.items():
            kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            refused = here.http.post("/api/ai/queue", content=form.encode(), headers=kind)
            assert refused.status_code == (404 if name == "a wrong model" else 400), name
        refused = here.http.post("/api/ai/queue", content=b"x", headers={"Content-Type": "multipart/form-data"})
        assert refused.json()["error"]["detail"] == "the form has no boundary"
        assert not arrived(here)
        assert not list((tmp_path / "inputs").iterdir())


def test_every_piece_of_a_form_may_come_alone(tmp_path: Path) -> None:
    content = b"\r\n--" + BOUNDARY.encode()[:-1] + bytes(range(256))
    with service(settings(tmp_path)) as here, closing(Sender(here, len(HEAD + content + TAIL))) as sender:
        for byte in HEAD + content + TAIL:
            sender.send(bytes([byte]))
        assert sender.status() == 200
        (row,) = here.http.get("/api/ai/generations").json()["generations"]
        assert here.ended(row["generation_id"])["status"] == "failed", "it is no video"


DiskUsage = namedtuple("DiskUsage", "total used free")


def test_a_full_disk_refuses_uploads_and_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(settings(tmp_path)) as here:
        assert here.http.get("/readyz").json() == {"status": "ready", "jobs": 0}
        monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**12, 10**12, 1000))
        assert here.http.get("/readyz").status_code == 503
        answer = here.http.post("/api/ai/queue", data={"model": MODEL}, files={"video": b"x"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "service_unavailable")


@pytest.mark.parametrize("number", [28, 122])
def test_a_disk_that_fills_while_an_upload_is_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("depthcast.service.jobs.room._append", full)
    with service(settings(tmp_path)) as here:
        answer = here.http.post("/api/ai/queue", data={"model": MODEL}, files={"video": b"x" * 10})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")


def test_readiness_looks_at_no_file_and_removes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with service(settings(tmp_path, keep_s=0, disk_bytes=1000 << 20)) as here:
        result = tmp_path / "results" / "old.mp4"
        result.write_bytes(b"x")
        os.utime(result, (1, 1))
        monkeypatch.setattr(Folders, "_files", lambda *_: pytest.fail("the tree is walked"))
        for _ in range(3):
            assert here.http.get("/readyz").json() == {"status": "ready", "jobs": 0}
        assert result.exists()


def room_of(folder: Path, **changes: Any) -> tuple[Room, Folders]:
    folders, now = Folders(folder), 10_000.0
    wanted: ServiceSettings = replace(settings(folder), **changes)
    for age, name in enumerate("abc"):
        folders.video(name).write_bytes(b"x" * 100)
        os.utime(folders.video(name), (now - 1000 * age, now - 1000 * age))
    return Room(folders, wanted, lambda: now), folders


def results(folders: Folders) -> list[str]:
    return sorted(path.stem for path in (folders.root / "results").iterdir())


def test_a_measurement_removes_what_is_old_and_tells_what_is_left(tmp_path: Path) -> None:
    room, folders = room_of(tmp_path, keep_s=1500, disk_bytes=1000)
    assert (room.left, results(folders)) == (1000, ["a", "b", "c"]), "nothing is measured yet"
    assert asyncio.run(room.measure()) == 800
    assert results(folders) == ["a", "b"]


def test_results_make_room_for_what_arrives_and_not_for_what_is_announced(tmp_path: Path) -> None:
    async def arriving() -> None:
        room, folders = room_of(tmp_path, disk_bytes=400)
        await room.measure()
        arrival = room.begin("ann")
        await room.check(350)
        assert results(folders) == ["a", "b", "c"]
        assert (room.arriving(), room.arriving("ann"), room.arriving("bo")) == (1, 1, 0)
        await room.write(arrival, b"y" * 250)
        assert (results(folders), room.left) == (["a"], 50)
        with pytest.raises(NoRoomError):
            await room.check(200)
        await room.write(arrival, b"y" * 140)
        assert (results(folders), room.left) == ([], 10)
        with pytest.raises(NoRoomError):
            await room.write(arrival, b"y" * 20)
        folders.share_upload(arrival.path, ["job"])
        room.settle(arrival)
        room.drop(arrival)
        assert room.left == await room.measure() == 400 - 390
        assert folders.input("job").stat().st_size == 390

    asyncio.run(arriving())


def test_a_file_of_several_names_counts_once(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    upload = folders.new_upload()
    upload.write_bytes(b"x" * 100)
    assert folders.used() == 0, "what arrives is counted elsewhere"
    folders.share_upload(upload, ["a", "b"])
    folders.begin("a", uploaded=True)
    assert folders.used() == 100
    assert folders.used_beside_results() == 100


def test_fields_that_are_not_known_are_kept_while_they_are_small(tmp_path: Path) -> None:
    with service(settings(tmp_path)) as here:
        small, large = {"seed": 7, "note": "n" * 200, "deep": {"a": [1, None]}}, {"large": "x" * 900_000}
        (queued,) = here.enqueue(video_url="http://127.0.0.1:1/x.mp4", **large, **small)
        row = here.get(queued)
        assert {name: row[name] for name in small} == small
        assert "large" not in row
        (listed,) = here.http.get("/api/ai/generations").json()["generations"]
        assert len(str(listed)) < 2500
        many = {f"field{number}": "x" * 100 for number in range(1000)}
        (other,) = here.enqueue(video_url="http://127.0.0.1:1/x.mp4", **many)
        stored = [name for name in here.get(other) if name.startswith("field")]
        assert stored == [f"field{number}" for number in range(len(stored))]
        assert 0 < len(stored) < 10


@pytest.mark.parametrize("name", ["video_url", "prompt", "colormap"])
@pytest.mark.parametrize("path", ["/api/ai/queue", "/api/ai/videos/generate"])
def test_parameters_of_a_megabyte_are_refused(name: str, path: str, tmp_path: Path) -> None:
    with service(settings(tmp_path)) as here:
        body = {"model": MODEL, "video_url": "http://127.0.0.1:1/x.mp4", name: "x" * 900_000}
        refused = here.http.post(path, json=body)
        assert refused.status_code == 400
        assert "at most 8,192" in refused.json()["error"]["detail"]
        assert here.http.get("/api/ai/generations").json()["count"] == 0

"""The job API over HTTP: what it answers, byte by byte where clients depend on it."""

from __future__ import annotations

import base64
import json
import re
import socket
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from depthcast.service.api.catalog import MODEL, MODEL_UUID
from depthcast.service.api.schemas import (
    Cancelled,
    Enqueued,
    Generated,
    History,
    HistoryEntry,
    Item,
    Items,
    NotDispatched,
    Refused,
)
from tests.served import DEADLINE_S, FINAL, Service, files_served, service, settings, until
from tests.tiny import make_clip

INVALID = "Invalid parameters supplied, please check your request and try again."
NOT_FOUND = (
    b'{"error":{"type":"resource_not_found","title":"The requested resource could not be found"},'
    b'"status":"error","status_message":"resource_not_found"}'
)
NO_MODEL = '{"error":{"message":"You must specify a model to call"}}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return make_clip(folder / "clip.mp4", frames=8, height=96, width=128)


@pytest.fixture(scope="module")
def video_url(folder: Path, clip: Path) -> Iterator[str]:
    with files_served(folder) as url:
        yield f"{url}/{clip.name}"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(settings(tmp_path_factory.mktemp("data"))) as opened:
        yield opened


def invalid(detail: str) -> str:
    """The first envelope, as it goes over the wire."""
    error = {"type": "invalid_params", "title": INVALID, "detail": detail}
    body = {"error": error, "status": "error", "status_message": "invalid_params"}
    return json.dumps(body, separators=(",", ":"))


def frames_of(content: bytes, folder: Path) -> list[tuple[int, int]]:
    """(height, width) of each frame."""
    path = folder / f"{uuid.uuid4()}.mp4"
    path.write_bytes(content)
    with av.open(path) as container:
        return [(frame.height, frame.width) for frame in container.decode(video=0)]


def test_a_queued_job_ends_in_a_video(here: Service, video_url: str, tmp_path: Path) -> None:
    (queued,) = here.enqueue(video_url=video_url, max_frames=5, prompt="a cat", unknown_key={"x": 1})
    row = here.ended(queued)
    Item.model_validate(row)
    assert (row["status"], row["error_message"], row["media_type"]) == ("succeeded", None, "video")
    assert (row["prompt"], row["max_frames"], row["unknown_key"]) == ("a cat", 5, {"x": 1})
    assert row["enqueued_at"] <= row["started_at"] <= row["completed_at"]
    assert row["notes"] == ["made with depthcast-nano: VDA-Large is not installed on this service"]
    assert not {"progress", "phase", "raw_depths", "model", "num_generations"} & set(row)
    result = httpx.get(row["result_url"])
    assert result.headers["content-type"] == "video/mp4"
    assert frames_of(result.content, tmp_path) == [(96, 128)] * 5


def test_the_answer_to_a_request_is_as_documented(here: Service, video_url: str) -> None:
    answer = here.http.post("/api/ai/queue", json={"model": MODEL, "video_url": video_url, "num_generations": 4})
    Enqueued.model_validate(answer.json())
    assert answer.status_code == 200
    assert re.fullmatch(
        r'\{"generations":\[(\{"generation_id":"[0-9a-f-]{36}","status":"queued"\},?){4}\]\}', answer.text
    )
    for generation in answer.json()["generations"]:
        cancelled = here.http.delete(f"/api/ai/queue/{generation['generation_id']}")
        Cancelled.model_validate(cancelled.json())
        assert cancelled.text == f'{{"status":"success","generation_id":"{generation["generation_id"]}"}}'
        row = here.get(generation["generation_id"])
        assert row["status"] in ("cancelled", "succeeded")


def test_a_waiting_client_gets_the_address_of_the_video(here: Service, video_url: str, tmp_path: Path) -> None:
    answer = here.http.post(
        "/api/ai/videos/generate",
        json={"model": MODEL_UUID, "video_url": video_url, "max_frames": 3, "side_by_side": True, "resolution": "360p"},
    )
    Generated.model_validate(answer.json())
    assert (answer.json()["model"], type(answer.json()["created"])) == (MODEL, int)
    (video,) = answer.json()["videos"]
    assert set(video) == {"url", "notes"}
    assert frames_of(httpx.get(video["url"]).content, tmp_path) == [(96, 256)] * 3


def test_a_waiting_client_may_have_the_video_itself(here: Service, video_url: str, tmp_path: Path) -> None:
    body = {"model": MODEL, "video_url": video_url, "max_frames": 2, "response_format": "b64_json"}
    answer = here.http.post("/api/ai/videos/generate", json=body)
    Generated.model_validate(answer.json())
    (video,) = answer.json()["videos"]
    assert frames_of(base64.b64decode(video["b64_json"], validate=True), tmp_path) == [(96, 128)] * 2


def test_a_file_may_be_sent_instead_of_an_address(here: Service, clip: Path, tmp_path: Path) -> None:
    fields = {"model": MODEL, "max_frames": "2", "side_by_side": "true", "num_generations": "2", "colormap": "turbo"}
    answer = here.http.post("/api/ai/queue", data=fields, files={"video": ("../x.mp4", clip.read_bytes())})
    ids = [generation["generation_id"] for generation in answer.json()["generations"]]
    assert len(ids) == 2
    for row in map(here.ended, ids):
        assert (row["status"], row["max_frames"], row["side_by_side"]) == ("succeeded", 2, True)
        assert frames_of(httpx.get(row["result_url"]).content, tmp_path) == [(96, 256)] * 2
    sent = here.http.post("/api/ai/videos/generate", data={"model": MODEL}, files={"video": clip.read_bytes()})
    assert len(frames_of(httpx.get(sent.json()["videos"][0]["url"]).content, tmp_path)) == 8
    assert not list((here.jobs.folders.root / "inputs").iterdir())
    assert not list((here.jobs.folders.root / "work").iterdir())


@pytest.mark.parametrize(("rate", "frames"), [(6, 2), (24, 8), (48, 16), (60, 20)])
def test_the_output_has_the_rate_that_was_asked_for(
    here: Service, video_url: str, rate: int, frames: int, tmp_path: Path
) -> None:
    """Eight frames, 24 a second, in: a third of a second."""
    row = here.ended(here.enqueue(video_url=video_url, output_fps=rate)[0])
    path = tmp_path / "out.mp4"
    path.write_bytes(httpx.get(row["result_url"]).content)
    with av.open(path) as container:
        video = container.streams.video[0]
        times = [frame.time for frame in container.decode(video)]
        assert video.average_rate == rate
    assert times == pytest.approx([number / rate for number in range(frames)])


def test_raw_depth_is_in_the_three_places(here: Service, video_url: str) -> None:
    body = {"model": MODEL, "video_url": video_url, "max_frames": 3, "include_raw_depths": True}
    answer = here.http.post("/api/ai/videos/generate", json=body).json()
    raw = answer["videos"][0]["raw_depths"]
    (newest,) = here.http.get("/api/ai/generations?page_size=1").json()["generations"]
    row = here.get(newest["generation_id"])
    (event,) = [event for event in replayed(here) if event["generation_id"] == row["generation_id"]]
    for found in (raw, row["raw_depths"], event["raw_depths"]):
        assert {"content_type": "application/octet-stream", "file_size": raw["file_size"]}.items() <= found.items()
        assert found["file_name"] == f"{row['generation_id']}_raw_depths.npz"
        content = httpx.get(found["url"]).content
        assert len(content) == raw["file_size"]
    path = here.jobs.folders.root / "raw.npz"
    path.write_bytes(content)
    with np.load(path, allow_pickle=False) as archive:
        assert archive["depths"].shape == tuple(archive["shape"]) == (3, 96, 128)
        assert str(archive["model"]) == "depthcast-nano"


def events_of(stream: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, data) of each event as it comes."""
    name = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def replayed(here: Service) -> list[dict[str, Any]]:
    """What a new listener is told of the past: all that comes before the end of a job that is asked for then."""
    with here.http.stream("GET", "/api/events") as stream:
        (last,) = here.enqueue(video_url="http://127.0.0.1:1/")
        found: list[dict[str, Any]] = []
        for name, data in events_of(stream):
            if name == "media_generation_completed":
                if data["generation_id"] == last:
                    return found
                found.append(data)
    raise AssertionError("the stream ended")


def chunks_of(url: httpx.URL, path: str) -> Generator[bytes, None, None]:
    """The chunks of an answer as the server made them; the first is its head."""
    with socket.create_connection((url.host, url.port or 80), timeout=DEADLINE_S) as line, line.makefile("rb") as read:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        yield b"".join(iter(read.readline, b"\r\n"))
        while size := int(read.readline(), 16):
            yield read.read(size)
            read.readline()


def test_one_client_does_not_take_the_places_of_all_listeners(here: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("depthcast.service.api.events._MOST_OF_ONE", 2)
    with here.http.stream("GET", "/api/events") as first, here.http.stream("GET", "/api/events") as second:
        told = [one.iter_raw() for one in (first, second)]
        assert [next(one) for one in told] == [b": keep-alive\n\n"] * 2
        refused = here.http.get("/api/events")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "15")
        (client,) = {one.client for one in here.jobs.bus._subscriptions}
        assert (here.jobs.bus.of(client), here.jobs.bus.of("another")) == (2, 0)
    until(lambda: here.jobs.bus.of(client), lambda count: count == 0)
    with here.http.stream("GET", "/api/events") as third:
        assert third.status_code == 200


def test_events_are_what_line_readers_need(here: Service, video_url: str) -> None:
    chunks = chunks_of(here.http.base_url, "/api/events")
    head, seen = next(chunks).lower(), b""
    assert b"content-type: text/event-stream" in head
    assert b"transfer-encoding: chunked" in head
    assert next(chunks) == b": keep-alive\n\n"
    good, bad = here.enqueue(video_url=video_url, max_frames=1)[0], here.enqueue(video_url="ftp://host/a")[0]
    wanted = {good, bad}
    while wanted:
        chunk = next(chunks)
        seen += chunk
        if chunk.startswith(b"event: media_generation_completed"):
            found = re.fullmatch(rb'event: [a-z_]+\ndata: (\{"generation_id":"[^\n]+\})\n\n: {8192}\n\n', chunk)
            assert found is not None, "one event, one chunk"
            wanted -= {json.loads(found[1])["generation_id"]}
    chunks.close()
    success = re.search(rf'data: (\{{"generation_id":"{good}","status":"succeeded".*\}})\n', seen.decode())
    failure = re.search(rf'data: (\{{"generation_id":"{bad}","status":"failed".*\}})\n', seen.decode())
    assert success is not None
    assert failure is not None
    assert set(json.loads(success[1])) == {"generation_id", "status", "media_type", "model", "url", "notes"}
    assert set(json.loads(failure[1])) == {"generation_id", "status", "media_type", "error"}
    assert json.loads(success[1])["model"] == MODEL
    progress = re.search(
        rf'event: media_generation_progress\ndata: (\{{"generation_id":"{good}".*\}})\n', seen.decode()
    )
    assert progress is not None
    assert json.loads(progress[1])["phase"] == "downloading"


def test_who_listens_late_is_told_of_recent_ends(here: Service, video_url: str) -> None:
    (done,) = here.enqueue(video_url=video_url, max_frames=1)
    here.ended(done)
    assert [event["status"] for event in replayed(here) if event["generation_id"] == done] == ["succeeded"]


@pytest.mark.parametrize(
    ("body", "status", "answer"),
    [
        ({}, 400, NO_MODEL),
        ({"model": None}, 400, NO_MODEL),
        ({"model": "no-such-model"}, 404, '{"error":{"message":"Model not found: no-such-model"}}'),
        ({"model": MODEL, "num_generations": 5}, 400, invalid("num_generations must be an integer between 1 and 4")),
        ({"model": MODEL, "num_generations": 0}, 400, invalid("num_generations must be an integer between 1 and 4")),
        ({"model": MODEL, "num_generations": "2"}, 400, invalid("num_generations must be an integer between 1 and 4")),
        ([], 400, invalid("the body must be a JSON object")),
    ],
)
def test_requests_that_cannot_be_queued(here: Service, body: object, status: int, answer: str) -> None:
    for path in ("/api/ai/queue", "/api/ai/videos/generate"):
        refused = here.http.post(path, json=body)
        assert (refused.status_code, refused.text) == (status, answer)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"model":NaN}', b'{"model":"\\ud800"}', b"[" * 100_000])
def test_bodies_that_are_no_json(here: Service, content: bytes) -> None:
    refused = here.http.post("/api/ai/queue", content=content, headers={"Content-Type": "application/json"})
    assert (refused.status_code, refused.text) == (400, invalid("the body must be a JSON object"))


def test_a_body_too_large_is_refused(here: Service) -> None:
    refused = here.http.post("/api/ai/queue", content=b" " * (1 << 20) + b"{}")
    assert refused.status_code == 413
    Refused.model_validate(refused.json())


def test_bad_parameters_fail_when_the_work_begins_and_at_once_for_who_waits(here: Service) -> None:
    words = "colormap must be one of grayscale, turbo, inferno, magma, viridis"
    (queued,) = here.enqueue(video_url="https://host/in.mp4", colormap="pink")
    row = here.ended(queued)
    assert (row["status"], row["error_message"], row["result_url"]) == ("failed", words, None)
    assert row["completed_at"] is not None
    body = {"model": MODEL, "video_url": "https://host/in.mp4", "colormap": "pink"}
    refused = here.http.post("/api/ai/videos/generate", json=body)
    assert (refused.status_code, refused.text) == (400, invalid(words))


def test_unknown_generations_are_not_found_in_these_bytes(here: Service) -> None:
    for name in (str(uuid.uuid4()), "no-uuid", "%00", "a%2Fb"):
        for answer in (here.http.get(f"/api/ai/queue/{name}"), here.http.delete(f"/api/ai/queue/{name}")):
            assert (answer.status_code, answer.content) == (404, NOT_FOUND)
    assert here.http.get(f"/api/ai/generations/{uuid.uuid4()}").content == NOT_FOUND


def test_a_job_that_ended_is_not_changed_by_cancelling(here: Service, video_url: str) -> None:
    (queued,) = here.enqueue(video_url=video_url, max_frames=1)
    before = here.ended(queued)
    answer = here.http.delete(f"/api/ai/queue/{queued}")
    assert (answer.status_code, answer.json()["status"]) == (200, "success")
    after = here.get(queued)
    assert {**before, "result_url": None} == {**after, "result_url": None}


def test_the_queue_lists_what_is_active_and_on_demand_the_rest(here: Service, video_url: str) -> None:
    ids = here.enqueue(video_url=video_url, max_frames=1, num_generations=3, target_repo="repo", target_directory="a/b")
    listed = here.http.get("/api/ai/queue").json()
    Items.model_validate(listed)
    assert listed["count"] == len(listed["generations"])
    assert {row["status"] for row in listed["generations"]} <= {"queued", "processing"}
    for each in ids:
        here.ended(each)
    until(lambda: here.http.get("/api/ai/queue").json(), lambda seen: seen == {"count": 0, "generations": []})
    for query in ("repo=repo", "folder=a/b", "media_type=video", "namespace=local", f"model={MODEL}"):
        found = here.http.get(f"/api/ai/queue?status=succeeded&{query}").json()["generations"]
        assert set(ids) <= {row["generation_id"] for row in found}, query
    for query in ("repo=other", "folder=a", "media_type=image", "namespace=other", "model=x"):
        assert here.http.get(f"/api/ai/queue?status=succeeded&{query}").json()["count"] == 0, query
    assert here.http.get("/api/ai/queue?status=done").status_code == 400


def test_history_is_given_page_by_page(here: Service, video_url: str) -> None:
    ids = here.enqueue(video_url=video_url, max_frames=1, num_generations=3, target_namespace="pages")
    for each in ids:
        here.ended(each)
    pages = [here.http.get(f"/api/ai/generations?namespace=pages&page_size=2&page={page}").json() for page in (1, 2, 3)]
    for page in pages:
        History.model_validate(page)
    assert [page["count"] for page in pages] == [2, 1, 0]
    assert {(page["total_entries"], page["total_pages"]) for page in pages} == {(3, 2)}
    assert [row["generation_id"] for page in pages for row in page["generations"]] == ids[::-1]
    one = here.http.get(f"/api/ai/generations/{ids[0]}").json()
    HistoryEntry.model_validate(one)
    assert one["generation"]["generation_id"] == ids[0]
    for query in ("page=0", "page_size=1001", "page=x", "page=99999999999999999999"):
        Refused.model_validate(here.http.get(f"/api/ai/generations?{query}").json())


def test_models_are_described_without_a_key(here: Service) -> None:
    one = here.http.get(f"/api/ai/models/{MODEL}?deployment_status=live").json()
    assert one == here.http.get(f"/api/ai/models/{MODEL_UUID}").json()
    assert {"id", "object", "created", "owned_by"} <= set(one)
    schema = one["request_schema"]
    assert schema == one["json_request_schema"]
    assert list(schema["properties"]) == [
        *("video_url", "depth_model", "colormap", "resolution"),
        *("max_frames", "output_fps", "side_by_side", "include_raw_depths"),
    ]
    assert here.http.get("/api/ai/models").json() == {"object": "list", "data": [one]}
    assert here.http.get("/api/ai/models?developer_name=ByteDance").json()["data"] == [one]
    assert here.http.get("/api/ai/models?developer_name=other").json()["data"] == []
    assert here.http.get("/api/ai/models/search?search=Depth").json()["data"] == [one]
    assert here.http.get("/api/ai/models/search?search=cats").json()["data"] == []
    (older,) = here.http.get("/api/evaluations/models").json()["models"]
    assert (older["name"], older["json_request_schema"]) == (MODEL, schema)
    unknown = here.http.get("/api/ai/models/no-such-model")
    NotDispatched.model_validate(unknown.json())
    assert (unknown.status_code, unknown.text) == (404, '{"error":{"message":"Model not found: no-such-model"}}')


def test_other_refusals_have_the_first_envelope_too(here: Service) -> None:
    for answer, status in ((here.http.get("/api/nothing"), 404), (here.http.put("/api/ai/queue"), 405)):
        Refused.model_validate(answer.json())
        assert answer.status_code == status
    assert here.http.get("/nothing").json() == {"detail": "Not Found"}


def test_results_come_in_ranges_and_only_with_a_signature_that_fits(here: Service, video_url: str) -> None:
    (queued,) = here.enqueue(video_url=video_url, max_frames=1)
    url = here.ended(queued)["result_url"]
    whole = httpx.get(url).content
    part = httpx.get(url, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, whole[4:8])
    raw = url.replace(".mp4?", ".npz?")
    assert httpx.get(raw).status_code == 404
    assert httpx.get(re.sub("/local/", "/other/", url)).status_code == 404


def test_no_answer_says_where_things_lie(here: Service, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"\x00\x00\x00\x18ftypmp42 and then nothing")
    with broken.open("rb") as file:
        answer = here.http.post("/api/ai/videos/generate", data={"model": MODEL}, files={"video": file})
    assert answer.status_code == 400
    assert "video" in answer.json()["error"]["detail"]
    assert str(here.jobs.folders.root) not in answer.text
    assert str(Path.home()) + "/" not in answer.text


def test_health_and_readiness(here: Service) -> None:
    assert here.http.get("/healthz").json()["status"] == "ok"
    assert here.http.get("/readyz").json()["status"] == "ready"
    paths = here.http.get("/openapi.json").json()["paths"]
    assert {"/api/ai/queue", "/api/ai/videos/generate", "/api/events", "/api/ai/generations"} <= set(paths)
    assert {"succeeded", "failed", "cancelled"} == FINAL

"""The clients and `depthcast submit` against a service on this machine; their steps alone, where time matters."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import httpx
import numpy as np
import pytest

import depthcast
from depthcast import AsyncClient, Client, ClientError, Options
from depthcast.cli import status_of
from depthcast.client import Advanced, Ended, Generation, State
from depthcast.client.steps import Ask, Pause, Steps, T, asking_patiently, submitting, waiting
from depthcast.client.values import answer_of
from depthcast.client.wire import EventReader, base_of, content_of, headers_for, place_of
from depthcast.service.app import create_app
from depthcast.service.hosted import jobs_router
from depthcast.service.keys import Keys, new_key
from depthcast.service.security import Protection
from depthcast.service.server import serving
from tests.served import DEADLINE_S, files_served, settings
from tests.tiny import make_clip

KEY = new_key()
FRAMES = 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", FRAMES)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that asks for keys."""
    keys = Keys().with_key("ann", KEY).with_key("bo", KEY[::-1])
    jobs = jobs_router(settings(tmp_path_factory.mktemp("service")))
    app = create_app(jobs, protection=Protection(lambda: keys))
    with serving(app, "127.0.0.1", 0) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, KEY) as client:
        yield client


def frames_of(path: Path) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_file_is_sent_and_its_depth_comes_back(client: Client, clip: Path, tmp_path: Path) -> None:
    seen: list[Generation] = []
    queued = client.submit(clip, Options(colormap="turbo", side_by_side=True, include_raw_depths=True))
    assert queued.state is State.QUEUED
    made = client.wait(queued.id, seen.append, timeout_s=DEADLINE_S)
    assert made.state is State.SUCCEEDED
    assert seen[-1] == made
    assert client.get(queued.id).state is State.SUCCEEDED
    assert made.completed_at is not None
    assert made.completed_at >= made.enqueued_at > 0
    assert "nano" in made.notes[0]
    assert frames_of(client.download(made, tmp_path / "depth.mp4")) == FRAMES
    with np.load(client.download_raw(made, tmp_path / "raw.npz")) as raw:
        assert raw["depths"].shape == (FRAMES, 48, 64)
    assert {path.name for path in tmp_path.iterdir()} == {"depth.mp4", "raw.npz"}
    assert made.id in {each.id for each in client.generations(State.SUCCEEDED)}
    assert client.generations() == ()


def test_an_address_is_fetched_by_the_service(client: Client, clip: Path) -> None:
    with files_served(clip.parent) as place:
        made = client.wait(client.submit(f"{place}/clip.mp4", Options(max_frames=2)).id, timeout_s=DEADLINE_S)
    assert (made.state, made.error) == (State.SUCCEEDED, None)


def test_a_failure_says_why_and_has_no_result(client: Client, tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<html>no video</html>")
    failed = client.wait(client.submit(tmp_path / "page.mp4").id, timeout_s=DEADLINE_S)
    assert failed.state is State.FAILED
    assert "a web page, not a video" in (failed.error or "")
    with pytest.raises(ClientError, match=r"no result, the generation is failed: .*web page"):
        client.download(failed, tmp_path / "depth.mp4")
    assert {path.name for path in tmp_path.iterdir()} == {"page.mp4"}


def test_a_cancelled_generation_stays_so(client: Client, tmp_path: Path) -> None:
    queued = client.submit(make_clip(tmp_path / "long.mkv", 600, 240, 320))
    client.cancel(queued.id)
    assert client.wait(queued.id, timeout_s=DEADLINE_S).state is State.CANCELLED
    client.cancel(queued.id)
    assert client.get(queued.id).state is State.CANCELLED


def test_events_tell_how_generations_end(client: Client, clip: Path) -> None:
    good, bad = client.submit(clip, Options(include_raw_depths=True)), client.submit(clip, Options(colormap="pink"))
    wanted = {good.id, bad.id}
    ended: dict[str, Ended] = {}
    for event in client.events():
        if isinstance(event, Ended) and event.id in wanted:
            ended[event.id] = event
        if set(ended) == wanted:
            break
    assert ended[good.id].state is State.SUCCEEDED
    assert ended[good.id].url
    assert ended[good.id].raw_url
    assert "colormap" in (ended[bad.id].error or "")


def test_the_same_with_an_event_loop(url: str, clip: Path, tmp_path: Path) -> None:
    async def run() -> tuple[Generation, Generation]:
        async with asyncio.timeout(DEADLINE_S), AsyncClient(url, KEY) as client:
            one, two = await asyncio.gather(
                client.submit(clip, Options(include_raw_depths=True)), client.submit(clip, Options(max_frames=1))
            )
            async for event in client.events():
                if isinstance(event, Ended) and event.id == one.id:
                    break
            made = await client.wait(one.id)
            await client.download(made, tmp_path / "depth.mp4")
            await client.download_raw(made, tmp_path / "raw.npz")
            await client.cancel(two.id)
            return await client.get(one.id), await client.wait(two.id)

    made, other = asyncio.run(run())
    assert made.state is State.SUCCEEDED
    assert other.state.is_final
    assert frames_of(tmp_path / "depth.mp4") == FRAMES
    assert (tmp_path / "raw.npz").stat().st_size


def test_generations_of_other_keys_are_not_there(url: str, client: Client, clip: Path) -> None:
    queued = client.submit(clip)
    with Client(url, KEY[::-1]) as other, pytest.raises(ClientError, match=r"could not be found \(404\)") as refused:
        other.get(queued.id)
    assert refused.value.status == 404
    assert client.wait(queued.id, timeout_s=DEADLINE_S).state is State.SUCCEEDED


def test_without_a_key_the_service_refuses(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEPTHCAST_API_KEY", raising=False)
    with Client(url) as client, pytest.raises(ClientError, match="set DEPTHCAST_API_KEY") as refused:
        client.get("x")
    assert refused.value.status == 401


def test_refusals_are_the_service_s_own_words(client: Client, clip: Path) -> None:
    with pytest.raises(ClientError, match="neither a file nor an address"):
        client.submit("nothing.mp4")
    with pytest.raises(ClientError, match="is not the address of a service"):
        Client("ftp://127.0.0.1")
    with (
        pytest.raises(ClientError, match=r"cannot be reached: .*refused.* is it running"),
        Client("http://127.0.0.1:9") as no,
    ):
        no.submit(clip)


def test_names_are_there_when_asked_for() -> None:
    assert depthcast.Client is Client
    assert {"AsyncClient", "Client", "ClientError", "Generation", "Options"} <= set(dir(depthcast))


@pytest.fixture
def submit(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setenv("DEPTHCAST_API_KEY", KEY)
    return lambda *words: status_of(["submit", *words, "--service", url])


def test_submit_waits_and_saves(
    submit: Callable[..., int], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video, raw = tmp_path / "depth.mp4", tmp_path / "raw.npz"
    assert submit(str(clip), "-o", str(video), "--raw", str(raw), "--colormap", "turbo", "--max-frames", "3") == 0
    assert capsys.readouterr().out.splitlines() == [str(video), str(raw)]
    assert frames_of(video) == 3
    assert raw.stat().st_size
    assert submit(str(clip), "--wait") == 0
    link = capsys.readouterr().out.strip()
    assert httpx.get(link).content[4:8] == b"ftyp"


def test_submit_that_does_not_wait_tells_the_id(
    submit: Callable[..., int], client: Client, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submit(str(clip), "--side-by-side") == 0
    assert client.wait(capsys.readouterr().out.strip(), timeout_s=DEADLINE_S).state is State.SUCCEEDED


def test_submit_fails_in_one_line(
    submit: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("words " * 99)
    assert submit(str(tmp_path / "text.mp4"), "--wait") == 1
    assert submit(str(tmp_path / "absent.mp4")) == 1
    assert submit(str(tmp_path / "text.mp4"), "-o", str(tmp_path / "no" / "depth.mp4")) == 2
    said = capsys.readouterr().err.splitlines()
    assert all(line.startswith("depthcast: ") for line in said)
    assert "failed: this is not a video" in said[0]
    assert "neither a file nor an address" in said[1]
    assert "no folder" in said[2]


def walked(steps: Steps[T], *answers: httpx.Response | httpx.RequestError) -> tuple[T, list[Ask | Pause]]:
    """Where steps lead when these are the answers, the last for good; and what they asked for."""
    left, made = list(answers), [next(steps)]
    try:
        while True:
            assert len(made) < 1000
            if isinstance(made[-1], Pause):
                made.append(steps.send(None))
                continue
            answer = left.pop(0) if len(left) > 1 else left[0]
            made.append(steps.throw(answer) if isinstance(answer, httpx.RequestError) else steps.send(answer))
    except StopIteration as end:
        return end.value, made


def row(state: str, **more: object) -> httpx.Response:
    return httpx.Response(200, json={"generation_id": "1", "status": state, **more})


GONE = httpx.ConnectError("gone", request=httpx.Request("GET", "http://h/"))
LOOK = Ask("GET", "/api/ai/queue/1")


def test_waiting_looks_less_and_less_often() -> None:
    seen: list[Generation] = []
    half = row("processing", progress=0.5)
    end, made = walked(waiting("1", seen.append, None), row("queued"), *[half] * 20, row("failed", error_message="no"))
    pauses = [step.seconds for step in made if isinstance(step, Pause)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.25
    assert pauses[-1] == 2
    assert (end.state, end.error) == (State.FAILED, "no")
    assert [each.state for each in seen] == [State.QUEUED, State.PROCESSING, State.FAILED]


def test_waiting_ends_after_its_time() -> None:
    with pytest.raises(ClientError, match="still processing after 10 s; it goes on"):
        walked(waiting("1", None, 10), row("processing"))


def test_a_busy_service_is_asked_again_when_it_says() -> None:
    busy = httpx.Response(429, headers={"Retry-After": "7"})
    said, made = walked(asking_patiently(LOOK), busy, httpx.Response(503), GONE, row("queued"))
    assert said["status"] == "queued"
    assert [step.seconds for step in made if isinstance(step, Pause)] == [7, 2, 2]


@pytest.mark.parametrize(
    ("answer", "words"), [(GONE, "http://h cannot be reached: gone"), (httpx.Response(503), "Service Unavailable")]
)
def test_patience_ends(answer: httpx.Response | httpx.RequestError, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        walked(asking_patiently(LOOK), answer)


def test_nothing_is_submitted_twice() -> None:
    with pytest.raises(ClientError, match="cannot be reached"):
        walked(submitting("http://h/v.mp4", Options()), GONE)
    _, (ask,) = walked(
        submitting("http://h/v.mp4", Options(max_frames=2)),
        httpx.Response(200, json={"generations": [{"generation_id": "1", "status": "queued"}]}),
    )
    assert isinstance(ask, Ask)
    assert ask.body == {"model": "bytedance-depth-anything-video", "max_frames": 2, "video_url": "http://h/v.mp4"}


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (400, '{"error":{"type":"t","title":"a title","detail":"the detail"},"status":"error"}', "the detail"),
        (404, '{"error":{"message":"Model not found: x"}}', "Model not found: x"),
        (500, '{"error":{"type":"unknown_error"}}', "unknown_error"),
        (502, "<html>", "Bad Gateway"),
        (418, "[]", "I'm a teapot"),
        (200, "<html>", "is its address right"),
        (200, "[]", "is its address right"),
    ],
)
def test_refusals_are_read_in_both_forms(status: int, text: str, words: str) -> None:
    with pytest.raises(ClientError, match=words):
        answer_of(httpx.Response(status, text=text))


@pytest.mark.parametrize(
    "said", [{}, {"generation_id": 1, "status": "queued"}, {"generation_id": "1", "status": "odd"}]
)
def test_rows_that_mean_nothing_fail(said: dict[str, object]) -> None:
    with pytest.raises(ClientError):
        Generation.read(said)


def test_the_key_goes_to_the_service_alone() -> None:
    base = base_of("https://depth.example/below/")
    own = place_of(base, "/api/events")
    assert str(own) == "https://depth.example/below/api/events"
    assert headers_for(own, base, KEY) == {"Authorization": f"Bearer {KEY}"}
    for other in ("https://other.example/x", "http://depth.example/x", "https://depth.example:444/x"):
        assert headers_for(httpx.URL(other), base, KEY) == {}


def test_a_form_says_what_json_says(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"x")
    options = Options(side_by_side=True, include_raw_depths=False, max_frames=3, output_fps=12.5).fields()
    with content_of(Ask("POST", "/", options, upload=tmp_path / "v.mp4")) as content:
        assert content["data"] == {
            "max_frames": "3",
            "output_fps": "12.5",
            "side_by_side": "true",
            "include_raw_depths": "false",
        }


def test_events_are_read_from_their_lines() -> None:
    ended = '{"generation_id":"1","status":"succeeded","media_type":"video","model":"m","url":"u"}'
    progress = '{"generation_id":"1","status":"processing","phase":"estimating","progress":0.5,"eta_seconds":3}'
    lines = [
        *(": keep-alive", "", "event: media_generation_progress", f"data: {progress}", ""),
        *("event: deployment", "data: x", "", "event: media_generation_completed", f"data:{ended}", ""),
        *("id: 3", "event: media_generation_completed", f"data: {ended}", "", "data: alone", ""),
    ]
    reader = EventReader()
    assert [event for line in lines if (event := reader.feed(line)) is not None] == [
        Advanced("1", "estimating", 0.5, 3),
        Ended("1", State.SUCCEEDED, "u", None, None),
    ]
    reader.feed("event: media_generation_completed")
    reader.restart()
    assert reader.feed("") is None

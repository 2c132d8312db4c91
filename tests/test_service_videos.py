"""Odd videos through the service: every job ends, with depth or with a sentence, and the service lives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from depthcast import Client, Generation, Options
from depthcast.client import State
from depthcast.client.values import MODEL
from depthcast.service.app import create_app
from depthcast.service.hosted import jobs_router
from depthcast.service.server import serving
from tests.odd_videos import EITHER, REFUSED, TAKEN, Odd, damaged
from tests.served import DEADLINE_S, files_served, settings
from tests.tiny import make_clip

OPTIONS = Options(max_frames=2, include_raw_depths=True)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(create_app(jobs_router(settings(tmp_path_factory.mktemp("service")))), "127.0.0.1", 0) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def assert_says_why(failed: Generation) -> None:
    said = failed.error or ""
    assert failed.state is State.FAILED
    assert 20 < len(said) < 300, said
    assert "\n" not in said
    assert "/" not in said, said
    assert not [word for word in ("rrno", "Traceback", "Unknown", "its log says") if word in said], said


@pytest.mark.slow
def test_every_odd_video_ends_in_depth_or_in_a_sentence(client: Client, tmp_path: Path) -> None:
    made = {name: _file(tmp_path, odd) for name, odd in (REFUSED | TAKEN | EITHER).items()}
    made |= {f"{suffix} {seed}": _damaged(tmp_path, suffix, seed) for suffix in (".mp4", ".ts") for seed in range(4)}
    queued = {name: client.submit(path, OPTIONS).id for name, path in made.items()}
    ended = {name: client.wait(generation_id, timeout_s=2 * DEADLINE_S) for name, generation_id in queued.items()}
    for name, generation in ended.items():
        if generation.state is not State.SUCCEEDED:
            assert_says_why(generation)
        assert name not in REFUSED or generation.state is State.FAILED, name
        assert name not in TAKEN or generation.state is State.SUCCEEDED, (name, generation.error)
    last = client.wait(client.submit(make_clip(tmp_path / "good.mp4", 3), OPTIONS).id, timeout_s=DEADLINE_S)
    assert last.state is State.SUCCEEDED


def _file(folder: Path, odd: Odd) -> Path:
    place = folder / str(len(list(folder.iterdir())))
    place.mkdir()
    return odd(place)


def _damaged(folder: Path, suffix: str, seed: int) -> Path:
    place = folder / f"{suffix}{seed}"
    place.mkdir()
    return damaged(place, suffix, seed)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("{files}/absent.mp4", "there is nothing at"),
        ("{files}/page.mp4", "a web page"),
        ("http://127.0.0.1:1024/v.mp4", "could not be downloaded"),
        ("http://169.254.169.254/latest", "private, local or reserved"),
        ("http://[::1]/v.mp4", "private, local or reserved"),
        ("http://2130706433/v.mp4", "private, local or reserved"),
        ("file:///etc/passwd", "must begin with https"),
        ("concat:{files}/v.mp4|/etc/passwd", "must begin with https"),
        ("{files}", "a web page"),
    ],
)
def test_addresses_that_give_no_video_are_told_why(address: str, words: str, url: str, tmp_path: Path) -> None:
    (tmp_path / "page.mp4").write_text("<!doctype html><title>no</title>")
    with files_served(tmp_path) as files, Client(url) as client:
        body = {"model": MODEL, "video_url": address.format(files=files)}
        answer = httpx.post(f"{url}/api/ai/queue", json=body).json()
        failed = client.wait(answer["generations"][0]["generation_id"], timeout_s=DEADLINE_S)
    assert words in (failed.error or "")
    assert failed.state is State.FAILED

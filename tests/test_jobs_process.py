"""`depthcast serve` as a process: killed and started again, and asked by the clients that its users have."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from depthcast.service.api.catalog import MODEL
from depthcast.service.jobs.generation import Filter
from depthcast.service.jobs.store import Store
from tests.served import DEADLINE_S, FINAL, files_served, until
from tests.tiny import make_clip

ROOT = Path(__file__).parent.parent
TOOLS = ("curl", "jq", "mawk")
LONGEST_S = 120


@contextmanager
def serve(data: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command with a free port; yields the process and its URL. It is stopped in order at the end."""
    words = (sys.executable, "-m", "depthcast", "serve", "--port", "0", "--data", str(data), "--fallback", "nano")
    more = ("--allow", "127.0.0.1", "--mode", "stream", "--threads", "1", *options)
    process = subprocess.Popen((*words, *more), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = re.fullmatch(r"serving (\S+)\n", line)
            assert url is not None, line
            until(lambda: _is_up(url[1]), bool)
            yield process, url[1]
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.ConnectError:
        return False


@pytest.mark.slow
def test_a_killed_service_loses_no_job_and_ends_none_twice(tmp_path: Path) -> None:
    clips, data = tmp_path / "clips", tmp_path / "data"
    clips.mkdir()
    make_clip(clips / "clip.mp4", frames=6, height=96, width=128)
    with files_served(clips) as files:
        with serve(data) as (process, url):
            body = {"model": MODEL, "video_url": f"{files}/clip.mp4", "num_generations": 4}
            answers = [httpx.post(f"{url}/api/ai/queue", json=body).json() for _ in range(5)]
            ids = {generation["generation_id"] for answer in answers for generation in answer["generations"]}
            done = until(lambda: finished(url), lambda rows: len(rows) >= 3)
            process.kill()
            process.wait(DEADLINE_S)
        with serve(data) as (_, url):
            after = until(lambda: finished(url), lambda rows: len(rows) == 20)
    assert set(after) == ids
    assert {row["status"] for row in after.values()} == {"succeeded"}
    assert {name: after[name]["completed_at"] for name in done} == {name: done[name]["completed_at"] for name in done}
    store = Store(data / "jobs.sqlite")
    attempts = sorted(row.attempts for row in store.matching(Filter("local")))
    store.close()
    assert attempts[:19] == [1] * 19
    assert attempts[19] in (1, 2), "at most the one that ran was begun again"
    assert {path.stem for path in (data / "results").iterdir()} == ids
    assert not list((data / "work").iterdir())


def finished(url: str) -> dict[str, dict[str, object]]:
    """Rows that have ended, by id."""
    rows = httpx.get(f"{url}/api/ai/generations?page_size=100").json()["generations"]
    return {row["generation_id"]: row for row in rows if row["status"] in FINAL}


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URLs of a service and of a web server that has a video under any address."""
    clips = tmp_path_factory.mktemp("clips")
    make_clip(clips / "clip.mp4", frames=4, height=96, width=128)
    with files_served(clips, any_path=True) as files, serve(tmp_path_factory.mktemp("data")) as (_, url):
        yield url, files


def ran(words: Sequence[str], script: str, folder: Path) -> str:
    """What a program prints."""
    for tool in TOOLS:
        if not shutil.which(tool):
            pytest.skip(f"needs {', '.join(TOOLS)}: apt-get install {' '.join(TOOLS)}")
    (folder / "awk").unlink(missing_ok=True)
    (folder / "awk").symlink_to(str(shutil.which("mawk")))
    environment = {**os.environ, "OXEN_API_KEY": "none", "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    finished = subprocess.run(
        words, input=script, capture_output=True, text=True, env=environment, timeout=LONGEST_S, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


LINES = """
id=$(curl -sS "$0/api/ai/queue" -H 'Content-Type: application/json' -d "$1" | jq -r '.generations[0].generation_id')
curl -sN "$0/api/events" | awk -v wanted="\\"generation_id\\":\\"$id\\"" '
  $0 == "event: media_generation_completed" { near = 1; next }
  near && /^data: / { near = 0; if (index($0, wanted)) { print substr($0, 7); exit } }' | jq -r '.status + " " + .url'
"""


def test_a_pipe_of_curl_and_mawk_ends_with_its_event(hosted: tuple[str, str], tmp_path: Path) -> None:
    url, files = hosted
    body = f'{{"model":"{MODEL}","video_url":"{files}/a.mp4"}}'
    said = ran(("bash", "-c", LINES, url, body), "", tmp_path)
    assert said.startswith("succeeded http://127.0.0.1:")


def test_reading_events_by_lines_with_requests_ends_too(hosted: tuple[str, str]) -> None:
    url, files = hosted
    script = f"""
import json, requests
body = {{"model": "{MODEL}", "video_url": "{files}/a.mp4"}}
name = requests.post("{url}/api/ai/queue", json=body).json()["generations"][0]["generation_id"]
with requests.get("{url}/api/events", stream=True) as stream:
    for line in stream.iter_lines(decode_unicode=True):
        if line.startswith("data: ") and name in line and "succeeded" in line:
            print(json.loads(line[6:])["generation_id"] == name)
            break
"""
    done = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, text=True, timeout=LONGEST_S, check=False
    )
    assert done.stdout == "True\n", done.stderr


@pytest.fixture(scope="session")
def samples(real_clips: Path) -> list[tuple[str, str]]:
    """(language, text) of each client sample of the hosted model's page, which is not part of the repository."""
    page = real_clips.parent / "seeds" / "depth-anything-video-api.txt"
    if not page.is_file():
        pytest.skip("needs the page of client samples beside the real clips")
    found = re.findall(
        r"^( *)```(bash cURL|python Python) [^\n]*\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [(kind.split()[0], re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in found]


@pytest.mark.slow
def test_the_samples_of_the_hosted_page_run_with_only_the_host_changed(
    hosted: tuple[str, str], samples: list[tuple[str, str]], tmp_path: Path
) -> None:
    url, files = hosted
    assert len(samples) == 12

    def run(numbered: tuple[int, tuple[str, str]]) -> str:
        number, (language, text) = numbered
        text = text.replace("https://hub.oxen.ai/api/repos/", f"{files}/api/repos/").replace("https://hub.oxen.ai", url)
        assert "oxen.ai" not in text
        folder = tmp_path / str(number)
        folder.mkdir()
        if language == "bash":
            return ran(("bash",), text, folder)
        # Python has no `false`: a name for it is all that the samples with all parameters lack.
        return ran((sys.executable, "-"), f"false = False\n{text}", folder)

    with ThreadPoolExecutor(len(samples)) as clients:
        said = list(clients.map(run, enumerate(samples)))
    for (language, _), words in zip(samples, said, strict=True):
        assert re.search(r"http://127\.0\.0\.1:\d+/api/repos/local/generations/file/[0-9a-f-]+\.mp4", words), (
            language,
            words,
        )


def test_stopping_ends_listeners_at_once(tmp_path: Path) -> None:
    with serve(tmp_path) as (process, url), httpx.stream("GET", f"{url}/api/events", timeout=DEADLINE_S) as stream:
        told = iter(stream.iter_raw())
        assert next(told) == b": keep-alive\n\n"
        timer = threading.Timer(DEADLINE_S, process.kill)
        timer.start()
        process.terminate()
        assert not b"".join(told)
        assert process.wait(DEADLINE_S) == 0
        timer.cancel()

"""`depthcast serve`: what options and the environment become, and who is let in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from depthcast.cli import status_of
from depthcast.commands.serve import Fallback, ServeOptions, application, settings_of
from depthcast.errors import UsageError
from depthcast.plan import Mode
from depthcast.service.addresses import Allowed
from depthcast.service.api.catalog import MODEL
from depthcast.service.jobs.folders import Folders
from depthcast.service.jobs.store import Store
from depthcast.service.keys import read_keys, write_keys
from depthcast.service.server import serving
from depthcast.settings import Settings
from tests.served import Service, files_served, service, settings
from tests.tiny import make_clip

ANN, BOB = "dc-" + "a" * 43, "dc-" + "b" * 43
REFUSED = (
    b'{"error":{"type":"unauthenticated",'
    b'"title":"Authentication is required: send a valid API key as a Bearer token."},'
    b'"status":"error","status_message":"unauthenticated"}'
)


def test_options_become_settings_in_their_units(tmp_path: Path) -> None:
    asked = ServeOptions(
        max_mb=1.5, max_minutes=2, keep_days=0.5, disk_gb=3, link_hours=2, job_hours=0.5, fallback=Fallback.NANO,
        allow=["media.lan", "10.0.0.0/8"], data=tmp_path, jobs=2, mode=Mode.STREAM,
    )  # fmt: skip
    made = settings_of(asked, Settings(tmp_path / "home"))
    assert (made.data, made.jobs, made.mode, made.fallback) == (tmp_path, 2, Mode.STREAM, True)
    assert (made.max_upload_bytes, made.fetch.max_bytes) == (1_500_000, 1_500_000)
    assert made.video.max_duration_s == 120
    assert (made.keep_s, made.link_s, made.max_job_s, made.disk_bytes) == (43200, 7200, 1800, 3 * 10**9)
    assert made.fetch.allow == Allowed.of(["media.lan", "10.0.0.0/8"])


def test_without_options_nothing_private_is_fetched_and_no_other_model_runs(tmp_path: Path) -> None:
    made = settings_of(ServeOptions(), Settings(tmp_path))
    assert made.data == tmp_path / "service"
    assert not made.fallback
    assert made.fetch.allow == Allowed()
    assert ServeOptions().host == "127.0.0.1"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DEPTHCAST_SERVE_PORT", "70000", "--port"),
        ("DEPTHCAST_SERVE_JOBS", "none", "--jobs"),
        ("DEPTHCAST_SERVE_ALLOW", "media.lan 2130706433", "'2130706433' is neither a host nor a network"),
        ("DEPTHCAST_SERVE_HOST", "0.0.0.0", "make a key (`depthcast keys add NAME`) or say --no-auth"),
        ("DEPTHCAST_SERVE_FALLBACK", "other", "--fallback"),
    ],
)
def test_a_variable_stands_for_its_option(
    variable: str,
    value: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    monkeypatch.setenv(variable, value)
    assert status_of(["serve"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", ""])
def test_others_are_let_in_only_with_a_key_or_when_that_is_said(host: str, tmp_path: Path) -> None:
    asked, own = ServeOptions(host=host), Settings(tmp_path)
    with pytest.raises(UsageError, match="--no-auth"):
        application(asked, settings(tmp_path), own)
    assert application(replace(asked, no_auth=True), settings(tmp_path), own)
    assert application(asked, settings(tmp_path), replace(own, api_key="k" * 32))


def test_a_folder_in_use_or_useless_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    store = Store(Folders(tmp_path / "service").database)
    assert status_of(["serve", "--port", "0"]) == 2
    assert "is used by another depthcast: give --data another folder" in capsys.readouterr().err
    store.close()
    (tmp_path / "file").touch()
    assert status_of(["serve", "--port", "0", "--data", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Service]:
    """A service that knows two keys; its client brings the first."""
    own = Settings(tmp_path / "home")
    write_keys(own.keys, read_keys(own.keys).with_key("ann", ANN).with_key("bob", BOB))
    app = application(ServeOptions(), settings(tmp_path / "data"), own)
    with serving(app, "127.0.0.1", 0) as url, httpx.Client(base_url=url, headers=bearer(ANN), timeout=60) as http:
        yield Service(app, http)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_without_a_key_only_models_and_health_answer(guarded: Service) -> None:
    for method, path in (
        ("GET", "/api/ai/queue"),
        ("POST", "/api/ai/queue"),
        ("POST", "/api/ai/videos/generate"),
        ("GET", "/api/ai/queue/x"),
        ("DELETE", "/api/ai/queue/x"),
        ("GET", "/api/events"),
        ("GET", "/api/ai/generations"),
    ):
        for headers in ({}, bearer("dc-" + "c" * 43)):
            answer = httpx.request(method, f"{guarded.http.base_url}{path}", headers=headers)
            assert (answer.status_code, answer.content) == (401, REFUSED), path
    for path in ("/api/ai/models", f"/api/ai/models/{MODEL}", "/healthz", "/readyz"):
        assert httpx.get(f"{guarded.http.base_url}{path}").status_code == 200


def test_a_client_sees_its_own_jobs_and_results_only(guarded: Service, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    make_clip(clips / "clip.mp4", frames=2, height=96, width=128)
    with files_served(clips) as files:
        row = guarded.ended(guarded.enqueue(video_url=f"{files}/clip.mp4")[0])
    assert (row["status"], row["target_namespace"]) == ("succeeded", "ann")
    url = row["result_url"]
    assert "/api/repos/ann/generations/file/" in url
    unsigned = url.partition("?")[0]
    assert httpx.get(url).status_code == 200, "with its signature"
    assert httpx.get(unsigned, headers=bearer(ANN)).status_code == 200, "with its key"
    assert httpx.get(unsigned, headers=bearer(BOB)).status_code == 404
    assert httpx.get(unsigned).status_code == 404
    assert httpx.get(url.replace("sig=", "sig=0")).status_code == 404
    with httpx.Client(base_url=guarded.http.base_url, headers=bearer(BOB)) as bob:
        assert bob.get(f"/api/ai/queue/{row['generation_id']}").status_code == 404
        assert bob.delete(f"/api/ai/queue/{row['generation_id']}").status_code == 404
        assert bob.get(f"/api/ai/generations/{row['generation_id']}").status_code == 404
        assert bob.get("/api/ai/generations").json()["total_entries"] == 0
        assert bob.get("/api/ai/generations?namespace=ann").json()["total_entries"] == 0
        with bob.stream("GET", "/api/events") as stream:
            assert next(stream.iter_raw()) == b": keep-alive\n\n"


def test_addresses_begin_with_what_clients_reach_the_service_by(tmp_path: Path) -> None:

    clips = tmp_path / "clips"
    clips.mkdir()
    make_clip(clips / "clip.mp4", frames=2, height=96, width=128)
    wanted = settings(tmp_path / "data", public_url="https://depth.example/")
    with files_served(clips) as files, service(wanted) as here:
        row = here.ended(here.enqueue(video_url=f"{files}/clip.mp4")[0])
    assert row["result_url"].startswith("https://depth.example/api/repos/local/generations/file/")

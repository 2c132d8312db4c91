"""What happens to jobs while they wait and run: limits, cancelling, restarts, room on disk, live streams."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import httpx
import numpy as np
import pytest

from depthcast.service.api.catalog import MODEL
from depthcast.service.jobs.folders import Folders
from depthcast.service.jobs.generation import Filter, Status, Target
from depthcast.service.jobs.signing import is_valid, sign
from depthcast.service.jobs.store import Store
from depthcast.service.jobs.words import without_paths
from depthcast.service.jobs.worker import Courtesy
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.pipeline import OverFrames
from stream.sources.synthetic import SyntheticSource
from tests.fakes import FakeSession
from tests.served import Service, files_served, service, settings, until
from tests.test_jobs_store import generation
from tests.tiny import make_clip


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "short.mp4", frames=4, height=96, width=128)
    make_clip(folder / "long.mp4", frames=3000, height=96, width=128)
    with files_served(folder) as url:
        yield url


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def worker_of(here: Service, generation_id: str) -> int:
    """The process that works on a job, once it does."""
    here.until(generation_id, lambda row: row.get("phase") == "estimating" or row["status"] == "failed")
    (pid,) = (worker.pid for worker in here.jobs.workers)
    assert pid is not None
    return pid


def test_cancelling_ends_the_work(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path)) as here:
        (running,), (waiting,) = (
            here.enqueue(video_url=f"{clips}/long.mp4"),
            here.enqueue(video_url=f"{clips}/short.mp4"),
        )
        pid = worker_of(here, running)
        here.http.delete(f"/api/ai/queue/{running}")
        assert here.get(running)["status"] == "cancelled"
        until(lambda: is_running(pid), lambda running: not running)
        assert not here.jobs.folders.video(running).exists()
        row = here.get(running)
        assert (row["result_url"], row["error_message"]) == (None, None)
        assert row["completed_at"] is not None
        assert here.ended(waiting)["status"] == "succeeded", "the next one is worked on"
        until(lambda: list((tmp_path / "work").iterdir()), lambda left: not left)


def test_a_client_that_hangs_up_cancels_what_it_waited_for(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path)) as here:
        body = {"model": MODEL, "video_url": f"{clips}/long.mp4"}
        with pytest.raises(httpx.ReadTimeout):
            here.http.post("/api/ai/videos/generate", json=body, timeout=0.5)
        (row,) = here.http.get("/api/ai/generations").json()["generations"]
        assert here.ended(row["generation_id"])["status"] == "cancelled"


def test_a_full_queue_says_when_to_come_again(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, max_queued_per_key=3)) as here:
        ids = here.enqueue(video_url=f"{clips}/long.mp4", num_generations=3)
        body = {"model": MODEL, "video_url": f"{clips}/short.mp4"}
        refused = here.http.post("/api/ai/queue", json=body)
        assert refused.status_code == 429
        assert refused.json()["error"]["type"] == refused.json()["status_message"] == "rate_limit_exceeded"
        assert 1 <= int(refused.headers["Retry-After"]) <= 3600
        with_file = here.http.post("/api/ai/queue", data={"model": MODEL}, files={"video": b"x"})
        assert with_file.status_code == 429
        assert not list((tmp_path / "inputs").iterdir()), "the file is not kept"
        here.http.delete(f"/api/ai/queue/{ids[2]}")
        assert here.http.post("/api/ai/queue", json=body).status_code == 200


def test_work_that_takes_too_long_is_ended(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, max_job_s=0.2)) as here:
        row = here.ended(here.enqueue(video_url=f"{clips}/long.mp4")[0])
        assert row["error_message"] == "the work on this video took longer than 0.2 s"


def test_results_that_would_not_fit_are_not_begun(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, disk_bytes=1_000_000)) as here:
        row = here.ended(here.enqueue(video_url=f"{clips}/long.mp4", include_raw_depths=True)[0])
        assert "no room for the raw depth" in row["error_message"]
        assert here.ended(here.enqueue(video_url=f"{clips}/short.mp4")[0])["status"] == "succeeded"


def test_a_service_without_room_says_so(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, disk_bytes=1)) as here:
        assert here.http.get("/readyz").status_code == 503
        row = here.ended(here.enqueue(video_url=f"{clips}/short.mp4")[0])
        assert row["error_message"] == "the service has no room for results at present; try again later"


def test_without_leave_for_another_model_the_command_to_run_is_said(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, fallback=False)) as here:
        row = here.ended(here.enqueue(video_url=f"{clips}/short.mp4")[0])
        assert row["status"] == "failed"
        words = "VDA-Large cannot run on this service yet: first `depthcast pull VDA-Large --accept-licence`"
        assert row["error_message"].startswith(words)


def test_what_waited_and_ran_when_a_service_stopped_is_done_by_the_next(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, grace_s=0.1)) as here:
        (running,) = here.enqueue(video_url=f"{clips}/long.mp4", max_frames=120)
        (waiting,) = here.enqueue(video_url=f"{clips}/short.mp4")
        pid = worker_of(here, running)
    assert not is_running(pid)
    store = Store(tmp_path / "jobs.sqlite")
    assert [found.id for found in store.matching(Filter("local", statuses=(Status.QUEUED,)))] == [waiting, running]
    assert {found.attempts for found in store.matching(Filter("local"))} == {0}, "an orderly stop is no attempt"
    store.close()
    with service(settings(tmp_path)) as here:
        assert here.ended(running)["status"] == here.ended(waiting)["status"] == "succeeded"


def test_running_work_is_given_its_grace(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, grace_s=30.0)) as here:
        (running,) = here.enqueue(video_url=f"{clips}/long.mp4", max_frames=60)
        worker_of(here, running)
    store = Store(tmp_path / "jobs.sqlite")
    (row,) = store.matching(Filter("local"))
    assert row.status is Status.SUCCEEDED
    store.close()


def test_a_worker_that_dies_ends_its_job_and_not_the_service(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path)) as here:
        (running,) = here.enqueue(video_url=f"{clips}/long.mp4")
        os.kill(worker_of(here, running), 11)
        assert "ended by signal SIGSEGV" in here.ended(running)["error_message"]
        assert here.ended(here.enqueue(video_url=f"{clips}/short.mp4")[0])["status"] == "succeeded"


def test_an_address_expires_and_a_new_one_is_given(clips: str, tmp_path: Path) -> None:
    with service(settings(tmp_path, link_s=-1)) as here:
        url = here.ended(here.enqueue(video_url=f"{clips}/short.mp4")[0])["result_url"]
        name = re.search(r"file/([^?]+)\?exp=(\d+)&sig=(\w+)", url)
        assert name is not None
        assert not is_valid(here.jobs.secret, name[1], name[2], name[3], time.time())
        assert is_valid(here.jobs.secret, name[1], name[2], name[3], int(name[2]) - 1)


@pytest.mark.parametrize(
    ("name", "expires", "signature"),
    [
        ("b.mp4", "100", None),
        ("a.mp4", "101", None),
        ("a.mp4", "100", "0" * 64),
        ("a.mp4", "100", "é"),
        ("a.mp4", "", None),
        ("a.mp4", "1e2", None),
        ("a.mp4", "9" * 5000, None),
    ],
)
def test_a_signature_is_good_for_one_file_and_time(name: str, expires: str, signature: str | None) -> None:
    good = sign(b"secret", "a.mp4", 100)
    assert is_valid(b"secret", "a.mp4", "100", good, 99)
    assert not is_valid(b"secret", "a.mp4", "100", good, 100)
    assert not is_valid(b"other", "a.mp4", "100", good, 99)
    assert not is_valid(b"secret", name, expires, signature or good, 99)


def test_results_go_when_they_are_old_and_the_oldest_when_they_are_too_many(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    for age, name in enumerate("abcd"):
        folders.video(name).write_bytes(b"x" * 100)
        os.utime(folders.video(name), (1000 - age, 1000 - age))
    assert folders.expire(before=998, most_bytes=250) == 200
    assert [name for name in "abcd" if folders.video(name).exists()] == ["a", "b"]


def test_what_belongs_to_no_row_is_swept_away(tmp_path: Path) -> None:
    folders = Folders(tmp_path)
    for name in ("known", "unknown"):
        folders.video(name).touch()
        folders.input(name).touch()
        folders.begin(name, uploaded=True)
    folders.new_upload().touch()
    folders.sweep({"known"}, {"known"})
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["inputs/known", "results/known.mp4"]


def test_the_secret_outlives_a_restart_and_is_for_its_owner_only(tmp_path: Path) -> None:
    assert Folders(tmp_path).secret() == Folders(tmp_path).secret()
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("cannot write {data}/jobs/1/raw.npz: no space", "cannot write raw.npz: no space"),
        (
            "there is no checkpoint at {home}/.cache/x.pth; first `depthcast pull`",
            "there is no checkpoint at x.pth; first `depthcast pull`",
        ),
        ("nothing to hide in a/b and /", "nothing to hide in a/b and /"),
    ],
)
def test_messages_say_no_place_of_this_machine(message: str, said: str, tmp_path: Path) -> None:
    assert without_paths(message.format(data=tmp_path, home=Path.home()), tmp_path) == said


def paced(courtesy: Courtesy) -> threading.Thread:
    """Somebody in a pause of a minute's work."""
    thread = threading.Thread(target=courtesy.pause, args=(60.0,))
    thread.start()
    return thread


def test_work_pauses_only_while_somebody_watches_live() -> None:
    courtesy = Courtesy(0.25)
    courtesy.pause(60.0)
    courtesy.set_live(True)
    thread = paced(courtesy)
    assert thread.is_alive()
    courtesy.set_live(False)
    thread.join(5)
    assert not thread.is_alive(), "a pause ends with the last live stream"


def test_a_shared_estimate_gives_the_same_frames() -> None:
    class Noted(Courtesy):
        pauses = 0

        def pause(self, worked_s: float) -> None:
            assert worked_s >= 0
            self.pauses += 1

    frames = list(SyntheticSource(48, 64, Fraction(10), frames=5))
    plain = [DepthEstimator(FakeSession()).step(frame).depth for frame in frames[:1]]
    noted = Noted(0.5)
    step = noted.shared(DepthEstimator(FakeSession()).step)
    assert not isinstance(step, OverFrames)
    assert np.array_equal(step(frames[0]).depth, plain[0])

    def apply(given: Iterator[Frame]) -> Iterator[DepthFrame]:
        return map(DepthEstimator(FakeSession()).step, given)

    over = noted.shared(OverFrames(apply))  # type: ignore[arg-type]
    assert isinstance(over, OverFrames)
    assert [depth.frame.index for depth in over.apply(frames)] == [0, 1, 2, 3, 4]
    assert noted.pauses == 6


def test_uploads_are_kept_for_a_second_attempt(clips: str, tmp_path: Path) -> None:
    sent = httpx.get(f"{clips}/short.mp4").content
    folders = Folders(tmp_path)
    folders.input("a").write_bytes(sent)
    store = Store(folders.database)
    store.add([replace(generation("a", "local"), uploaded=True, target=Target("local"), parameters={"max_frames": 1})])
    store.claim(1)
    store.close()
    with service(settings(tmp_path)) as here:
        assert here.ended("a")["status"] == "succeeded"

"""Downloads against a server on this machine that misbehaves in the ways real ones do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from depthcast.cli import status_of
from depthcast.download import Expected, Retry, download
from depthcast.errors import LicenceError, PullError, UsageError
from depthcast.models import Model, Weights, find
from depthcast.pull import check_licence, notice, pull
from depthcast.settings import Settings
from engines.spec import Unit

CONTENT = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WHOLE = Expected(len(CONTENT), DIGEST)


@dataclass
class Hub:
    """A server of one file and what it does wrong.

    cut: bytes after which each answer's connection is closed; None: never.
    failing: how many answers are 503 before the first good one.
    """

    content: bytes = CONTENT
    ranges: bool = True
    cut: int | None = None
    failing: int = 0
    redirect: bool = False
    announced: dict[str, str] = field(default_factory=dict)
    url: str = ""
    asked: list[str | None] = field(default_factory=list)


class _Answers(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        if hub.redirect and not self.path.endswith("?cdn"):
            self._head(302, {"Location": f"{hub.url}{self.path}?cdn", "Content-Length": "0", **hub.announced})
            return
        hub.asked.append(self.headers.get("Range"))
        if hub.failing:
            hub.failing -= 1
            self._head(503, {"Content-Length": "0"})
        elif not self.path.removesuffix("?cdn").endswith(".pth"):
            self._head(404, {"Content-Length": "0"})
        else:
            self._send()

    def _send(self) -> None:
        hub, size = self.hub, len(self.hub.content)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1]) if hub.ranges else 0
        if start >= size:
            self._head(416, {"Content-Length": "0", "Content-Range": f"bytes */{size}"})
            return
        body = hub.content[start:]
        partial = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
        self._head(206 if start else 200, {"Content-Length": str(len(body)), **partial})
        self.wfile.write(body[: hub.cut])
        self.close_connection = True

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    served = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (_Answers,), {"hub": served}))
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


class Pauses(list[float]):
    """Stands for sleeping, and remembers."""

    def retry(self, attempts: int = 3) -> Retry:
        return Retry(attempts, 1.0, self.append)


def test_whole_file_is_fetched_with_progress(hub: Hub, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "deep" / "a.pth"
    download(f"{hub.url}/a.pth", target, WHOLE, lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in target.parent.iterdir()] == ["a.pth"]


def test_broken_connection_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.cut = 400_000
    pauses = Pauses()
    download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE, retry=pauses.retry())
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert hub.asked == [None, "bytes=400000-", "bytes=800000-"]
    assert pauses == [1.0, 1.0]


def test_next_call_resumes_what_an_earlier_one_left(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(CONTENT[:1000])
    download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT
    assert hub.asked == ["bytes=1000-"]


def test_complete_part_needs_no_request(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(CONTENT)
    download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE)
    assert hub.asked == []
    assert (tmp_path / "a.pth").exists()


def test_server_without_ranges_starts_over(hub: Hub, tmp_path: Path) -> None:
    hub.ranges = False
    (tmp_path / "a.pth.part").write_bytes(b"x" * 1000)
    download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE)
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_part_longer_than_the_file_starts_over(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(CONTENT + b"x")
    download(f"{hub.url}/a.pth", tmp_path / "a.pth", Expected(None, DIGEST), retry=Pauses().retry())
    assert (tmp_path / "a.pth").read_bytes() == CONTENT


def test_busy_server_is_asked_again_with_growing_pauses(hub: Hub, tmp_path: Path) -> None:
    hub.failing = 3
    pauses = Pauses()
    download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE, retry=pauses.retry(5))
    assert pauses == [1.0, 2.0, 4.0]


def test_busy_server_is_given_up_fails(hub: Hub, tmp_path: Path) -> None:
    hub.failing = 9
    with pytest.raises(PullError, match=r"503.*goes on where it stopped"):
        download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE, retry=Pauses().retry())
    assert len(hub.asked) == 3
    assert not (tmp_path / "a.pth").exists()


def test_no_server_fails(tmp_path: Path) -> None:
    with pytest.raises(PullError, match="could not be read"):
        download("http://127.0.0.1:9/a.pth", tmp_path / "a.pth", WHOLE, retry=Pauses().retry())


def test_absent_file_fails_at_once(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="no file at"):
        download(f"{hub.url}/a.txt", tmp_path / "a.pth", WHOLE)
    assert len(hub.asked) == 1


def test_corrupt_file_is_discarded_fails(hub: Hub, tmp_path: Path) -> None:
    hub.content = b"!" + CONTENT[1:]
    with pytest.raises(PullError, match="sha256"):
        download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE)
    assert list(tmp_path.iterdir()) == []


def test_other_size_is_discarded_fails(hub: Hub, tmp_path: Path) -> None:
    hub.content = CONTENT[:-1]
    with pytest.raises(PullError, match="bytes instead of"):
        download(f"{hub.url}/a.pth", tmp_path / "a.pth", WHOLE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("honest", [True, False])
def test_what_the_hub_announces_is_checked(hub: Hub, tmp_path: Path, honest: bool) -> None:
    digest = DIGEST if honest else "0" * 64
    hub.redirect = True
    hub.announced = {"X-Linked-Size": str(len(CONTENT)), "X-Linked-ETag": f'"{digest}"'}
    if honest:
        download(f"{hub.url}/a.pth", tmp_path / "a.pth", Expected())
        assert (tmp_path / "a.pth").read_bytes() == CONTENT
    else:
        with pytest.raises(PullError, match="sha256"):
            download(f"{hub.url}/a.pth", tmp_path / "a.pth", Expected())


def _model(commercial: bool) -> Model:
    weights = Weights("someone/model", "a.pth", len(CONTENT), DIGEST)
    licence = "Apache-2.0" if commercial else "CC-BY-NC-4.0"
    return Model("VDA-Base", Unit.RELATIVE, licence, commercial, 1, weights)


def test_pull_puts_weights_in_place_once(hub: Hub, tmp_path: Path) -> None:
    settings = Settings(tmp_path, hub.url)
    for _ in range(2):
        path = pull(_model(True), settings)
        assert path == tmp_path / "checkpoints" / "a.pth"
        assert path.read_bytes() == CONTENT
    assert len(hub.asked) == 1


def test_non_commercial_weights_need_a_yes() -> None:
    asked: list[str] = []

    def answer(text: str) -> bool:
        asked.append(text)
        return len(asked) > 1

    with pytest.raises(LicenceError, match="--accept-licence"):
        check_licence(_model(False), answer)
    check_licence(_model(False), answer)
    assert asked == [notice(_model(False))] * 2
    assert "not be used commercially" in asked[0]
    check_licence(_model(True), lambda _text: False)


def test_pull_of_the_packaged_model_fails(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="comes with depthcast"):
        pull(find("nano"), Settings(tmp_path))


def test_pull_command_prints_where_the_weights_are(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    monkeypatch.setenv("DEPTHCAST_HUB", hub.url)
    assert status_of(["pull", "VDA-Base", "--accept-licence"]) == 0
    said = capsys.readouterr()
    path = tmp_path / "checkpoints" / "video_depth_anything_vitb.pth"
    assert Path(said.out.strip()) == path
    assert path.read_bytes() == CONTENT
    assert "CC-BY-NC-4.0" in said.err

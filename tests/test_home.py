"""The folder of models where there is none, or where it cannot be used: one sentence that says what to set."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from depthcast import open_model
from depthcast.cli import status_of
from depthcast.errors import UsageError
from depthcast.service.jobs.words import without_paths
from depthcast.settings import Settings
from tests.tiny import tiny_network


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A numeric user of a container, of whom the system knows nothing."""

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "DEPTHCAST_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("sys.platform", "linux")


@pytest.fixture
def unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that nobody can make, not even root."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "file" / "home"))
    return tmp_path / "file" / "home"


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_runs_what_needs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Settings.from_environment().home == Path("/.cache/depthcast")
    words = ["run", "test:?size=64x48&frames=3&realtime=0", "--checkpoint", str(tiny_network(tmp_path))]
    assert status_of([*words, "-o", str(tmp_path / "a.mkv")]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert without_paths("/srv/data/x/video.mp4 is damaged", Path("/srv/data")) == "video.mp4 is damaged"


@pytest.mark.parametrize(("variables", "home"), [
    ({"DEPTHCAST_HOME": "here"}, Path.cwd() / "here"),
    ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, Path("/home/me/.cache/depthcast")),
    ({"XDG_CACHE_HOME": "/cache", "HOME": "/home/me"}, Path("/cache/depthcast")),
    ({"HOME": "/"}, Path("/.cache/depthcast")),
])  # fmt: skip
@pytest.mark.usefixtures("homeless")
def test_where_it_is(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], home: Path) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment().home == home


def test_a_user_that_is_unknown_is_refused() -> None:
    with pytest.raises(UsageError, match="DEPTHCAST_HOME is ~nobody-here/x"):
        Settings.from_environment({"DEPTHCAST_HOME": "~nobody-here/x"})


@pytest.mark.parametrize("words", [["pull", "VDA-Small"], ["serve", "--port", "0", "--no-auth"], ["keys", "add", "me"]])
def test_every_command_says_what_to_set(unusable: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(words) != 0
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Not a directory" in said
    assert "DEPTHCAST_HOME" in said
    assert str(unusable) in said


def test_an_export_says_what_to_set(
    unusable: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_wanted: object, _checkpoint: Path, network: Path, *_: object) -> None:
        network.parent.mkdir(parents=True)

    monkeypatch.setattr("depthcast.exports.export_network", fails)
    (tmp_path / "weights.pth").touch()
    assert status_of(["export", "VDA-Small", "--checkpoint", str(tmp_path / "weights.pth"), "--size", "28x28"]) == 2
    said = capsys.readouterr().err
    assert f"kept in {unusable}: set DEPTHCAST_HOME" in said


def test_doctor_says_that_it_cannot_be_used(unusable: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["doctor"]) == 0
    assert f"{unusable}: cannot be written to, set DEPTHCAST_HOME" in capsys.readouterr().out


def test_programs_are_told_the_same(monkeypatch: pytest.MonkeyPatch, unusable: Path) -> None:
    def fails(*_: object) -> None:
        unusable.mkdir(parents=True)

    monkeypatch.setattr("depthcast.networks.open_step", fails)
    with pytest.raises(UsageError, match="set DEPTHCAST_HOME"):
        open_model(48, 64)

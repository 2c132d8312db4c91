"""Keys of a service: made, kept as hashes, and heeded while it runs, whatever becomes of their file."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from depthcast.cli import status_of
from depthcast.errors import UsageError
from depthcast.service.keys import Key, KeyRing, Keys, digest_of, new_key, read_keys, write_keys
from depthcast.service.security import protection_for
from tests.test_security import CHANGES, FREE, KEY, KEYS, Service


def test_keys_are_made_listed_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    assert status_of(["keys", "add", "ann"]) == 0
    key = capsys.readouterr().out.strip()
    kept = (tmp_path / "keys").read_text()
    assert key not in kept
    assert read_keys(tmp_path / "keys").name_of(key) == "ann"
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    assert status_of(["keys", "add", "ann"]) == 2
    assert status_of(["keys", "add", "a b"]) == 2
    assert status_of(["keys", "remove", "bo"]) == 2
    assert status_of(["keys", "list"]) == 0
    assert capsys.readouterr().out == "ann\n"
    assert status_of(["keys", "remove", "ann"]) == 0
    assert read_keys(tmp_path / "keys") == Keys()


def test_a_key_that_is_added_while_a_service_runs_is_asked_for_at_once(tmp_path: Path) -> None:
    path, other = tmp_path / "keys", new_key()
    service = Service(replace(protection_for("127.0.0.1", KeyRing(path)), rates=FREE))
    assert service.ask().status_code == 200
    write_keys(path, KEYS)
    assert [service.ask(key=key).status_code for key in (None, other, KEY)] == [401, 401, 200]
    write_keys(path, KEYS.with_key("cy", other))
    assert [service.ask(key=key).status_code for key in (None, other, KEY)] == [401, 200, 200]
    write_keys(path, KEYS.without("ann"))
    assert [service.ask(key=key).status_code for key in (None, other, KEY)] == [401, 401, 401]


@pytest.mark.parametrize("had_keys", [True, False])
def test_events_end_with_the_key_that_they_were_asked_for_with(had_keys: bool, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_keys(path, KEYS if had_keys else Keys())
    service = Service(replace(protection_for("127.0.0.1", KeyRing(path)), rates=FREE))
    CHANGES.append(lambda: None)
    assert len(service.ask("/api/events", key=KEY).text) == 4005
    CHANGES.append(lambda: write_keys(path, KEYS.without("ann")))
    assert service.ask("/api/events", key=KEY).text == "first"


@pytest.mark.parametrize("how", ["the last key is removed", "the file is removed"])
def test_a_service_that_has_asked_for_keys_stays_closed_without_any(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    write_keys(path, KEYS)
    service = Service(replace(protection_for("127.0.0.1", KeyRing(path)), rates=FREE))
    assert service.ask(key=KEY).status_code == 200
    if how == "the file is removed":
        path.unlink()
    else:
        write_keys(path, Keys())
    assert [service.ask(key=key).status_code for key in (None, KEY, KEY)] == [401, 401, 401]
    assert caplog.messages == [
        "the last key was removed: nobody is let in until there is one again, or a restart",
    ]
    write_keys(path, KEYS)
    assert service.ask(key=KEY).status_code == 200


def _broken(path: Path) -> None:
    path.write_text(f"ann {KEY}\n")


def _no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def _a_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


@pytest.mark.parametrize("spoil", [_broken, _no_text, _a_folder])
@pytest.mark.parametrize("had_keys", [True, False])
def test_keys_that_cannot_be_read_let_nobody_in_until_they_can(
    spoil: Callable[[Path], None], had_keys: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, extra = tmp_path / "keys", "k" * 16
    if had_keys:
        write_keys(path, KEYS)
    ring = KeyRing(path)
    with_extra = KeyRing(path, extra)
    services = [Service(replace(protection_for("127.0.0.1", one), rates=FREE)) for one in (ring, with_extra)]
    assert services[0].ask(key=KEY).status_code == services[1].ask(key=extra).status_code == 200
    spoil(path)
    for service in services:
        assert [service.ask(key=key).status_code for key in (None, KEY, KEY)] == [401, 401, 401]
    assert "cannot be read" in services[0].ask(key=KEY).json()["error"]["detail"]
    assert services[1].ask(key=extra).status_code == 200, "the key of the environment is in no file"
    assert len(caplog.messages) == (2 if had_keys else 3)
    with pytest.raises(UsageError, match=r"is not a key|cannot be read"):
        KeyRing(path)()
    if path.is_dir():
        path.rmdir()
    write_keys(path, KEYS)
    assert services[0].ask(key=KEY).status_code == 200


def test_a_file_of_the_same_size_and_time_is_told_from_the_one_before(tmp_path: Path) -> None:
    path, second = tmp_path / "keys", new_key()
    write_keys(path, Keys().with_key("ann", KEY))
    ring = KeyRing(path)
    for key in (second, KEY, second):
        before = ring()
        path.write_bytes(f"ann sha256:{digest_of(key).hex()}\n".encode())
        os.utime(path, ns=(1, 1))
        now = ring()
        assert before is not None
        assert now is not None
        assert (before.name_of(key), now.name_of(key)) == (None, "ann")


def test_a_key_file_that_stays_the_same_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reads = tmp_path / "keys", []
    write_keys(path, KEYS)
    os.utime(path, ns=(1, 1))
    monkeypatch.setattr("depthcast.service.keys._TICK_NS", 0)

    def counted(path: Path) -> Keys:
        reads.append(path)
        return read_keys(path)

    monkeypatch.setattr("depthcast.service.keys.read_keys", counted)
    ring = KeyRing(path)
    assert [ring() is not None for _ in range(50)] == [True] * 50
    assert len(reads) == 1


def test_a_key_named_as_that_of_the_environment_takes_nothing_away(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", KEYS.with_key("default", KEY[::-1]))
    keys = KeyRing(tmp_path / "keys", "k" * 16)()
    assert keys is not None
    assert [keys.name_of(key) for key in (KEY, KEY[::-1], "k" * 16)] == ["ann", "default", "default"]


def test_people_are_told_which_file_keys_are_kept_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path))
    status_of(["keys", "add", "ann"])
    assert str(tmp_path / "keys") in capsys.readouterr().err
    status_of(["keys", "remove", "ann"])
    assert "a running service lets nobody in" in capsys.readouterr().err


def test_a_key_that_is_too_short_fails() -> None:
    with pytest.raises(UsageError, match="at least 16 characters"):
        Keys().with_key("ann", "secret")


def test_keys_do_not_show_themselves() -> None:
    assert Key("ann", digest_of(KEY)).digest != KEY.encode()
    assert KEY not in repr(KEYS)

"""The queue on disk: its bookkeeping over crashes, and the rules of who may change what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from depthcast.errors import UsageError
from depthcast.service.jobs.generation import Filter, Generation, Made, Status, Target
from depthcast.service.jobs.store import Store

MADE = Made(10, 20, ("a remark",))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "jobs.sqlite")
    yield opened
    opened.close()


def generation(name: str, owner: str = "ann", **parameters: object) -> Generation:
    return Generation(name, owner, "model", parameters, Target(owner, "repo", None), enqueued_at=100)


def test_a_row_comes_back_as_it_was_put_in(store: Store) -> None:
    given = generation("a", colormap="turbo", text="😀 ü", nested={"x": [1, 2.5, None]})
    store.add([given])
    assert store.get("a") == given
    assert store.get("b") is None


def test_rows_are_done_in_their_order_and_once(store: Store) -> None:
    store.add([generation("a"), generation("b")])
    first, second = store.claim(101), store.claim(102)
    assert first == replace(generation("a"), status=Status.PROCESSING, attempts=1, started_at=101)
    assert second is not None
    assert second.id == "b"
    assert store.claim(103) is None


def test_all_of_a_request_are_added_or_none(store: Store) -> None:
    with pytest.raises(Exception, match="UNIQUE"):
        store.add([generation("a"), generation("a")])
    assert store.get("a") is None


def test_success_is_recorded_once_with_what_was_made(store: Store) -> None:
    store.add([generation("a")])
    assert not store.succeed("a", MADE, 102), "a row that waits has not been worked on"
    store.claim(101)
    assert store.succeed("a", MADE, 102)
    assert not store.succeed("a", Made(1), 103)
    assert not store.fail("a", "no", 103)
    assert not store.cancel("a", 103)
    found = store.get("a")
    assert found is not None
    assert (found.status, found.completed_at, found.made, found.error) == (Status.SUCCEEDED, 102, MADE, None)


def test_what_was_cancelled_neither_fails_nor_succeeds_nor_goes_back(store: Store) -> None:
    store.add([generation("a")])
    store.claim(101)
    assert store.cancel("a", 102)
    assert not store.succeed("a", MADE, 103)
    assert not store.fail("a", "no", 103)
    assert not store.requeue("a")
    found = store.get("a")
    assert found is not None
    assert (found.status, found.completed_at, found.made) == (Status.CANCELLED, 102, None)


def test_after_a_crash_a_running_row_runs_once_more_and_then_fails_with_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    for crash in range(3):
        store = Store(path)
        store.recover(200 + crash)
        if not crash:
            store.add([generation("a"), generation("b")])
        claimed = store.claim(300)
        assert claimed is not None
        assert claimed.id == ("b" if crash == 2 else "a"), "it keeps its place"
        store.close()
    store = Store(path)
    failed = store.get("a")
    assert failed is not None
    assert (failed.status, failed.attempts, failed.completed_at) == (Status.FAILED, 2, 202)
    assert "stopped unexpectedly twice" in str(failed.error)
    store.close()


def test_what_an_orderly_stop_puts_back_has_not_been_tried(store: Store) -> None:
    store.add([generation("a")])
    store.claim(101)
    assert store.requeue("a")
    assert store.get("a") == generation("a")


def test_a_second_service_is_refused_the_same_folder(store: Store, tmp_path: Path) -> None:
    assert store.claim(1) is None
    with pytest.raises(UsageError, match=r"is used by another depthcast: give --data another folder"):
        Store(tmp_path / "jobs.sqlite")


def test_a_file_that_is_no_queue_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_bytes(b"something else, and long enough to be looked at" * 40)
    with pytest.raises(UsageError, match="cannot be used"):
        Store(tmp_path / "jobs.sqlite")


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Filter("ann"), "cba"),
        (Filter("bob"), "d"),
        (Filter("ann", namespace="team"), "b"),
        (Filter("ann", model="other"), ""),
        (Filter("ann", media_type="video", repo="repo"), "ca"),
        (Filter("ann", media_type="image"), ""),
        (Filter("ann", folder="x"), "b"),
        (Filter("ann", statuses=(Status.PROCESSING,)), "a"),
        (Filter("ann", statuses=(Status.PROCESSING, Status.QUEUED)), "cba"),
    ],
)
def test_filters_pick_the_newest_first(store: Store, wanted: Filter, names: str) -> None:
    team = replace(generation("b"), target=Target("team", None, "x"))
    store.add([generation("a"), team, generation("c"), generation("d", "bob")])
    store.claim(101)
    assert "".join(found.id for found in store.matching(wanted)) == names
    assert store.count(wanted) == len(names)
    assert [found.id for found in store.matching(wanted, 1, 1)] == list(names[1:2])


def test_recent_ends_are_those_that_ended_by_themselves(store: Store) -> None:
    store.add([generation(name) for name in "abcd"] + [generation("e", "bob")])
    for name in "abcde":
        store.claim(101)
        if name == "b":
            store.fail(name, "no", 112)
        elif name == "c":
            store.cancel(name, 113)
        else:
            store.succeed(name, MADE, 110 + "abcde".index(name))
    assert [found.id for found in store.completed("ann", 100, 10)] == ["a", "b", "d"]
    assert [found.id for found in store.completed("ann", 100, 2)] == ["b", "d"]
    assert [found.id for found in store.completed("ann", 113, 10)] == ["d"]
    store.forget(112)
    assert [found.id for found in store.completed("ann", 100, 10)] == ["b", "d"]

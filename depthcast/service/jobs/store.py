"""The queue and its history in SQLite. Every change is one transaction, so that a killed process loses none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from depthcast.errors import UsageError
from depthcast.service.jobs.generation import Filter, Generation, Made, Status, Target

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    model TEXT NOT NULL,
    parameters TEXT NOT NULL,
    namespace TEXT NOT NULL,
    repo TEXT,
    directory TEXT,
    enqueued_at INTEGER NOT NULL,
    uploaded INTEGER NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER,
    error TEXT,
    video_bytes INTEGER,
    raw_bytes INTEGER,
    notes TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS by_status ON generations (status, number);
CREATE INDEX IF NOT EXISTS by_owner ON generations (owner, completed_at);
"""
_COLUMNS = (
    "id, owner, model, parameters, namespace, repo, directory, enqueued_at, uploaded, status, attempts, started_at, "
    "completed_at, error, video_bytes, raw_bytes, notes"
)
_VERSION = 1
_MOST_ATTEMPTS = 2
_INTERRUPTED = "the service stopped unexpectedly twice while working on this video; it was not tried a third time"


class Store:
    """All generations. Used from one thread at a time; a second process is refused the same file.

    Raises UsageError where the file cannot be opened.
    """

    __slots__ = ("_db",)

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=0.5, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # A row that a client was told of outlives a power cut too.
            self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise UsageError(f"{path} is of another version of depthcast: give --data another folder")
            self._db.executescript(f"BEGIN EXCLUSIVE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
        except sqlite3.DatabaseError as error:
            self._db.close()
            locked = "locked" in str(error)
            what = "is used by another depthcast" if locked else f"cannot be used ({error})"
            raise UsageError(f"the queue {path} {what}: give --data another folder") from error

    def close(self) -> None:
        """Give the file free."""
        self._db.close()

    def add(self, generations: Sequence[Generation]) -> None:
        """Put new rows at the end of the queue, all or none."""
        rows = [_to_row(generation) for generation in generations]
        with self._transaction():
            marks = ", ".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT INTO generations ({_COLUMNS}) VALUES ({marks})", rows)

    def get(self, generation_id: str) -> Generation | None:
        """One row, or None."""
        row = self._db.execute(f"SELECT {_COLUMNS} FROM generations WHERE id = ?", (generation_id,)).fetchone()
        return None if row is None else _from_row(row)

    def matching(self, wanted: Filter, limit: int = -1, offset: int = 0) -> list[Generation]:
        """Rows, the newest first; limit -1: all."""
        where, values = _where(wanted)
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM generations WHERE {where} ORDER BY number DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [_from_row(row) for row in rows]

    def count(self, wanted: Filter) -> int:
        """Number of rows."""
        where, values = _where(wanted)
        return int(self._db.execute(f"SELECT count(*) FROM generations WHERE {where}", values).fetchone()[0])

    def active(self, owner: str | None = None) -> int:
        """Number of rows that wait or run, of one owner or of all."""
        mine, values = ("", ()) if owner is None else (" AND owner = ?", (owner,))
        query = f"SELECT count(*) FROM generations WHERE status IN ('queued', 'processing'){mine}"
        return int(self._db.execute(query, values).fetchone()[0])

    def completed(self, owner: str, since: int, limit: int) -> list[Generation]:
        """The last rows of an owner that succeeded or failed at `since` or later, the oldest first."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS} FROM generations WHERE owner = ? AND completed_at >= ? "
            "AND status IN ('succeeded', 'failed') ORDER BY completed_at DESC, number DESC LIMIT ?",
            (owner, since, limit),
        )
        return [_from_row(row) for row in rows][::-1]

    def claim(self, now: int) -> Generation | None:
        """Begin the row that has waited longest; None where none waits."""
        row = self._db.execute(
            "UPDATE generations SET status = 'processing', attempts = attempts + 1, started_at = ? WHERE number = "
            "(SELECT number FROM generations WHERE status = 'queued' ORDER BY number LIMIT 1) "
            f"RETURNING {_COLUMNS}",
            (now,),
        ).fetchone()
        return None if row is None else _from_row(row)

    def succeed(self, generation_id: str, made: Made, now: int) -> bool:
        """End a running row well; False where it does not run any more."""
        return self._end(
            "status = 'succeeded', video_bytes = ?, raw_bytes = ?, notes = ?",
            (made.video_bytes, made.raw_bytes, json.dumps(made.notes)),
            ("processing",),
            generation_id,
            now,
        )

    def fail(self, generation_id: str, reason: str, now: int) -> bool:
        """End a running row with a reason; False where it does not run any more."""
        return self._end("status = 'failed', error = ?", (reason,), ("processing",), generation_id, now)

    def cancel(self, generation_id: str, now: int) -> bool:
        """End a waiting or running row; False where it has ended."""
        return self._end("status = 'cancelled'", (), ("queued", "processing"), generation_id, now)

    def requeue(self, generation_id: str) -> bool:
        """Put a running row back to its place as though it had not begun; False where it does not run any more."""
        changed = self._db.execute(
            "UPDATE generations SET status = 'queued', attempts = attempts - 1, started_at = NULL "
            "WHERE id = ? AND status = 'processing'",
            (generation_id,),
        )
        return changed.rowcount > 0

    def recover(self, now: int) -> None:
        """After a crash: what ran is to be run once more, and fails where that was the second time."""
        with self._transaction():
            self._db.execute(
                "UPDATE generations SET status = 'failed', error = ?, completed_at = ? "
                "WHERE status = 'processing' AND attempts >= ?",
                (_INTERRUPTED, now, _MOST_ATTEMPTS),
            )
            self._db.execute(
                "UPDATE generations SET status = 'queued', started_at = NULL WHERE status = 'processing'",
            )

    def forget(self, before: int) -> None:
        """Drop rows that ended before this time."""
        self._db.execute("DELETE FROM generations WHERE completed_at < ?", (before,))

    def active_ids(self) -> set[str]:
        """Rows that wait or run."""
        rows = self._db.execute("SELECT id FROM generations WHERE status IN ('queued', 'processing')")
        return {row[0] for row in rows}

    def succeeded_ids(self) -> set[str]:
        """Rows whose results are kept."""
        return {row[0] for row in self._db.execute("SELECT id FROM generations WHERE status = 'succeeded'")}

    def mean_seconds(self) -> float | None:
        """How long the last few took from start to end; None where none has ended well."""
        query = (
            "SELECT avg(completed_at - started_at) FROM (SELECT completed_at, started_at FROM generations "
            "WHERE status = 'succeeded' ORDER BY number DESC LIMIT 10)"
        )
        mean = self._db.execute(query).fetchone()[0]
        return None if mean is None else float(mean)

    def _end(
        self, changes: str, values: Iterable[object], allowed: Sequence[str], generation_id: str, now: int
    ) -> bool:
        marks = ", ".join("?" * len(allowed))
        changed = self._db.execute(
            f"UPDATE generations SET {changes}, completed_at = ? WHERE id = ? AND status IN ({marks})",
            (*values, now, generation_id, *allowed),
        )
        return changed.rowcount > 0

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """Commits at the end of its block, rolls back where that raises."""

    __slots__ = ("_db",)

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            # Where it has not ended: a full disk may have ended it already, and its error is the one to be told.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def _where(wanted: Filter) -> tuple[str, tuple[str, ...]]:
    """A condition and its values. Every row is a video, so another media type matches none."""
    fields = {
        "owner": wanted.owner,
        "namespace": wanted.namespace,
        "model": wanted.model,
        "repo": wanted.repo,
        "directory": wanted.folder,
    }
    asked = {column: value for column, value in fields.items() if value is not None}
    conditions = [f"{column} = ?" for column in asked]
    if wanted.statuses:
        conditions.append(f"status IN ({', '.join('?' * len(wanted.statuses))})")
    if wanted.media_type not in (None, "video"):
        conditions.append("FALSE")
    return " AND ".join(conditions), (*asked.values(), *(status.value for status in wanted.statuses))


def _to_row(generation: Generation) -> tuple[Any, ...]:
    target, made = generation.target, generation.made
    return (
        generation.id,
        generation.owner,
        generation.model,
        json.dumps(generation.parameters),
        target.namespace,
        target.repo,
        target.directory,
        generation.enqueued_at,
        int(generation.uploaded),
        generation.status.value,
        generation.attempts,
        generation.started_at,
        generation.completed_at,
        generation.error,
        None if made is None else made.video_bytes,
        None if made is None else made.raw_bytes,
        None if made is None else json.dumps(made.notes),
    )


def _from_row(row: Sequence[Any]) -> Generation:
    (
        generation_id,
        owner,
        model,
        parameters,
        namespace,
        repo,
        directory,
        enqueued_at,
        uploaded,
        status,
        attempts,
        started_at,
        completed_at,
        error,
        video_bytes,
        raw_bytes,
        notes,
    ) = row
    made = None if video_bytes is None else Made(video_bytes, raw_bytes, tuple(json.loads(notes)))
    return Generation(
        id=generation_id,
        owner=owner,
        model=model,
        parameters=json.loads(parameters),
        target=Target(namespace, repo, directory),
        enqueued_at=enqueued_at,
        uploaded=bool(uploaded),
        status=Status(status),
        attempts=attempts,
        started_at=started_at,
        completed_at=completed_at,
        error=error,
        made=made,
    )

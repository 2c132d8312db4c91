"""Where the files of jobs lie: what was uploaded, what is being made, what is finished."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

VIDEO = "video.mp4"
RAW = "raw.npz"
_UPLOAD = "upload-"
INPUT = "your video"
"""What a video is called while it is worked on: the name appears in messages to the client."""


class Folders:
    """The folder of one service. Every file of a job carries its id; the rest is swept away at the start.

    Raises OSError where the folder cannot be made or written to.
    """

    __slots__ = ("_inputs", "_results", "_work", "root")

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._inputs, self._results, self._work = (self.root / name for name in ("inputs", "results", "work"))
        for folder in (self._inputs, self._results, self._work):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def database(self) -> Path:
        """The queue."""
        return self.root / "jobs.sqlite"

    def secret(self) -> bytes:
        """What results' addresses are signed with; made once, so that they outlive a restart."""
        path = self.root / "secret"
        if not path.exists():
            new = path.with_name(f"secret.{secrets.token_hex(4)}")
            new.touch(mode=0o600)
            new.write_bytes(secrets.token_bytes(32))
            new.replace(path)
        return path.read_bytes()

    def input(self, generation_id: str) -> Path:
        """A video that came with its request."""
        return self._inputs / generation_id

    def new_upload(self) -> Path:
        """A place for a video that is arriving; forgotten at the next start unless it becomes an input."""
        return self._work / f"{_UPLOAD}{secrets.token_hex(8)}"

    def share_upload(self, upload: Path, generation_ids: list[str]) -> None:
        """Make an upload the input of these jobs, each of its own; the upload itself is gone then."""
        for generation_id in generation_ids:
            _link(upload, self.input(generation_id))
        upload.unlink()

    def video(self, generation_id: str) -> Path:
        """A finished video."""
        return self._results / f"{generation_id}.mp4"

    def raw(self, generation_id: str) -> Path:
        """Finished raw depth."""
        return self._results / f"{generation_id}.npz"

    def begin(self, generation_id: str, uploaded: bool) -> Path:
        """An empty folder for a job's work, with its video in it where that was uploaded."""
        folder = self._work / generation_id
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if uploaded:
            _link(self.input(generation_id), folder / INPUT)
        return folder

    def keep(self, generation_id: str) -> tuple[int, int | None]:
        """Move what a job has made to its place; sizes of the video and, where there is any, of the raw depth."""
        folder = self._work / generation_id
        video, raw = self.video(generation_id), self.raw(generation_id)
        has_raw = (folder / RAW).exists()
        if has_raw:
            (folder / RAW).replace(raw)
        (folder / VIDEO).replace(video)
        return video.stat().st_size, raw.stat().st_size if has_raw else None

    def end(self, generation_id: str) -> None:
        """Drop what a job no longer needs."""
        shutil.rmtree(self._work / generation_id, ignore_errors=True)

    def drop_input(self, generation_id: str) -> None:
        """Drop a video that came with a request."""
        self.input(generation_id).unlink(missing_ok=True)

    def drop_results(self, generation_id: str) -> None:
        """Drop what a job has made."""
        self.video(generation_id).unlink(missing_ok=True)
        self.raw(generation_id).unlink(missing_ok=True)

    def sweep(self, active: set[str], succeeded: set[str]) -> None:
        """Remove everything that belongs to no row: what a killed process left behind."""
        for leftover in self._work.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        for path in self._inputs.iterdir():
            if path.name not in active:
                path.unlink()
        for path in self._results.iterdir():
            if path.stem not in succeeded:
                path.unlink()

    def used(self) -> int:
        """Bytes of everything here, but for uploads that are arriving; a file of several names counts once."""
        sizes = {}
        for path, status in self._files(self.root):
            if not path.name.startswith(_UPLOAD):
                sizes[status.st_dev, status.st_ino] = status.st_size
        return sum(sizes.values())

    def used_beside_results(self) -> int:
        """Bytes of everything that does not make room for others."""
        return self.used() - sum(status.st_size for _, status in self._files(self._results))

    def expire(self, before: float, most_bytes: int) -> int:
        """Remove results last written before this time, and the oldest ones until `most_bytes` are not exceeded.

        Returns the bytes that are used then, which may be more than that where uploads alone are.
        """
        used = self.used()
        results = [(status.st_mtime, path, status.st_size) for path, status in self._files(self._results)]
        for written, path, size in sorted(results):
            if written < before or used > most_bytes:
                path.unlink(missing_ok=True)
                used -= size
        return used

    def _files(self, folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                try:
                    yield path, path.stat()
                except FileNotFoundError:
                    continue


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system knows no links."""
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)

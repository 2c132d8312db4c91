"""A file that has its final name only when it is complete."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from stream.errors import SinkError


class Unfinished:
    """Reserves a temporary name beside `path`: hidden, unlike any other, on the same file system.

    Raises SinkError when the folder is missing or may not be written to.
    """

    __slots__ = ("path", "temporary")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
        if path.is_dir():
            raise SinkError(f"cannot write {path}: it is a folder; name a file in it")
        with self.errors():
            self.temporary.touch(exist_ok=False)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns failures of the file system or of FFmpeg into a SinkError that names the final file."""
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise SinkError(f"cannot write {self.path}: {error.strerror or error}") from error

    def commit(self) -> None:
        """Give the file its name; a file of that name is replaced."""
        with self.errors():
            self.temporary.replace(self.path)

    def discard(self) -> None:
        """Remove what has been written, where it has no name yet."""
        self.temporary.unlink(missing_ok=True)

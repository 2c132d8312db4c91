"""A file that has its final name only when it is complete, and that is of use before."""

from __future__ import annotations

import errno
import itertools
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

import av

from stream.errors import CutRecordingError, SinkError

if sys.platform != "win32":
    import fcntl

_SYNC_S = 5.0
"""How often what was recorded is forced onto the disk: a power cut takes no more than that."""
_NAME_BYTES = 255
"""Longest file name of nearly every file system."""
_COMPOUND = ".ros2.mcap"
_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of this disk is used up",
    errno.EFBIG: "the file is as large as it may become there",
}


class Unfinished:
    """A file beside `path`, of a name that says what it is: `night.part.mp4`, beside an older one `night.part-2.mp4`.

    It is what encoders write to: `write`, `seek`, `tell` and `flush` are those of a binary file.
    What it holds is forced onto the disk every few seconds, so that it survives a power cut.
    is_recorded: whether something of use can be read from it, asked after a failure to write: then it is left, and the
        error says so.

    Raises SinkError when the folder is missing or may not be written to.
    """

    __slots__ = (
        "_ended",
        "_error",
        "_file",
        "_is_kept",
        "_is_recorded",
        "_late",
        "_settled",
        "_syncing",
        "path",
        "temporary",
    )

    def __init__(self, path: Path, is_recorded: Callable[[Path], bool] = lambda _: False) -> None:
        self.path = path
        self._is_recorded = is_recorded
        self._late: list[tuple[int, bytes]] = []
        self._settled = 0
        self._error: OSError | None = None
        self._is_kept = False
        check_name(path)
        if path.is_dir():
            raise SinkError(f"cannot write {path}: it is a folder; name a file in it")
        try:
            self.temporary, self._file = _reserved(path)
        except OSError as error:
            raise SinkError(f"cannot write {path}: {error.strerror or error}") from error
        self._ended = threading.Event()
        self._syncing = threading.Thread(target=self._sync, name="sync", daemon=True)
        self._syncing.start()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turns failures of the file system or of FFmpeg into a SinkError that names the final file.

        Failures to write that a library has kept to itself are found here, too.
        """
        try:
            try:
                yield
            finally:
                if self._error is not None:
                    raise self._error
        except (OSError, av.FFmpegError) as error:
            raise self._failed(error) from error

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """While a format writes its end: the file is whole before and after, or stays as it was.

        What the format changes in what is recorded (sizes, the place of the index) is written last, and not at all
        where writing the end fails.
        """
        self._settled = self._file.seek(0, os.SEEK_END)
        try:
            yield
            if self._error is not None:
                raise self._error
            os.fsync(self._file.fileno())
        except BaseException:
            self._late.clear()
            with suppress(OSError):
                self._file.truncate(self._settled)
            raise
        finally:
            self._settled = 0
        for place, data in self._late:
            self._file.seek(place)
            self.write(data)
        self._late.clear()

    def write(self, data: bytes) -> int:
        """Write all of it at the present place."""
        if self._error is not None:
            raise self._error
        if self._file.closed:
            # An encoder that is dropped may still have something to say.
            return len(data)
        place = self._file.tell()
        if place < self._settled:
            self._late.append((place, bytes(data)))
            self._file.seek(place + len(data))
            return len(data)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
            raise
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        return 0 if self._file.closed else self._file.seek(offset, whence)

    def tell(self) -> int:
        """The present place."""
        return 0 if self._file.closed else self._file.tell()

    def flush(self) -> None:
        """Nothing waits here."""

    def rewrite(self, copying: Callable[[BinaryIO, BinaryIO], None]) -> None:
        """Put another form of the file in its place: `copying` reads this one and writes the other.

        Raises OSError, and this one stays.
        """
        # Hidden: it is of no use before it is complete, and then this one is no longer needed.
        other = self.temporary.with_name(f".{self.temporary.name}")
        try:
            with self.temporary.open("rb") as source, other.open("wb") as target:
                copying(source, target)
                target.flush()
                os.fsync(target.fileno())
            self._end()
            other.replace(self.temporary)
        except BaseException:
            other.unlink(missing_ok=True)
            raise

    @property
    def is_over(self) -> bool:
        """The file has its name, or was discarded."""
        return self._ended.is_set()

    def commit(self) -> None:
        """Give the file its name; a file of that name is replaced."""
        with self.errors():
            if not self._file.closed:
                os.fsync(self._file.fileno())
            self._end()
            self.temporary.replace(self.path)

    def discard(self) -> None:
        """Remove what has been written, where it has no name yet; what an earlier failure left is kept."""
        self._end()
        if not self._is_kept:
            self.temporary.unlink(missing_ok=True)

    def _end(self) -> None:
        self._ended.set()
        self._syncing.join()
        self._file.close()

    def _sync(self) -> None:
        sync = getattr(os, "fdatasync", os.fsync)
        while not self._ended.wait(_SYNC_S):
            try:
                sync(self._file.fileno())
            except OSError as error:
                self._error = error

    def _failed(self, error: OSError | av.FFmpegError) -> SinkError:
        """Why, and what is left. From now on nothing more is written."""
        self._error = self._error or OSError(error.errno, error.strerror)
        self._is_kept = self._is_recorded(self.temporary)
        reason = f"cannot write {self.path}: {reason_of(error)}"
        return CutRecordingError(reason, self.temporary.name) if self._is_kept else SinkError(reason)


def reason_of(error: OSError | av.FFmpegError) -> str:
    """Why a file cannot be written, in words."""
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)


def _reserved(path: Path) -> tuple[Path, FileIO]:
    """A new file, locked for as long as it is open: so others know that it is being written."""
    for number in itertools.count(1):
        part = part_of(path, number)
        try:
            file = FileIO(part, "x+")
        except FileExistsError:
            continue
        _lock(file)
        return part, file
    raise AssertionError


def _lock(file: FileIO | BinaryIO) -> bool:
    """Whether nobody else writes this file. Where that cannot be known, nobody does."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
    return True


def split_name(name: str) -> tuple[str, str]:
    """Stem and suffix, of which `.ros2.mcap` is one."""
    at = len(name) - len(_COMPOUND) if name.lower().endswith(_COMPOUND) else len(Path(name).stem)
    return name[:at], name[at:]


def part_of(path: Path, number: int = 1) -> Path:
    """The name of an unfinished file; number: from 1 on, where there are several."""
    stem, suffix = split_name(path.name)
    end = (".part" if number == 1 else f".part-{number}") + suffix
    # One byte is left for the dot of `rewrite`.
    return path.with_name(shortened(stem, _NAME_BYTES - 1 - len(os.fsencode(end))) + end)


def shortened(text: str, most: int) -> str:
    """The beginning of a name, of at most so many bytes; no character is cut."""
    data = os.fsencode(text)[: max(most, 1)]
    return data.decode("utf-8", "ignore") if sys.platform == "win32" else os.fsdecode(_whole(data))


def _whole(data: bytes) -> bytes:
    """Bytes without a character of UTF-8 that has lost its end."""
    return re.sub(rb"(?:[\xc0-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf7][\x80-\xbf]{0,2})$", b"", data)


def check_name(path: Path) -> None:
    """Raise SinkError for a name that is too long for a file."""
    size = len(os.fsencode(path.name))
    if size > _NAME_BYTES:
        raise SinkError(f"cannot write {path}: its name has {size} bytes, a file's at most {_NAME_BYTES}; shorten it")


def left_behind(path: Path, stems: re.Pattern[str] | None = None) -> list[Path]:
    """Unfinished files of this output whose run has ended: it was killed, or the power failed.

    stems: of the names of its files, where there are several.
    """
    stem, suffix = split_name(part_of(path).name)
    begins = re.escape(stem) if stems is None else rf"(?:{stems.pattern})\.part"
    numbered = re.compile(begins + r"(?:-[0-9]+)?" + re.escape(suffix))
    try:
        with os.scandir(path.parent) as entries:
            names = sorted(one.name for one in entries if numbered.fullmatch(one.name))
        return [part for name in names if _is_left(part := path.with_name(name))]
    except OSError:
        return []


def _is_left(part: Path) -> bool:
    with part.open("rb") as file:
        return _lock(file)

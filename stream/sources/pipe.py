"""Inputs that can be read once and never again: named pipes, `<(…)`, `/dev/stdin`, `/dev/fd/N`, sockets."""

from __future__ import annotations

import logging
import os
import re
import select
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from engines.closing import Closing
from stream.errors import SourceError
from stream.uris import STANDARD_INPUT

_LOG = logging.getLogger(__name__)
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/([0-9]+)")
_SILENCE_S = 5.0
"""A pipe that nobody has written to for so long is told of, once."""
_CHUNK = 1 << 16


def name_of(path: Path) -> str:
    """What to call an input in messages."""
    return "standard input" if path == STANDARD_INPUT else str(path)


def is_pipe(path: Path) -> bool:
    """What `path` names can be read once only, from its start to its end."""
    descriptor = _descriptor_of(path)
    try:
        mode = os.stat(path).st_mode if descriptor is None else os.fstat(descriptor).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


class Pipe(Closing):
    """Reads a pipe: `read` is what PyAV asks of a file.

    `stop` may come from another thread: what waits in `read` then meets the end. Ctrl-C during `read` ends it too, and
    is raised by `check`: an exception may not pass through FFmpeg.
    Raises SourceError where the input is a terminal, OSError where it cannot be opened.
    """

    __slots__ = ("_descriptor", "_head", "_interrupt", "_polled", "_silent", "_wake", "_waker", "kept", "name")

    def __init__(self, path: Path) -> None:
        self.name = name_of(path)
        number = _descriptor_of(path)
        # Opened without waiting for a writer, so that the wait can be ended; a shared descriptor keeps its mode.
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if number is None else os.dup(number)
        if os.isatty(self._descriptor):
            os.close(self._descriptor)
            raise SourceError(f"{self.name} is a terminal: lead a video into it, such as `… | depthcast run -`")
        self._wake, self._waker = os.pipe()
        self._polled = select.poll()
        for descriptor in (self._descriptor, self._wake):
            self._polled.register(descriptor, select.POLLIN)
        self._head = b""
        self.kept: IO[bytes] | None = None
        """All of it in a temporary file, once that was wanted."""
        self._silent = False
        self._interrupt: BaseException | None = None

    def head(self, size: int) -> bytes:
        """The first bytes, fewer where there are no more; `read` gives them again."""
        while len(self._head) < size and (more := self._received(size - len(self._head))):
            self._head += more
        self.check()
        return self._head[:size]

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`, waiting for them; empty at the end."""
        if self._head:
            given, self._head = self._head[:size], self._head[size:]
            return given
        return self._received(size)

    def copy_to(self, file: IO[bytes]) -> None:
        """Write all of it into a file, for readers that need to go back or to know how long it is."""
        while chunk := self.read(_CHUNK):
            file.write(chunk)
        self.check()
        file.flush()
        file.seek(0)

    def keep(self) -> IO[bytes]:
        """Read all of it into a temporary file, which goes with the pipe. Raises OSError."""
        self.kept = kept = tempfile.TemporaryFile()  # noqa: SIM115  closed with the pipe
        self.copy_to(kept)
        return kept

    def check(self) -> None:
        """Raise the Ctrl-C that ended a read, if one did."""
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None:
            raise interrupt

    def stop(self) -> None:
        """End every read, from any thread; harmless after `close`."""
        if self._waker >= 0:
            os.write(self._waker, b"\0")

    def close(self) -> None:
        """Let go of the pipe; harmless when repeated. Not while another thread reads."""
        for descriptor in (self._descriptor, self._wake, self._waker):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._wake = self._waker = -1
        if self.kept is not None:
            with suppress(OSError):  # What found no room is tried again, and goes anyway.
                self.kept.close()

    def _received(self, size: int) -> bytes:
        try:
            while True:
                ready = dict(self._polled.poll(None if self._silent else _SILENCE_S * 1000))
                if not ready:
                    self._silent = True
                    _LOG.warning("%s: waiting for somebody to write to it", self.name)
                    continue
                if self._wake in ready:
                    return b""
                try:
                    return os.read(self._descriptor, min(size, _CHUNK))
                except BlockingIOError:
                    continue
                finally:
                    self._silent = True
        except OSError as error:
            _LOG.warning("%s cannot be read any further: %s", self.name, error.strerror)
            return b""
        except KeyboardInterrupt as error:
            self._interrupt = error
            return b""


def _descriptor_of(path: Path) -> int | None:
    """The number behind `/dev/stdin` or `/dev/fd/N`: the path itself cannot be opened where it is a socket."""
    if path == STANDARD_INPUT:
        return 0
    found = _DESCRIPTOR.fullmatch(str(path))
    return None if found is None else int(found[1])

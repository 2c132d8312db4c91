"""The service's side of the process that does its work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress

from depthcast.errors import DepthcastError
from depthcast.service.jobs.task import Task, line_of

_LONGEST_LINE = 1 << 20
_LOOK_S = 1.0

OnProgress = Callable[[str, int, int | None], None]
"""Told (phase, steps done, steps in all where that is known)."""


class WorkError(DepthcastError):
    """A video could not be turned into depth. The message is one for the client."""


class Worker:
    """Starts a process when there is work and keeps it for more. One task at a time.

    share: of the time that work takes while there are live streams. niceness: of the process.
    """

    __slots__ = ("_is_live", "_niceness", "_process", "_share")

    def __init__(self, share: float, niceness: int) -> None:
        self._share = share
        self._niceness = niceness
        self._process: Process | None = None
        self._is_live = False

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    async def run(self, task: Task, on_progress: OnProgress) -> tuple[str, ...]:
        """Have a task done; what the client should know of the result. Raises WorkError.

        Where this is cancelled the process is killed at once, and what it wrote stays in the task's folder.
        """
        process = await self._started()
        try:
            return await self._followed(process, task, on_progress)
        except WorkError:
            raise
        except BaseException:
            await self.close()
            raise

    async def _followed(self, process: Process, task: Task, on_progress: OnProgress) -> tuple[str, ...]:
        assert process.stdin is not None
        with suppress(ConnectionError):
            process.stdin.write(task.line())
            await process.stdin.drain()
        while line := await _line(process):
            message = json.loads(line)
            if "done" in message:
                return tuple(message["done"])
            if "failed" in message:
                raise WorkError(message["failed"])
            on_progress(message["phase"], message["steps_done"], message["steps"])
        await self.close()
        raise WorkError(_ended(process.returncode or 0))

    async def _started(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "depthcast.service.jobs.worker", str(self._share), str(self._niceness)),
                stdin=PIPE,
                stdout=PIPE,
                # A group of its own, so that whatever libraries start from it ends with it.
                start_new_session=True,
                limit=_LONGEST_LINE,
            )
            self._tell_live()
        return self._process

    def set_live(self, live: bool) -> None:
        """Whether there are live streams."""
        if live != self._is_live:
            self._is_live = live
            self._tell_live()

    def _tell_live(self) -> None:
        if self._process is not None and self._process.stdin is not None and self._process.returncode is None:
            self._process.stdin.write(line_of({"live": self._is_live}))

    async def close(self) -> None:
        """Kill the process, where there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _line(process: Process) -> bytes:
    """The next line; none when the process has ended, even where something that it started keeps its output open."""
    assert process.stdout is not None
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                return await process.stdout.readline()
        if process.returncode is not None:
            return b""


def _ended(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name if -status in signal.Signals._value2member_map_ else str(-status)
        return f"the work on this video ended by signal {name}: the video may be damaged, or memory ran out"
    return "the work on this video ended unexpectedly; the service's log says how"

"""How much room the files of a service take: measured now and then, and counted while uploads arrive."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from depthcast.errors import DepthcastError
from depthcast.service.jobs.folders import Folders
from depthcast.service.settings import ServiceSettings

_LOG = logging.getLogger(__name__)
_SLACK = 64 << 20
"""Bytes that are freed at once where an upload needs room, so that files are not looked at for every piece of it."""
_LEAST_FREE = 64 << 20
"""Bytes that a disk must have left, whatever may be used of it: the queue is written there too."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class NoRoomError(DepthcastError):
    """There is no room for more files now."""

    def __init__(self) -> None:
        super().__init__("the service has no room for another video at present; try again later")


@dataclass(slots=True, eq=False)
class Arrival:
    """An upload until it is a job's. size: bytes so far."""

    owner: str
    path: Path
    size: int = 0


class Room:
    """The files of one service. Belongs to one event loop; files are looked at in threads.

    now: Unix seconds. Arriving uploads lie in the same folder, and are counted apart from what was measured.
    """

    def __init__(self, folders: Folders, settings: ServiceSettings, now: Callable[[], float]) -> None:
        self._folders = folders
        self._most = settings.disk_bytes
        self._keep_s = settings.keep_s
        self._now = now
        self._arrivals: set[Arrival] = set()
        self._used = 0

    @property
    def left(self) -> int:
        """Bytes that may still be used, by the last measurement and what arrives."""
        return self._most - self._used - self._arriving_bytes

    @property
    def is_there(self) -> bool:
        """Whether more can be written. Looks at no file."""
        return self.left > 0 and shutil.disk_usage(self._folders.root).free >= _LEAST_FREE

    def arriving(self, owner: str | None = None) -> int:
        """Uploads that are on their way, of one client or of all."""
        return sum(owner in (None, one.owner) for one in self._arrivals)

    async def measure(self, wanted: int = 0) -> int:
        """Look at the files, after results have gone that are old or, the oldest first, in the way of `wanted` bytes.

        Returns what is left.
        """
        most, before = self._most - self._arriving_bytes - wanted, self._now() - self._keep_s
        self._used = await asyncio.to_thread(self._folders.expire, before, most)
        return self.left

    def begin(self, owner: str) -> Arrival:
        """Let an upload arrive."""
        arrival = Arrival(owner, self._folders.new_upload())
        self._arrivals.add(arrival)
        return arrival

    async def check(self, announced: int) -> None:
        """Raise NoRoomError where so many bytes cannot come. No result goes for them before they do."""
        if self.left < announced:
            staying = await asyncio.to_thread(self._folders.used_beside_results)
            if self._most - staying - self._arriving_bytes < announced:
                raise NoRoomError
        self._check_disk(announced)

    async def write(self, arrival: Arrival, data: bytes) -> None:
        """Add to an upload. Raises NoRoomError, also where the disk itself is full."""
        wanted = len(data)
        if self.left < wanted and await self.measure(max(wanted, min(_SLACK, self._most // 20))) < wanted:
            raise NoRoomError
        self._check_disk(wanted)
        # Before it is written: others that arrive at the same time look at it.
        arrival.size += len(data)
        try:
            await asyncio.to_thread(_append, arrival.path, data)
        except OSError as error:
            if error.errno in _FULL:
                _LOG.error("no room for an upload: %s", error)
                raise NoRoomError from error
            raise

    def settle(self, arrival: Arrival) -> None:
        """Take an upload for one of the files, that was made a job's input."""
        self._arrivals.discard(arrival)
        self._used += arrival.size

    def drop(self, arrival: Arrival) -> None:
        """Forget an upload; harmless where it has become a job's."""
        if arrival in self._arrivals:
            self._arrivals.discard(arrival)
            arrival.path.unlink(missing_ok=True)

    @property
    def _arriving_bytes(self) -> int:
        return sum(one.size for one in self._arrivals)

    def _check_disk(self, wanted: int) -> None:
        if shutil.disk_usage(self._folders.root).free < max(wanted, _LEAST_FREE):
            raise NoRoomError


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)

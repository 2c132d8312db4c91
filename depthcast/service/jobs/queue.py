"""Takes jobs in, has them done in their order, and tells how they end."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from depthcast.errors import DepthcastError
from depthcast.service.fetch import fetch
from depthcast.service.jobs.bus import Bus, Progress
from depthcast.service.jobs.folders import INPUT, Folders
from depthcast.service.jobs.generation import Generation, Made, Target
from depthcast.service.jobs.parameters import ParameterError, parse
from depthcast.service.jobs.process import Worker
from depthcast.service.jobs.room import Arrival, Room
from depthcast.service.jobs.store import Store
from depthcast.service.jobs.task import Task
from depthcast.service.jobs.words import without_paths
from depthcast.service.settings import ServiceSettings

_LOG = logging.getLogger(__name__)
_HOUSEKEEPING_S = 60.0
_PROGRESS_S = 1.0
_LOOK_S = 0.25
_USUAL_S = 30.0
_STUMBLED_S = 5.0

Result = TypeVar("Result")


class QueueFullError(DepthcastError):
    """No more jobs are taken now. retry_after_s: when to ask again."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Jobs:
    """The queue of one service. Everything but the database runs in one event loop.

    is_live: whether there are live streams, for which jobs make room. now: Unix seconds.
    Raises UsageError where the folder is used by another service.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        is_live: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._is_live = is_live
        self.folders = Folders(settings.data)
        self.secret = self.folders.secret()
        self.bus = Bus()
        self.now = now
        self.room = Room(self.folders, settings, now)
        self._store = Store(self.folders.database)
        # SQLite waits for the disk, which the event loop must not; one thread keeps its transactions in order.
        self._thread = ThreadPoolExecutor(1, "jobs")
        self.workers = [Worker(settings.live_share, settings.niceness) for _ in range(settings.jobs)]
        self._tasks: list[asyncio.Task[None]] = []
        self._running: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, Progress] = {}
        self._told_s: dict[str, float] = {}
        self._ends: dict[str, asyncio.Event] = {}
        self._added = asyncio.Condition()
        self.closing = asyncio.Event()

    @property
    def is_closing(self) -> bool:
        """No work is begun any more, and nobody is to wait for news."""
        return self.closing.is_set()

    async def open(self) -> None:
        """Take up what a former process left, and begin to work."""
        await self.db(self._recover)
        await self.room.measure()
        parts = [partial(self._work, worker) for worker in self.workers]
        parts += [partial(self._keep_house), partial(self._look_for_live)]
        self._tasks = [asyncio.create_task(again_and_again(part)) for part in parts]

    def _recover(self) -> None:
        self._store.recover(self._time())
        self.folders.sweep(self._store.active_ids(), self._store.succeeded_ids())

    async def close(self) -> None:
        """Give running work its grace, put back into the queue what is not finished then."""
        self.closing.set()
        if self._running:
            await asyncio.wait(self._running.values(), timeout=self.settings.grace_s)
        for task in (*self._running.values(), *self._tasks):
            task.cancel()
        await asyncio.gather(*self._running.values(), *self._tasks, return_exceptions=True)
        for worker in self.workers:
            await worker.close()
        await self.db(self._store.close)
        self._thread.shutdown()

    async def db(self, verb: Callable[..., Result], *values: Any) -> Result:
        """Have the database's thread do something."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(verb, *values))

    @property
    def store(self) -> Store:
        """For `db`."""
        return self._store

    async def enqueue(
        self,
        owner: str,
        model: str,
        parameters: Mapping[str, Any],
        target: Target,
        count: int = 1,
        upload: Arrival | None = None,
    ) -> list[Generation]:
        """Add `count` jobs. upload: the video, which is taken away. Raises QueueFullError."""
        ids = [str(uuid.uuid4()) for _ in range(count)]
        made = [
            Generation(each, owner, model, parameters, target, self._time(), uploaded=upload is not None)
            for each in ids
        ]
        if upload is not None:
            await asyncio.to_thread(self.folders.share_upload, upload.path, ids)
            self.room.settle(upload)
        try:
            await self.db(self._admit, owner, made, self.room.arriving(), self.room.arriving(owner))
        except QueueFullError:
            for each in ids:
                self.folders.drop_input(each)
            raise
        async with self._added:
            self._added.notify_all()
        return made

    async def begin_upload(self, owner: str, announced: int) -> Arrival:
        """Let a video arrive that is to become a job. announced: bytes, 0 where that is not known.

        Raises QueueFullError or NoRoomError, before anything is read.
        """
        arrival = self.room.begin(owner)
        try:
            others = self.room.arriving() - 1, self.room.arriving(owner) - 1
            await self.db(self._check_places, owner, 1, *others)
            await self.room.check(announced)
        except BaseException:
            self.room.drop(arrival)
            raise
        return arrival

    def _admit(self, owner: str, generations: Sequence[Generation], *arriving: int) -> None:
        self._check_places(owner, len(generations), *arriving)
        self._store.add(generations)

    def _check_places(self, owner: str, count: int, *arriving: int) -> None:
        """arriving: uploads of all clients and of this one, for which places are kept."""
        limits = ((None, self.settings.max_queued, "all clients"), (owner, self.settings.max_queued_per_key, "yours"))
        for (whose, most, words), coming in zip(limits, arriving, strict=True):
            active = self._store.active(whose) + coming
            if active + count > most:
                mean = self._store.mean_seconds() or _USUAL_S
                wait_s = round(min(max(mean / self.settings.jobs, 1), 3600))
                raise QueueFullError(f"{active} videos ({words}) wait or are worked on, {most} may: try later", wait_s)

    async def cancel(self, generation: Generation) -> None:
        """End a job that has not ended; its work stops at once."""
        if await self.db(self._store.cancel, generation.id, self._time()):
            if running := self._running.get(generation.id):
                running.cancel()
            self.folders.drop_input(generation.id)
            self._wake(generation.id)

    async def ended(self, generation_id: str) -> Generation:
        """A job of ours, once it has ended."""
        end = self._ends.setdefault(generation_id, asyncio.Event())
        while True:
            found = await self.db(self._store.get, generation_id)
            assert found is not None
            if found.status.is_final:
                self._ends.pop(generation_id, None)
                return found
            await end.wait()

    def progress(self, generation_id: str) -> Progress | None:
        """How far a running job is."""
        return self._progress.get(generation_id)

    async def _work(self, worker: Worker) -> None:
        while True:
            async with self._added:
                generation = None if self.is_closing else await self.db(self._store.claim, self._time())
                if generation is None:
                    await self._added.wait()
                    continue
            task = self._running[generation.id] = asyncio.create_task(self._do(generation, worker))
            await asyncio.wait({task})
            del self._running[generation.id]
            if not task.cancelled() and (error := task.exception()):
                _LOG.error("the queue stumbled over %s", generation.id, exc_info=error)

    async def _do(self, generation: Generation, worker: Worker) -> None:
        try:
            async with asyncio.timeout(self.settings.max_job_s):
                notes = await self._made(generation, worker)
        except asyncio.CancelledError:
            # Cancelled by a client, whose row says so by now, or stopped with the service.
            await self.db(self._store.requeue, generation.id)
            raise
        except TimeoutError:
            limit = f"the work on this video took longer than {self.settings.max_job_s:g} s"
            await asyncio.shield(self._end(generation, limit))
        except (DepthcastError, ParameterError) as error:
            await asyncio.shield(self._end(generation, str(error)))
        except Exception:
            _LOG.exception("the work on %s failed", generation.id)
            await asyncio.shield(self._end(generation, "the service failed while working on this video"))
        else:
            await asyncio.shield(self._end(generation, notes))
        finally:
            self._progress.pop(generation.id, None)
            self._told_s.pop(generation.id, None)
            await asyncio.shield(asyncio.to_thread(self.folders.end, generation.id))

    async def _made(self, generation: Generation, worker: Worker) -> tuple[str, ...]:
        asked = parse(generation.parameters, generation.uploaded)
        room = await self.room.measure()
        if room <= 0:
            raise DepthcastError("the service has no room for results at present; try again later")
        folder = await asyncio.to_thread(self.folders.begin, generation.id, generation.uploaded)
        progress = partial(self._note, generation)
        if asked.video_url is not None:
            await fetch(asked.video_url, folder / INPUT, self.settings.fetch, partial(progress, "downloading"))
        how = self.settings
        task = Task.of(
            *(asked, folder, room),
            mode=how.mode.value,
            fallback=how.fallback,
            threads=how.threads,
            limits=how.video,
        )
        progress("preparing", 0, None)
        return await worker.run(task, progress)

    async def _end(self, generation: Generation, outcome: str | tuple[str, ...]) -> None:
        now = self._time()
        if isinstance(outcome, str):
            reason = without_paths(outcome, self.folders.root)
            ended = await self.db(self._store.fail, generation.id, reason, now)
        else:
            video_bytes, raw_bytes = await asyncio.to_thread(self.folders.keep, generation.id)
            made = Made(video_bytes, raw_bytes, outcome)
            ended = await self.db(self._store.succeed, generation.id, made, now)
            if not ended:
                self.folders.drop_results(generation.id)
        if ended:
            self.folders.drop_input(generation.id)
            if row := await self.db(self._store.get, generation.id):
                self.bus.publish(row)
            self._wake(generation.id)

    def _note(self, generation: Generation, phase: str, done: int, total: int | None) -> None:
        last, now_s = self._progress.get(generation.id), time.monotonic()
        is_new = last is None or last.phase != phase
        began_s = now_s if last is None or is_new else last.began_s
        progress = Progress(generation.id, generation.owner, phase, done, total, began_s, now_s)
        self._progress[generation.id] = progress
        if is_new or now_s - self._told_s.get(generation.id, 0.0) >= _PROGRESS_S:
            self._told_s[generation.id] = now_s
            self.bus.publish(progress)

    def _wake(self, generation_id: str) -> None:
        if end := self._ends.pop(generation_id, None):
            end.set()

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            with suppress(OSError):
                await self.room.measure()
            await self.db(self._store.forget, self._time() - self.settings.keep_rows_s)

    async def _look_for_live(self) -> None:
        while True:
            for worker in self.workers:
                worker.set_live(self._is_live())
            await asyncio.sleep(_LOOK_S)

    def _time(self) -> int:
        return int(self.now())


async def again_and_again(
    part: Callable[[], Awaitable[None]], wait: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Run a part of the queue that has no end. What it stumbles over, such as a full disk, is told; it begins again.

    wait: sleeps so many seconds; replaced in tests.
    """
    while True:
        try:
            await part()
        except Exception:  # a task's boundary
            _LOG.exception("the queue stumbled and goes on in %g s", _STUMBLED_S)
        await wait(_STUMBLED_S)

"""The process that does a service's work, as the service sees it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE

import pytest

from depthcast.service.jobs.process import Worker

_PARENT = "import os, sys, time; child = os.fork(); print(child, flush=True) if child else None; time.sleep(300)"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no forks")
def test_what_the_process_started_ends_with_it() -> None:
    """A child that holds its pipes open would keep the service from stopping."""

    async def run() -> None:
        worker = Worker(1.0, 0)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PARENT, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        worker._process = process
        assert process.stdout is not None
        async with asyncio.timeout(30):
            assert int(await process.stdout.readline()) != process.pid
            await worker.close()
            assert await process.stdout.read() == b""

    asyncio.run(run())

"""What many tests need."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder of real clips, which are not part of the repository: DEPTHCAST_DATA, or `shared/data` beside it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DEPTHCAST_DATA", beside))
    if not (folder / "videos").is_dir():
        pytest.skip("needs the real clips: set DEPTHCAST_DATA to the folder that holds videos/")
    return folder


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Fails the test that leaves a thread running."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread.name

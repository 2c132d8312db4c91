"""What many tests need."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a worker for every core: threads that torch and NumPy start beside it would wait for each other, busily.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Which tests share a process where there are several, with `pytest -n`."""
    from tests.scheduling import ByFile

    return ByFile(config, log)


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """Folder of real clips, which are not part of the repository: DEPTHCAST_DATA, or `shared/data` beside it."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DEPTHCAST_DATA", beside))
    if not (folder / "videos").is_dir():
        pytest.skip("needs the real clips: set DEPTHCAST_DATA to the folder that holds videos/")
    return folder


@pytest.fixture(scope="session")
def small_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported graph, see `tests.exported`; only tests of graphs need torch, so it is imported here."""
    from tests import exported

    return exported.small_step(tmp_path_factory.mktemp("small"), "fp32")


@pytest.fixture(scope="session")
def small_half_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `small_step`, in float16."""
    from tests import exported

    return exported.small_step(tmp_path_factory.mktemp("small_half"), "fp16")


@pytest.fixture(scope="session")
def tiny_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported graph, see `tests.exported`."""
    from tests import exported

    return exported.tiny_step(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_open_step(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported graph, see `tests.exported`."""
    from tests import exported

    return exported.tiny_open_step(tmp_path_factory.mktemp("tiny_open"))


@pytest.fixture(scope="session")
def tiny_window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported graph, see `tests.exported`."""
    from tests import exported

    return exported.tiny_window(tmp_path_factory.mktemp("tiny_window"))


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Fails the test that leaves a thread running."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread.name

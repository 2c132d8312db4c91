"""Tests with other people's programs. `make test-live` installs those; elsewhere these tests are skipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's own, the only one that sees GStreamer's bindings."""
_BINDINGS = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is here, and leave it out of the ordinary run: it takes minutes, and programs of the system."""
    asked = "live" in config.getoption("-m", "")
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.live)
        if not asked:
            item.add_marker(pytest.mark.skip(reason="talks to programs of the system: `make test-live`"))


def program(name: str) -> str:
    """Where it is; skips the test where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: run tests/live/install.sh")
    return found


@pytest.fixture(scope="session")
def ffprobe() -> str:
    return program("ffprobe")


@pytest.fixture(scope="session")
def strace() -> str:
    return program("strace")


@pytest.fixture(scope="session")
def gst_launch() -> str:
    return program("gst-launch-1.0")


@pytest.fixture(scope="session")
def gst_python() -> str:
    """A Python that has GStreamer's RTSP server."""
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"needs {SYSTEM_PYTHON} with GStreamer's RTSP server: run tests/live/install.sh")
    found = subprocess.run([SYSTEM_PYTHON, "-c", _BINDINGS], capture_output=True, check=False, timeout=60)
    if found.returncode:
        pytest.skip("needs gir1.2-gst-rtsp-server-1.0 and python3-gi: run tests/live/install.sh")
    return SYSTEM_PYTHON

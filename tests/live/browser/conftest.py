"""Chromium, files for its camera, and `depthcast` in a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from stream.sources.synthetic import SyntheticSource
from stream.webrtc.corrections import own_addresses
from tests.live.browser.firefox import Firefox, opened_firefox
from tests.live.conftest import program
from tests.videos import write_video

HEIGHT, WIDTH, FRAMES = 240, 320, 120
Running = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser."""
    pytest.importorskip("playwright.sync_api", reason="needs playwright: run tests/live/install.sh")
    return program("chromium")


@pytest.fixture(scope="session")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """One for all tests: it takes seconds to start."""
    found = shutil.which("firefox-esr") or program("firefox")
    # The fallback: without a network there is no address that Firefox would pair, and nothing to be tested of that.
    only_loopback = {} if own_addresses() else {"media__peerconnection__ice__loopback": True}
    with opened_firefox(found, tmp_path_factory.mktemp("firefox") / "profile", **only_loopback) as one:
        yield one


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of the test scene, frame numbers and all."""
    source = SyntheticSource(HEIGHT, WIDTH)
    path = tmp_path_factory.mktemp("camera") / "scene.y4m"
    return write_video(path, [source.render(index) for index in range(FRAMES)], codec="rawvideo")


@pytest.fixture(scope="session")
def footage(real_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of a real clip."""
    images = []
    with av.open(real_clips / "videos" / "davis_rollercoaster.mp4") as clip:
        for frame in clip.decode(video=0):
            images.append(frame.reformat(WIDTH, HEIGHT, "rgb24").to_ndarray().astype(np.uint8, copy=False))
            if len(images) == 90:
                break
    return write_video(tmp_path_factory.mktemp("camera") / "footage.y4m", images, codec="rawvideo")


@pytest.fixture(scope="session")
def depthcast(tmp_path_factory: pytest.TempPathFactory) -> Running:
    """Runs `depthcast` inside a block, which is given the URL of its page. `{port}` in its words is a free port.

    ending: the signal that it ends by.
    """
    home = tmp_path_factory.mktemp("home")

    @contextmanager
    def running(
        *words: str, settings: dict[str, str] | None = None, port: int = 0, ending: signal.Signals = signal.SIGINT
    ) -> Iterator[str]:
        port = port or free_port()
        process = subprocess.Popen(
            [sys.executable, "-m", "depthcast", *(word.format(port=port) for word in words)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DEPTHCAST_ICE_ADDRESSES": "127.0.0.1", "DEPTHCAST_HOME": str(home), **(settings or {})},
        )
        assert process.stderr is not None
        try:
            _await_page(process, port)
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.send_signal(ending)
            said = process.communicate(timeout=30)[1]
            assert not re.search(r"Traceback|Task was destroyed|never retrieved", said), said

    return running


def port_of(url: str) -> int:
    """Of a page."""
    return int(url.rstrip("/").rpartition(":")[2])


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _await_page(process: subprocess.Popen[str], port: int) -> None:
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            pass
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    process.kill()
    raise AssertionError(f"depthcast does not serve: {process.communicate()[1]}")

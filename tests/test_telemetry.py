"""No library tells its maker that it was used: not in files, not over the network."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
REPORTING = {"onnxruntime", "openvino"}
STEP = """
from depthcast.models import PACKAGED_NANO
from {module} import {name}
with {name}(PACKAGED_NANO, (32, 32)) as session:
    session.new_cache()
"""
WAYS = {
    "onnx": STEP.format(module="engines.onnx", name="OnnxSession"),
    "openvino": STEP.format(module="engines.openvino", name="OpenVinoSession"),
    "library": """
import numpy, depthcast
depthcast.DepthEstimator(depthcast.open_model(64, 64)).step_array(numpy.zeros((64, 64, 3), numpy.uint8))
""",
    "command": """
import sys
from depthcast.cli import status_of
sys.exit(status_of(["run", "test:?size=64x64&frames=2&realtime=0", "-o", "null:"]))
""",
    "doctor": """
import sys
from depthcast.cli import status_of
sys.exit(status_of(["doctor"]))
""",
    "job worker": "import depthcast.service.jobs.worker, depthcast.networks",
    "export": "import export.to_onnx, onnxruntime, onnxscript",
    "benchmark": "import benchmarks.peer, benchmarks.flops",
    "other program": "import depthcast, onnxruntime; onnxruntime.InferenceSession",
    "child of ours": """
import depthcast, subprocess, sys
subprocess.run([sys.executable, "-c", "import onnxruntime"], check=True)
""",
}


class Proxy:
    """Notes who asks for a way out of the machine."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="proxy")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                guest, _ = self._listener.accept()
            except OSError:
                return
            with guest:
                guest.settimeout(5)
                self.asked.append(guest.recv(4096))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()


def environment(home: Path, proxy: str) -> dict[str, str]:
    """A user's, in which libraries have no reason of their own to keep still, and which asks for their reports."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
    return kept | proxies | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "ORT_DISABLE_TELEMETRY": "0"}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_written_and_nobody_is_asked(way: str, tmp_path: Path) -> None:
    home, proxy = tmp_path / "home", Proxy()
    home.mkdir()
    try:
        ended = subprocess.run(
            [sys.executable, "-c", WAYS[way]],
            env=environment(home, proxy.url),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        proxy.close()
    assert ended.returncode == 0, ended.stderr
    left = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    assert [path for path in left if "depthcast" not in path] == []
    assert proxy.asked == []


def test_every_package_is_silent_before_it_imports_a_library() -> None:
    """Each module that imports one lies in a package whose `__init__` imports `engines`, which comes first."""
    for package in ("depthcast", "stream", "export", "benchmarks", "tests"):
        assert "engines" in _imported(ROOT / package / "__init__.py"), package
    for path in ROOT.glob("[!.]*/**/*.py"):
        if REPORTING & _imported(path):
            assert path.relative_to(ROOT).parts[0] in ("depthcast", "engines", "export", "benchmarks", "tests"), path


def _imported(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    return {name.partition(".")[0] for name in names}

"""A run asks nothing of the network that it was not told to ask: seen in system calls, native code included."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

RUN = ["-m", "depthcast", "run", "test:?size=128x96&rate=25&frames=500&realtime=1", "-o", "null:"]
"""Twenty seconds: ONNX Runtime's first report goes out after a few."""


def test_no_name_is_looked_up_and_no_other_machine_is_met(strace: str, tmp_path: Path) -> None:
    calls, home = tmp_path / "calls", tmp_path / "home"
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home)}
    traced = [strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(calls)]
    subprocess.run([*traced, sys.executable, *RUN], check=True, env=environment, timeout=120)
    met = [line for line in calls.read_text().splitlines() if re.search(r"sa_family=AF_INET|nscd|resolve", line)]
    assert met == []
    assert not list(home.rglob("deviceid"))

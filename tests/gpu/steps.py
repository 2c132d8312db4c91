"""Runs a stream for a profiler to watch: `python -m tests.gpu.steps ENGINE FRAMES`."""

from __future__ import annotations

import sys
from pathlib import Path

from engines.backend import choose_backend, load_backend, load_device
from engines.tensorrt import TensorRtSession
from engines.window import FeatureWindow


def main(engine: Path, frames: int) -> None:
    """Step one stream."""
    device = load_device()
    backend = load_backend(choose_backend(device.capability).name)
    with TensorRtSession.open(engine, backend, device) as session:
        cache, window = session.new_cache(), FeatureWindow(session.spec.window)
        for _ in range(frames):
            session.step(cache, [window.plan()])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

"""A viewer in a process of its own: says which frame it sees, and when. For measuring latency.

python -m depthcast.viewer URI [HOLD_MS]

Each line is the number in the picture's barcode and the monotonic clock in nanoseconds, which all processes of a
machine share. It ends when nobody reads its lines.
"""

from __future__ import annotations

import sys
import threading
import time

from stream.barcode import read
from stream.preprocess import to_rgb
from stream.sources.choose import open_source
from stream.uris import parse_source


def watch(uri: str, hold_s: float) -> None:
    """Print every picture's number as soon as it is shown; each is then looked at for `hold_s` seconds."""
    holding = threading.Event()
    with open_source(parse_source(uri)) as source:
        for frame in source:
            seen_ns = time.monotonic_ns()
            number = read(to_rgb(frame.picture, frame.height, frame.width))
            if number is not None:
                print(number, seen_ns, flush=True)
            holding.wait(hold_s)


if __name__ == "__main__":
    try:
        watch(sys.argv[1], float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0)
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go either.
        sys.stdout = None

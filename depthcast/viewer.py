"""A viewer in a process of its own: says which frame it sees, and when. For measuring latency.

python -m depthcast.viewer TRANSPORT URL [HOLD_MS]

TRANSPORT: `webrtc` for WHEP, anything else for a URI as `depthcast run` takes it.
Each line is the number in the picture's barcode and the monotonic clock in nanoseconds, which all processes of a
machine share. It ends when nobody reads its lines.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import av

from stream.barcode import read
from stream.preprocess import to_rgb
from stream.sources.choose import open_source
from stream.uris import parse_source


def pictures(transport: str, url: str) -> Iterator[av.VideoFrame]:
    """What is shown, as it is decoded; what is not taken in time is replaced by newer."""
    if transport == "webrtc":
        from stream.webrtc.watch import watch

        yield from (picture for picture, _ in watch(url))
        return
    with open_source(parse_source(url)) as source:
        yield from (frame.picture for frame in source)


def say_numbers(transport: str, url: str, hold_s: float) -> None:
    """Print every picture's number as soon as it is shown; each is then looked at for `hold_s` seconds."""
    holding = threading.Event()
    for picture in pictures(transport, url):
        seen_ns = time.monotonic_ns()
        number = read(to_rgb(picture, picture.height, picture.width))
        if number is not None:
            print(number, seen_ns, flush=True)
        holding.wait(hold_s)


if __name__ == "__main__":
    try:
        say_numbers(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.0)
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go either.
        sys.stdout = None

"""A viewer in a process of its own: says which frame it sees, and when. For measuring latency.

python -m depthcast.viewer TRANSPORT URL [HOLD_MS]

TRANSPORT: `webrtc` for WHEP, `ws` for raw depth over WebSocket, else for a URI as `depthcast run` takes it.
Each line is the number in the picture's barcode and the monotonic clock in nanoseconds, which all processes of a
machine share. It ends when nobody reads its lines.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator

import av
import numpy as np
from numpy.typing import NDArray

from stream.barcode import read
from stream.preprocess import to_rgb
from stream.raw.codec import decode
from stream.raw.payload import Unpacker
from stream.sources.choose import open_source
from stream.uris import parse_source


def images(transport: str, url: str) -> Iterator[NDArray[np.uint8] | av.VideoFrame]:
    """What is shown, as it is decoded; what is not taken in time is replaced by newer."""
    match transport:
        case "webrtc":
            from stream.webrtc.watch import watch

            yield from (picture for picture, _ in watch(url))
        case "ws":
            from websockets.sync.client import connect

            unpacker = Unpacker()
            with connect(url, max_size=None, max_queue=1) as socket:
                for message in socket:
                    assert isinstance(message, bytes)
                    yield shades(decode(message, unpacker).depth)
        case _:
            with open_source(parse_source(url)) as source:
                yield from (frame.picture for frame in source)


def shades(depth: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: the least value black, the largest white."""
    low, high = float(np.nanmin(depth)), float(np.nanmax(depth))
    grey = (np.nan_to_num(depth, nan=low) - low) * (255 / max(high - low, 1e-9))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def say_numbers(transport: str, url: str, hold_s: float) -> None:
    """Print every picture's number as soon as it is shown; each is then looked at for `hold_s` seconds."""
    holding = threading.Event()
    for image in images(transport, url):
        seen_ns = time.monotonic_ns()
        number = read(to_rgb(image, image.height, image.width) if isinstance(image, av.VideoFrame) else image)
        if number is not None:
            print(number, seen_ns, flush=True)
        holding.wait(hold_s)


if __name__ == "__main__":
    try:
        say_numbers(sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000 if len(sys.argv) > 3 else 0.0)
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go either.
        sys.stdout = None

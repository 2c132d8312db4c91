"""Whole pictures out of interlaced ones, whose two fields were taken at different moments."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import av
from av.filter import Graph
from av.video.stream import VideoStream

_LEAST_SIDE = 4
"""Smaller pictures have no fields to speak of."""
_TOP_FIRST, _BOTTOM_FIRST = (2, 5), (3, 4)
"""FFmpeg's orders of fields, as they are shown."""
_SAYING = frozenset(
    {"dnxhd", "dvvideo", "ffv1", "h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "prores", "vc1", "vp8", "vp9"}
)
"""Codecs that say of each picture whether it is interlaced, and may change their mind: the container does not count."""
_NOTE = "the material is interlaced: its frames were deinterlaced (bwdif), one for one"


class Deinterlacer:
    """Deinterlaces frames that say that they are interlaced, one for one; others, mixed in, stay as they are.

    The filter looks at the frame behind: from the first interlaced frame on, frames come one later than they went in.
    order: of the fields of all frames, where the container says one; see `fields_of`.
    """

    __slots__ = ("_graph", "_kind", "_order", "_waiting", "notes")

    def __init__(self, order: str | None = None) -> None:
        self._order = order
        self.notes: tuple[str, ...] = ()
        """A sentence, once there was an interlaced frame."""
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] | None = None
        self._waiting: deque[tuple[int | None, Fraction | None]] = deque()
        """Times of the frames that are in the filter."""

    def progressive(self, picture: av.VideoFrame) -> Iterator[av.VideoFrame]:
        """The frames that are ready once this one is known; their times are their own."""
        kind = picture.width, picture.height, picture.format.name
        if self._graph is not None and kind != self._kind:
            yield from self.rest()
        if self._graph is None:
            is_interlaced = picture.interlaced_frame or self._order is not None
            if not is_interlaced or min(picture.width, picture.height) < _LEAST_SIDE:
                yield picture
                return
            # What a picture says of itself counts before what its container says.
            self._graph, self._kind = _graph_for(picture, None if picture.interlaced_frame else self._order), kind
            self.notes = (_NOTE,)
        self._waiting.append((picture.pts, picture.time_base))
        self._graph.push(picture)
        yield from self._ready()

    def rest(self) -> Iterator[av.VideoFrame]:
        """What is still in the filter, at the end or where the pictures change their shape."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None
            self._waiting.clear()

    def _ready(self) -> Iterator[av.VideoFrame]:
        assert self._graph is not None
        while self._waiting:
            try:
                picture = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(picture, av.VideoFrame)
            picture.pts, time_base = self._waiting.popleft()
            if time_base is not None:
                picture.time_base = time_base
            yield picture


def fields_of(video: VideoStream) -> str | None:
    """The order of the fields, `tff` or `bff`, that a container says of pictures whose codec does not say any."""
    context = video.codec_context
    if context.codec.canonical_name in _SAYING:
        return None
    order = context.field_order
    return "tff" if order in _TOP_FIRST else "bff" if order in _BOTTOM_FIRST else None


def _graph_for(picture: av.VideoFrame, order: str | None) -> Graph:
    graph = Graph()
    steps = [
        graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
        ),
        *([] if order is None else [graph.add("setfield", f"mode={order}")]),
        graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced"),
        graph.add("buffersink"),
    ]
    for step, following in pairwise(steps):
        step.link_to(following)
    graph.configure()
    return graph

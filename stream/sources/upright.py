"""Turns pictures the way their container says they were held."""

from __future__ import annotations

from itertools import pairwise

import av
from av.filter import Graph

_TURNS = {
    90: (("transpose", "cclock"),),
    180: (("hflip", None), ("vflip", None)),
    270: (("transpose", "clock"),),
}
"""Counter-clockwise degrees → FFmpeg filters."""


class Upright:
    """Keeps the filter graph of one kind of picture for as long as they keep coming."""

    __slots__ = ("_graph", "_kind", "degrees")

    def __init__(self) -> None:
        self.degrees = 0
        """Counter-clockwise, of the last picture."""
        self._graph: Graph | None = None
        self._kind: tuple[int, int, int, str] | None = None

    def turned(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture with its rotation metadata applied, to the nearest quarter turn."""
        self.degrees = degrees = round(picture.rotation / 90) * 90 % 360
        if degrees == 0:
            return picture
        kind = (degrees, picture.width, picture.height, picture.format.name)
        if self._graph is None or kind != self._kind:
            self._graph, self._kind = _graph_for(picture, degrees), kind
        self._graph.push(picture)
        turned = self._graph.pull()
        assert isinstance(turned, av.VideoFrame)
        turned.pts = picture.pts
        return turned


def _graph_for(picture: av.VideoFrame, degrees: int) -> Graph:
    graph = Graph()
    steps = [
        graph.add_buffer(
            width=picture.width, height=picture.height, format=picture.format, time_base=picture.time_base
        ),
        *(graph.add(name, arguments) for name, arguments in _TURNS[degrees]),
        graph.add("buffersink"),
    ]
    for step, following in pairwise(steps):
        step.link_to(following)
    graph.configure()
    return graph

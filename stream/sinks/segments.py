"""A recording in several files, one after another: each complete in itself, without a gap or a repetition between."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from pathlib import Path

from stream.errors import SinkError
from stream.frame import DepthFrame
from stream.sinks import Sink, kind_of
from stream.sinks.unfinished import split_name
from stream.sinks.video import VideoSink

SUFFIXES = (".mp4", ".mkv", ".npz", ".mcap")
_NUMBER = re.compile(r"%(0?[0-9]*)d")
_DIRECTIVE = re.compile(r"(%[a-zA-Z%])")

OpenSegment = Callable[[Path, Fraction], Sink]
"""Opens a file. Told the time at which it begins, in seconds of the source; zero for the first."""


class Segmented:
    """Gives each stretch of `length_s` seconds a file of its own, the first of which is open from the start.

    The file before is finished in a thread beside, so that no frame waits for it: one at a time.
    path: names the files as `segment_path` says. now: local time.
    """

    __slots__ = ("_closing", "_ends_s", "_error", "_length_s", "_now", "_open", "_path", "sink")

    def __init__(
        self, path: Path, length_s: Fraction, open_segment: OpenSegment, now: Callable[[], datetime] = datetime.now
    ) -> None:
        self._path = path
        self._length_s = length_s
        self._open = open_segment
        self._now = now
        self._ends_s: Fraction | None = None
        self._closing: threading.Thread | None = None
        self._error: BaseException | None = None
        self.sink = open_segment(segment_path(path, now()), Fraction(0))
        """The one that is being written."""

    @property
    def kind(self) -> str:
        """That of its files."""
        return kind_of(self.sink)

    def write(self, depth_frame: DepthFrame) -> None:
        """Take the next frame, into the next file where its time has come."""
        if depth_frame.stale:
            return
        time_s = depth_frame.frame.pts * depth_frame.frame.time_base
        if self._ends_s is None:
            self._ends_s = time_s + self._length_s
        elif time_s >= self._ends_s:
            self._turn(time_s)
            self._ends_s += self._length_s * (1 + (time_s - self._ends_s) // self._length_s)
        self.sink.write(depth_frame)

    def close(self) -> None:
        """Finish the last file."""
        self._wait()
        self.sink.close()

    def abort(self) -> None:
        """Drop the last file; those before are complete."""
        if self._closing is not None:
            self._closing.join()
        self.sink.abort()

    def _turn(self, time_s: Fraction) -> None:
        self._wait()
        if isinstance(self.sink, VideoSink):
            self.sink.end_at(time_s)
        finished = self.sink
        try:
            self.sink = self._open(segment_path(self._path, self._now()), time_s)
        except SinkError:
            finished.close()
            raise
        self._closing = threading.Thread(target=self._finish, args=(finished,), name="segment")
        self._closing.start()

    def _finish(self, sink: Sink) -> None:
        try:
            sink.close()
        except BaseException as error:  # a thread's boundary: raised again by the one that writes
            self._error = error
            sink.abort()

    def _wait(self) -> None:
        if self._closing is not None:
            self._closing.join()
        if self._error is not None:
            raise self._error


def segment_path(path: Path, now: datetime) -> Path:
    """The name of the next file of a recording, which no file has yet.

    `night-%03d.mp4` is numbered, from the highest number that is there on; `night-%H%M.mp4` says when it began
    (`strftime`); `night.mp4` becomes `night-001.mp4`.
    """
    if is_timed(path):
        plain = path.with_name(now.strftime(path.name))
        stem, suffix = split_name(plain.name)
        names = (plain if number == 1 else plain.with_name(f"{stem}-{number}{suffix}") for number in itertools.count(1))
        return next(name for name in names if not _names(re.escape(split_name(name.name)[0]), suffix, path.parent))
    pattern = _numbered(path)
    taken = _names(segment_stems(path).pattern, split_name(path.name)[1], path.parent)
    return path.with_name(pattern.name % (max(map(int, taken), default=0) + 1))


def is_timed(path: Path) -> bool:
    """The name says when: it has a directive of `strftime`, and not only the place of a number."""
    return bool(set(_DIRECTIVE.findall(_NUMBER.sub("", path.name, count=1))) - {"%%"})


def segment_stems(path: Path) -> re.Pattern[str]:
    """What the names of a recording's files look like, without their suffix."""
    if is_timed(path):
        texts = _DIRECTIVE.split(split_name(path.name)[0])
        texts[1::2] = ["%" if text == "%%" else ".+" for text in texts[1::2]]
        texts[::2] = map(re.escape, texts[::2])
        return re.compile("".join(texts))
    head, _, tail = _NUMBER.split(split_name(_numbered(path).name)[0])
    return re.compile(re.escape(head.replace("%%", "%")) + "([0-9]+)" + re.escape(tail.replace("%%", "%")))


def _numbered(path: Path) -> Path:
    """The name with the place of its number."""
    if _NUMBER.search(path.name):
        return path
    stem, suffix = split_name(path.name)
    return path.with_name(f"{stem.replace('%', '%%')}-%03d{suffix}")


def _names(stem: str, suffix: str, folder: Path) -> list[str]:
    """What stands in the place of the number, or nothing, in names that are taken; unfinished files count."""
    name = re.compile(stem + r"(?:\.part(?:-[0-9]+)?)?" + re.escape(suffix))
    found = (name.fullmatch(one.name) for one in folder.iterdir())
    return [match[1] if name.groups else "" for match in found if match]

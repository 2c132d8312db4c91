"""Recordings that were cut off anywhere are read up to their last whole map, and said to be cut."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from depthcast.cli import status_of
from engines.spec import Unit
from stream.errors import SourceError
from stream.recorded import RecordedDepth, read
from stream.sinks import Sink
from stream.sinks.file import Gray16Sink, NpzSink
from stream.sinks.stills import StillsSink
from tests.test_robot_outputs import CAMERA, INFO, frames

SENT = frames()
CUTS = 60


def ros2(path: Path) -> Sink:
    pytest.importorskip("mcap_ros2", reason="needs mcap-ros2-support")
    from stream.sinks.ros2 import Ros2FileSink

    return Ros2FileSink(path, INFO)


KINDS: dict[str, Callable[[Path], Sink]] = {
    "a.mkv": lambda path: Gray16Sink(path, INFO),
    "a.npz": lambda path: NpzSink(path, INFO, "fake"),
    "a.ros2.mcap": ros2,
}


def check(found: list[RecordedDepth]) -> None:
    for index, (one, sent) in enumerate(zip(found, SENT, strict=False)):
        assert (one.index, one.unit, one.intrinsics) == (index, Unit.METRE, CAMERA)
        assert abs(one.time_s - sent.frame.pts * sent.frame.time_base) < Fraction(1, 1000)
        np.testing.assert_allclose(np.nan_to_num(one.depth), np.nan_to_num(sent.depth), atol=0.0011)


def unfinished(path: Path) -> bytes:
    """What is on the disk of a finished recording's frames before its end is written."""
    sink = KINDS[path.name](path)
    for one in SENT:
        sink.write(one)
    part = next(path.parent.glob("*.part.*"))
    data = part.read_bytes()
    sink.close()
    return data if path.suffix != ".mkv" else path.read_bytes()


@pytest.mark.parametrize("name", KINDS)
def test_what_is_whole_is_read(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    data = unfinished(tmp_path / name)
    cut = tmp_path / f"cut{name[1:]}"
    counts = []
    for size in (*range(len(data) // CUTS, len(data), len(data) // CUTS), len(data)):
        cut.write_bytes(data[:size])
        caplog.clear()
        try:
            with caplog.at_level(logging.WARNING):
                found = list(read(cut))
        except SourceError:
            # Not even its head is there.
            assert size < 1200
            continue
        check(found)
        counts.append(len(found))
        # Of this one, which was finished and cut afterwards, the head says how long it was.
        if name != "a.mkv":
            assert f"{cut.name} was cut off while it was recorded: it holds {len(found)} whole maps" in caplog.text
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}


def test_numbered_pictures_end_where_their_list_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = StillsSink(tmp_path / "%d.png")
    for one in SENT:
        sink.write(one)
    sink.close()
    index = tmp_path / "frames.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    index.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    found = list(read(tmp_path / "%d.png"))
    assert len(found) == 2
    check(found)
    assert "it holds 2 whole maps" in caplog.text
    # A power cut keeps names without content.
    index.write_bytes(b"".join(lines))
    (tmp_path / json.loads(lines[3])["file"]).write_bytes(b"")
    assert len(list(read(tmp_path / "%d.png"))) == 2


def test_clouds_are_made_of_what_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = unfinished(tmp_path / "a.npz")
    part = tmp_path / "b.part.npz"
    part.write_bytes(data[: len(data) * 3 // 4])
    assert status_of(["pointcloud", str(part), "-o", str(tmp_path / "%d.ply")]) == 0
    said = capsys.readouterr()
    assert "2 clouds" in said.out
    assert "b.part.npz was cut off while it was recorded: it holds 2 whole maps" in said.err
    assert status_of(["pointcloud", str(tmp_path / "b.npz"), "-o", str(tmp_path / "%d.ply")]) == 1
    assert "there is no recording" in (complained := capsys.readouterr().err)
    assert "b.part.npz is what an interrupted run left of it" in complained

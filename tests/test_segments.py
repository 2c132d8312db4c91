"""Recordings in several files: their names, and that they join without a gap."""

from __future__ import annotations

import itertools
import os
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from depthcast.cli import status_of
from depthcast.errors import UsageError
from depthcast.outputs import segment_length
from depthcast.streams import read_streams
from stream.errors import SinkError
from stream.recorded import read
from stream.sinks import Sink
from stream.sinks.npz import NpzSink
from stream.sinks.segments import Segmented, segment_path, segment_stems
from stream.sinks.unfinished import left_behind
from tests.fakes import ListSink, depth_frame
from tests.test_file_sink import INFO, RAMP
from tests.tiny import tiny_network
from tests.videos import gray_levels, write_video

NOON = datetime(2026, 11, 27, 12, 0, 5)
DEPTH = np.ascontiguousarray(RAMP)


@pytest.mark.parametrize(("name", "there", "wanted"), [
    ("a.mp4", [], "a-001.mp4"),
    ("a.mp4", ["a-001.mp4", "a-002.part.mp4", "a-7.mkv", "a.mp4", "a-x.mp4"], "a-003.mp4"),
    ("a.ros2.mcap", ["a-001.ros2.mcap"], "a-002.ros2.mcap"),
    ("a-%03d.mkv", ["a-999.mkv", "a-12.part-2.mkv"], "a-1000.mkv"),
    ("%d.npz", [], "1.npz"),
    ("100%.mp4", ["100%-004.mp4"], "100%-005.mp4"),
    ("a-%Y%m%d-%H%M.mp4", [], "a-20261127-1200.mp4"),
    ("a(1+%H%%.mp4", ["a(1+12%.mp4"], "a(1+12%-2.mp4"),
    ("a%%H.mp4", [], "a%%H-001.mp4"),
    ("a-%H.mp4", ["a-12.mp4", "a-12-2.part.mp4"], "a-12-3.mp4"),
])  # fmt: skip
def test_names(tmp_path: Path, name: str, there: list[str], wanted: str) -> None:
    for one in there:
        (tmp_path / one).touch()
    assert segment_path(tmp_path / name, NOON).name == wanted


@pytest.mark.parametrize(("name", "parts"), [
    ("a.mp4", ["a-001.part.mp4", "a-123.part-2.mp4"]), ("a-%H%M.mp4", ["a-1200.part.mp4"]), ("%d.npz", ["4.part.npz"]),
    ("a(1+%H%%.mp4", ["a(1+12%.part.mp4"]), ("a%%H.mp4", ["a%%H-001.part.mp4"]),
])  # fmt: skip
def test_parts_of_dead_runs_are_found(tmp_path: Path, name: str, parts: list[str]) -> None:
    for one in (*parts, "b.part.mp4", "a-001.mp4"):
        (tmp_path / one).touch()
    path = tmp_path / name
    assert sorted(one.name for one in left_behind(path, segment_stems(path))) == parts


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("1h", 3600), ("1.5m", 90)])
def test_lengths(text: str, seconds: int) -> None:
    assert segment_length(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "0s", "0.5s", "m", "-1m", "10 minutes", "1d", "nan"])
def test_lengths_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="30s, 10m or 1h"):
        segment_length(text)


def test_every_frame_is_in_one_file_and_stretches_are_of_even_length(tmp_path: Path) -> None:
    opened: dict[str, tuple[Fraction, ListSink]] = {}

    def open_list(path: Path, begins_s: Fraction) -> Sink:
        opened[path.name] = begins_s, ListSink()
        path.touch()
        return opened[path.name][1]

    sink = Segmented(tmp_path / "a.mp4", Fraction(1), open_list)
    sent = [3, 10, 32, 33, 62, 63, 64, 200, 212, 213, 214]
    for pts in sent:
        sink.write(depth_frame(DEPTH, pts))
    sink.close()
    # Thirtieths of a second, counted from the first frame on: 3 to 32, 33 to 62, and so on; 183 to 212 after a pause.
    got = {name: [one.frame.pts for one in each.taken] for name, (_, each) in opened.items()}
    assert got == {"a-001.mp4": [3, 10, 32], "a-002.mp4": [33, 62], "a-003.mp4": [63, 64],
                   "a-004.mp4": [200, 212], "a-005.mp4": [213, 214]}  # fmt: skip
    assert [begins * 30 for begins, _ in opened.values()] == [0, 33, 63, 200, 213]
    assert all(each.closed and not each.aborted for _, each in opened.values())


def test_a_file_that_cannot_be_finished_fails_the_recording(tmp_path: Path) -> None:
    sinks = [ListSink(close_error=SinkError("full")), ListSink(), ListSink()]
    waiting = iter(sinks)
    sink = Segmented(tmp_path / "a.mp4", Fraction(1), lambda _path, _begins: next(waiting))
    sink.write(depth_frame(DEPTH, 0))
    sink.write(depth_frame(DEPTH, 30))
    with pytest.raises(SinkError, match="full"):
        sink.write(depth_frame(DEPTH, 60))
    sink.abort()
    assert [one.aborted for one in sinks] == [True, True, False]


def test_what_was_finished_stays_when_the_rest_is_dropped(tmp_path: Path) -> None:
    sink = Segmented(tmp_path / "a.npz", Fraction(1), lambda path, _begins: NpzSink(path, INFO, "fake"))
    for pts in range(40):
        sink.write(depth_frame(DEPTH, pts))
    sink.abort()
    assert os.listdir(tmp_path) == ["a-001.npz"]
    assert [one.pts for one in read(tmp_path / "a-001.npz")] == list(range(30))


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        track = container.streams.audio[0] if kind == "audio" else container.streams.video[0]
        return [(one.pts * one.time_base, bytes(one)) for one in container.demux(track) if one.pts is not None]


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_a_run_in_segments_joins_exactly(tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))
    clip = write_video(
        tmp_path / ("in.mp4" if codec == "aac" else "in.mov"), gray_levels(25) * 3, sound_s=2.5, sound_codec=codec
    )
    words = ["run", str(clip), "--checkpoint", str(tiny_network(tmp_path)), "--segment", "1s", "--threads", "1"]
    out = tmp_path / "out"
    out.mkdir()
    names = ("a.mp4", "a.mkv", "a.npz", "a.ros2.mcap", "a.mcap", "s%03d.png")
    for name in names:
        words += ["-o", str(out / name)]
    assert status_of(words) == 0
    whole = [
        f"a-00{number}{suffix}" for number in (1, 2, 3) for suffix in (".mp4", ".mkv", ".npz", ".ros2.mcap", ".mcap")
    ]
    stills = [f"s{index:03d}.png" for index in range(75)]
    assert sorted(os.listdir(out)) == sorted([*whole, *stills, "sframes.jsonl"])
    for suffix in (".mkv", ".npz", ".ros2.mcap"):
        seen = [[one.time_s for one in read(out / f"a-00{number}{suffix}")] for number in (1, 2, 3)]
        assert [len(one) for one in seen] == [30, 30, 15], suffix
        assert [round(time * 30) for one in seen for time in one] == list(range(75)), suffix
    lost, joined = Fraction(0), list[tuple[Fraction, bytes]]()
    for number in (1, 2, 3):
        with av.open(str(out / f"a-00{number}.mp4")) as container:
            shown = list(container.decode(video=0))
        assert [one.pts * one.time_base * 30 for one in shown if one.pts is not None and one.time_base] == list(
            range(30 if number < 3 else 15)
        )
        assert shown[0].key_frame
        joined += [(time + number - 1, data) for time, data in packets(out / f"a-00{number}.mp4", "audio")]
    if codec == "aac":
        source = packets(clip, "audio")
        assert [data for _, data in joined] == [data for _, data in source]
        lost = max(abs(one[0] - two[0]) for one, two in zip(joined, source, strict=True))
        assert lost < Fraction(1, 1000)
    else:
        gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(joined)]
        assert max(gaps) < Fraction(1, 20)


def test_in_a_file_of_streams(tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text('segment = "10m"\n[stream.a]\nsource = "test:"\noutput = "a.mkv"\n')
    assert read_streams(config).jobs[0].job.segment_s == 600
    config.write_text('[stream.a]\nsource = "test:"\noutput = "a.mkv"\nsegment = "10"\n')
    with pytest.raises(UsageError, match=r"line 4: stream\.a\.segment: got '10', write .*30s, 10m or 1h"):
        read_streams(config)


def test_only_files_are_divided(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["run", "test:", "-o", "null:", "--segment", "10m"]) == 2
    assert "--segment divides .mp4, .mkv, .npz, .mcap files" in capsys.readouterr().err

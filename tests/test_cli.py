"""The command line on small clips and a network of one operator."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from depthcast.cli import status_of
from tests.tiny import make_clip, tiny_network


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", sound=True)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(clip: Path, output: Path, *options: str) -> int:
    network = tiny_network(clip.parent)
    return status_of(["run", str(clip), "-o", str(output), "--checkpoint", str(network), *options])


def video(path: Path) -> tuple[list[av.VideoFrame], bool]:
    """All frames of a file and whether it has sound; ours are H.264 or FFV1, by name."""
    with av.open(path) as container:
        assert container.streams.video[0].codec_context.name == {".mp4": "h264", ".mkv": "ffv1"}[path.suffix]
        return list(container.decode(video=0)), bool(container.streams.audio)


def test_video_becomes_depth_video_with_timing_and_sound(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clip, tmp_path / "depth.mp4", "--colormap", "turbo", "--threads", "1") == 0
    frames, sound = video(tmp_path / "depth.mp4")
    source, _ = video(clip)
    assert sound
    assert [(frame.height, frame.width) for frame in frames] == [(48, 64)] * 12
    assert [frame.time for frame in frames] == pytest.approx([frame.time for frame in source])
    said = capsys.readouterr()
    assert re.search(r"depth\.mp4: 12 frames in [\d.]+ s \([\d.]+ fps\); p50/p95 ms: .*infer [\d.]+/[\d.]+", said.out)
    assert "tiny at 64x64 on onnx: the network given" in said.err


def test_side_by_side_is_twice_as_wide(clip: Path, tmp_path: Path) -> None:
    assert run(clip, tmp_path / "both.mp4", "--side-by-side") == 0
    frames, _ = video(tmp_path / "both.mp4")
    assert (frames[0].height, frames[0].width) == (48, 128)


def test_resolution_bounds_the_shorter_side(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "tall.mp4", frames=2, height=720, width=480)
    assert run(clip, tmp_path / "depth.mp4", "--resolution", "360p") == 0
    frames, _ = video(tmp_path / "depth.mp4")
    assert (frames[0].height, frames[0].width) == (540, 360)


def test_mkv_is_sixteen_bit(clip: Path, tmp_path: Path) -> None:
    assert run(clip, tmp_path / "depth.mkv") == 0
    frames, _ = video(tmp_path / "depth.mkv")
    assert len(frames) == 12
    assert frames[0].format.name == "gray16le"


def test_raw_depths_are_written_beside_the_video(clip: Path, tmp_path: Path) -> None:
    assert run(clip, tmp_path / "depth.mp4", "--raw", str(tmp_path / "raw.npz"), "--max-frames", "5") == 0
    with np.load(tmp_path / "raw.npz") as raw:
        assert set(raw) >= {"depths", "min_depth", "max_depth", "fps", "model", "shape"}
        assert raw["depths"].shape == (5, 48, 64)
        assert raw["depths"].dtype == np.float32
        assert raw["min_depth"] == raw["depths"].min()
        assert raw["max_depth"] == raw["depths"].max()
        assert raw["fps"] == pytest.approx(24)
        assert str(raw["model"]) == "tiny"
        assert tuple(raw["shape"]) == (5, 48, 64)
    assert len(video(tmp_path / "depth.mp4")[0]) == 5


def test_npz_is_an_output_of_its_own(clip: Path, tmp_path: Path) -> None:
    assert run(clip, tmp_path / "depth.npz") == 0
    with np.load(tmp_path / "depth.npz") as raw:
        assert raw["depths"].shape == (12, 48, 64)


@pytest.mark.parametrize("rate", ["12", "12000/1000"])
def test_output_fps_takes_fewer_frames(clip: Path, tmp_path: Path, rate: str) -> None:
    assert run(clip, tmp_path / "depth.mp4", "--output-fps", rate) == 0
    frames, _ = video(tmp_path / "depth.mp4")
    assert len(frames) == 6
    assert frames[1].time - frames[0].time == pytest.approx(float(Fraction(1, 12)))


def test_existing_output_is_replaced(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "depth.mp4").write_text("an older file")
    assert run(clip, tmp_path / "depth.mp4", "--no-scene-cut") == 0
    assert len(video(tmp_path / "depth.mp4")[0]) == 12


def test_nothing_but_the_output_is_left(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert run(clip, tmp_path / "out" / "depth.mp4") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["depth.mp4"]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--version"]) == 0
    assert re.fullmatch(r"depthcast \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_models_lists_names_licences_and_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["models"]) == 0
    listed = capsys.readouterr().out
    for words in (
        "nano",
        "VDA-Small",
        "VDA-Large --metric",
        "Apache-2.0",
        "CC-BY-NC-4.0",
        "116 MB",
        "metres",
        "pull VDA-Base",
    ):
        assert words in listed


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["--help"]) == 0
    said = capsys.readouterr().out
    for command in ("run", "models", "pull", "export", "build", "doctor"):
        assert command in said


def test_models_tells_what_is_ready(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("networks/VDA-Base-Metric-step-70x98.onnx", "checkpoints/video_depth_anything_vitl.pth"):
        (home / name).parent.mkdir(parents=True)
        (home / name).touch()
    assert status_of(["models"]) == 0
    listed = capsys.readouterr().out
    assert listed.count("exported: VDA-Base-Metric-step-70x98") == 1
    assert listed.count("here: ") == 1

"""What cannot be done: one line on standard error, an exit status, no traceback, no file under the final name."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from depthcast.cli import status_of
from tests.tiny import make_clip, make_sound, tiny_network

Case = Callable[[Path], list[str]]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def _clip(folder: Path) -> str:
    return str(make_clip(folder / "clip.mp4", frames=3))


def _truncated(folder: Path) -> str:
    """The index of an MP4 is at its end, so half a file has none."""
    whole = make_clip(folder / "whole.mp4").read_bytes()
    return _written(folder / "half.mp4", whole[: len(whole) // 2])


def _file_as_folder(folder: Path) -> list[str]:
    return [_clip(folder), "-o", str(Path(_written(folder / "file", b"")) / "depth.mp4")]


REFUSED: dict[str, tuple[Case, int, str]] = {
    "missing file": (lambda at: [str(at / "absent.mp4"), "-o", str(at / "depth.mp4")], 1, "absent.mp4"),
    "folder": (lambda at: [str(at), "-o", str(at / "depth.mp4")], 1, ""),
    "not a video": (lambda at: [_written(at / "a.mp4", b"no video" * 99), "-o", str(at / "depth.mp4")], 1, "a.mp4"),
    "text": (lambda at: [_written(at / "a.txt", b"some words\n" * 99), "-o", str(at / "depth.mp4")], 1, "a.txt"),
    "empty": (lambda at: [_written(at / "a.mp4", b""), "-o", str(at / "depth.mp4")], 1, "a.mp4"),
    "truncated": (lambda at: [_truncated(at), "-o", str(at / "depth.mp4")], 1, "half.mp4"),
    "sound only": (lambda at: [str(make_sound(at / "s.m4a")), "-o", str(at / "depth.mp4")], 1, "s.m4a"),
    "output is input": (lambda at: [_clip(at), "-o", str(at / "clip.mp4")], 2, "overwrite the input"),
    "output is a folder": (lambda at: [_clip(at), "-o", str(_made(at / "depth.mp4"))], 2, "is a folder"),
    "output in no folder": (lambda at: [_clip(at), "-o", str(at / "no" / "depth.mp4")], 2, "no folder"),
    "output below a file": (_file_as_folder, 2, "no folder"),
    "unknown kind": (lambda at: [_clip(at), "-o", str(at / "depth.gif")], 2, "suffix"),
    "raw is not npz": (lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--raw", "raw.mp4"], 2, ".npz"),
    "raw is output": (
        lambda at: [_clip(at), "-o", str(at / "depth.npz"), "--raw", str(at / "depth.npz")],
        2,
        "same file",
    ),
    "raw side by side": (lambda at: [_clip(at), "-o", str(at / "depth.npz"), "--side-by-side"], 2, ".mp4"),
    "unknown model": (lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--model", "x"], 2, "unknown model 'x'"),
    "unknown option": (lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--sped"], 2, "--sped"),
    "unknown colours": (lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--colormap", "pink"], 2, "pink"),
    "no output": (lambda at: [_clip(at)], 2, "name an output with -o"),
    "no frames": (lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--max-frames", "0"], 2, "--max-frames"),
    "no rate": (lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--output-fps", "0"], 2, "above zero"),
    "weights not here": (
        lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--model", "VDA-Small"],
        1,
        "`depthcast pull VDA-Small`",
    ),
    "no checkpoint": (
        lambda at: [_clip(at), "-o", str(at / "depth.mp4"), "--model", "VDA-Small", "--checkpoint", "absent.pth"],
        1,
        "no checkpoint at absent.pth",
    ),
}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_one_line(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    case, status, words = REFUSED[name]
    arguments = case(tmp_path)
    network = tiny_network(tmp_path)
    own = [] if {"--model", "--checkpoint"} & {*arguments} else ["--checkpoint", str(network)]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert status_of(["run", *arguments, *own]) == status
    said = capfd.readouterr().err.splitlines()
    last = said[-1]
    assert last.startswith("depthcast: ")
    assert words in last
    assert not [line for line in said if "Traceback" in line]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def _run(tmp_path: Path, clip: Path, output: Path, *options: str) -> int:
    network = tiny_network(tmp_path)
    return status_of(["run", str(clip), "-o", str(output), "--checkpoint", str(network), *options])


def _frames(path: Path) -> int:
    with av.open(path) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".npz"])
@pytest.mark.parametrize(("height", "width", "frames"), [(48, 64, 1), (1, 1, 3), (33, 47, 2)])
def test_small_and_odd_clips_work(tmp_path: Path, suffix: str, height: int, width: int, frames: int) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames, height, width)
    output = tmp_path / f"depth{suffix}"
    assert _run(tmp_path, clip, output) == 0
    assert output.stat().st_size
    if suffix != ".npz":
        assert _frames(output) == frames


def test_8k_frames_work(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 2, 4320, 7680)
    assert _run(tmp_path, clip, tmp_path / "depth.mp4") == 0
    with av.open(tmp_path / "depth.mp4") as container:
        assert container.streams.video[0].height == 1080


def test_full_disk_fails_with_one_line(tmp_path: Path) -> None:
    """A limit on the size of a file stands for the disk: the writes fail in the same way."""
    clip = make_clip(tmp_path / "clip.mkv", 30, 240, 320)
    network = tiny_network(tmp_path)
    (tmp_path / "out").mkdir()
    for suffix in (".npz", ".mkv", ".mp4"):
        finished = _command(
            ["run", str(clip), "-o", str(tmp_path / "out" / f"depth{suffix}"), "--checkpoint", str(network)],
            limit=4096,
        )
        assert finished.returncode == 1, finished.stderr
        assert finished.stderr.splitlines()[-1].startswith("depthcast: ")
        assert "Traceback" not in finished.stderr
        assert list((tmp_path / "out").iterdir()) == []


def _command(arguments: list[str], limit: int) -> subprocess.CompletedProcess[str]:
    def limit_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-B", "-m", "depthcast", *arguments],
        preexec_fn=limit_files,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_finishes_its_file(tmp_path: Path, number: signal.Signals) -> None:
    clip = make_clip(tmp_path / "clip.mkv", 600, 240, 320)
    network = tiny_network(tmp_path)
    output = tmp_path / "out" / "depth.mkv"
    output.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "depthcast", "run", str(clip), "-o", str(output), "--checkpoint", str(network)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    while not any(path.stat().st_size for path in output.parent.iterdir()):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(number)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 128 + number, rest
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert 0 < _frames(output) < 600
    assert [path.name for path in output.parent.iterdir()] == ["depth.mkv"]


class _Evil:
    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._mark}",)


def _evil_checkpoint(path: Path, mark: Path) -> Path:
    """What `torch.save` writes, with a call in the pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"pretrained.cls_token": _Evil(mark)}, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
    return path


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_checkpoint_that_would_run_code_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: str) -> None:
    mark = tmp_path / "mark"
    checkpoint = _evil_checkpoint(tmp_path / "evil.pth", mark)
    clip = make_clip(tmp_path / "clip.mkv", 2)
    options = ["--model", "VDA-Small", "--checkpoint", str(checkpoint), "--engine", engine]
    assert status_of(["run", str(clip), "-o", str(tmp_path / "depth.mp4"), *options]) == 1
    assert "evil.pth" in capfd.readouterr().err.splitlines()[-1]
    assert not mark.exists()
    assert not (tmp_path / "depth.mp4").exists()


def test_pull_of_licensed_weights_unasked_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["pull", "VDA-Large"]) == 1
    assert "--accept-licence" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("size", "words"),
    [("280", "is written"), ("axb", "is written"), ("280x365", "multiples of 14"), ("0x0", "multiples of 14")],
)
def test_export_to_a_size_that_is_none_fails(size: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["export", "VDA-Small", "--size", size]) == 2
    assert words in capsys.readouterr().err

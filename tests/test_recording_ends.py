"""Runs that are ended from outside: what is on the disk then, for each kind of recording."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import pytest

from depthcast.cli import status_of
from stream.recorded import read
from tests.conditions import until
from tests.tiny import tiny_network

RATE = 30
LONGEST_S = 60
SOURCE = "test:?size=96x64&realtime=0"
NAMES = ("a.mp4", "a.mkv", "a.npz", "a.ros2.mcap", "a.mcap", "%06d.png")
PARTS = ("a.part.mp4", "a.part.mkv", "a.part.npz", "a.part.ros2.mcap", "%06d.png")


@contextmanager
def recording(
    folder: Path, *more: str, names: Sequence[str] = NAMES, **options: object
) -> Iterator[subprocess.Popen[str]]:
    """A run of endless test pictures in a process of its own, once seconds of them are on the disk."""
    network = tiny_network(folder)
    out = folder / "out"
    out.mkdir()
    words = ["run", SOURCE, "--checkpoint", str(network), "--threads", "1", *more]
    for name in names:
        words += ["-o", str(out / name)]
    process = subprocess.Popen(
        [sys.executable, "-m", "depthcast", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEPTHCAST_HOME": str(folder / "home")},
        **options,  # type: ignore[call-overload]
    )
    try:
        until(lambda: process.poll() is not None or fragments(out) >= 3, LONGEST_S)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def fragments(out: Path) -> int:
    return max((path.read_bytes().count(b"moof") for path in out.glob("a*.mp4")), default=0)


def times(path: Path) -> list[Fraction]:
    if path.suffix == ".mp4":
        with av.open(str(path)) as container:
            return [
                one.pts * one.time_base for one in container.decode(video=0) if one.pts is not None and one.time_base
            ]
    return [one.time_s for one in read(path)]


def numbers(path: Path) -> list[int]:
    """Of the pictures in a recording; a time is that of exactly one."""
    exact = [time * RATE for time in times(path)]
    assert all(abs(one - round(one)) < Fraction(RATE, 1000) for one in exact)
    return [round(one) for one in exact]


def test_a_killed_run_leaves_all_but_its_last_second(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    with recording(tmp_path) as process:
        process.kill()
        process.wait(LONGEST_S)
    assert {path.name for path in out.glob("a*")} == {"a.part.mcap", *PARTS[:4]}
    counts = {name: numbers(out / name) for name in PARTS}
    for name, found in counts.items():
        assert found == list(range(len(found))), name
        # Every sink has a queue of its own, and what waits in it and in an encoder is lost.
        assert len(found) >= len(counts["a.part.mp4"]) - 2 * RATE > 0, name
    assert len(counts["a.part.mp4"]) >= 3 * RATE
    # The next run says what is there, leaves it, and finishes its own.
    network = tmp_path / "tiny.onnx"
    words = ["run", "test:?size=96x64&frames=4&realtime=0", "--checkpoint", str(network), "--threads", "1"]
    for name in ("a.mp4", "a.npz"):
        words += ["-o", str(out / name)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))
        assert status_of(words) == 0
    said = capfd.readouterr().err
    assert "a.part.mp4 was recorded by a run that was killed: it can be used as it is" in said
    assert "a.part.npz was recorded by a run that was killed: depthcast.read reads it" in said
    assert numbers(out / "a.mp4") == numbers(out / "a.npz") == [0, 1, 2, 3]
    assert numbers(out / "a.part.mp4") == counts["a.part.mp4"]


@pytest.mark.parametrize(
    "numbers_sent", [[signal.SIGHUP], [signal.SIGHUP, signal.SIGHUP, signal.SIGTERM]], ids=["once", "thrice"]
)
def test_a_signal_finishes_every_file(tmp_path: Path, numbers_sent: list[signal.Signals]) -> None:
    with recording(tmp_path) as process:
        for number in numbers_sent:
            process.send_signal(number)
        _, complained = process.communicate(timeout=LONGEST_S)
    assert process.returncode - 128 in numbers_sent, complained
    assert "interrupted: the output ends with the last finished frame" in complained
    assert "Traceback" not in complained
    out = tmp_path / "out"
    assert {path.name for path in out.glob("*a.*")} == set(NAMES) - {"%06d.png"}
    assert not list(out.glob(".*"))
    found = numbers(out / "a.mp4")
    assert found == list(range(len(found)))
    assert len(found) >= 3 * RATE
    for name in ("a.mkv", "a.npz", "a.ros2.mcap", "%06d.png"):
        assert numbers(out / name) == found, name


def test_nohup_is_heeded(tmp_path: Path) -> None:
    def ignoring() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with recording(tmp_path, names=("a.mp4",), preexec_fn=ignoring) as process:
        process.send_signal(signal.SIGHUP)
        before = fragments(tmp_path / "out")
        until(lambda: fragments(tmp_path / "out") > before, LONGEST_S)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LONGEST_S)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_closed_terminal_finishes_the_file(tmp_path: Path) -> None:
    """The terminal goes with the signal: nothing more can be written to it, by the bar of progress or by anyone."""
    out, network = tmp_path / "out", tiny_network(tmp_path)
    out.mkdir()
    child, terminal = pty.fork()
    if not child:
        os.environ["DEPTHCAST_HOME"] = str(tmp_path / "home")
        words = ["run", SOURCE, "--checkpoint", str(network), "--threads", "1", "-o", str(out / "a.mp4")]
        os.execv(sys.executable, [sys.executable, "-m", "depthcast", *words])
    try:
        os.set_blocking(terminal, False)
        until(lambda: _drained(terminal) and fragments(out) >= 3, LONGEST_S)
    finally:
        os.close(terminal)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert os.listdir(out) == ["a.mp4"]
    found = numbers(out / "a.mp4")
    assert found == list(range(len(found)))


def _drained(terminal: int) -> bool:
    try:
        while os.read(terminal, 1 << 16):
            pass
    except OSError:
        pass
    return True


def test_a_hangup_ends_the_service_in_order(tmp_path: Path) -> None:
    words = ["serve", "--port", "0", "--no-auth", "--data", str(tmp_path / "data"), "--grace", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "depthcast", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEPTHCAST_HOME": str(tmp_path / "home")},
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "startup complete" in line:
            break
    process.send_signal(signal.SIGHUP)
    _, complained = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 0, complained
    assert "shutdown complete" in complained
    assert "Traceback" not in complained


def test_a_hangup_finishes_all_streams_of_a_file(tmp_path: Path) -> None:
    config, network = tmp_path / "a.toml", tiny_network(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    config.write_text(
        f'checkpoint = "{network}"\nthreads = 1\nsegment = "1m"\n'
        + "".join(f'[stream.{name}]\nsource = "{SOURCE}"\noutput = "{out / name}.mp4"\n' for name in ("a1", "a2"))
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "depthcast", "run", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "DEPTHCAST_HOME": str(tmp_path / "home")},
    )
    try:
        until(lambda: process.poll() is not None or (len(list(out.glob("*"))) >= 2 and fragments(out) >= 1), LONGEST_S)
        process.send_signal(signal.SIGHUP)
        _, complained = process.communicate(timeout=LONGEST_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + signal.SIGHUP, complained
    assert "Traceback" not in complained
    assert not list(out.glob("*.part*"))
    for name in ("a1", "a2"):
        found = [numbers(one) for one in sorted(out.glob(f"{name}-*.mp4"))]
        assert all(one == list(range(len(one))) for one in found)

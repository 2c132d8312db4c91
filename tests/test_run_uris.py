"""The rows of the URI tables through the command line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import av
import numpy as np
import pytest

from depthcast.cli import status_of
from depthcast.service.app import create_app
from depthcast.service.server import serving
from depthcast.service.whip import sessions_router
from stream.barcode import read
from stream.errors import SourceError
from stream.preprocess import to_rgb
from stream.sources.synthetic import SyntheticSource
from stream.sources.webrtc import PublishedSource, Reception
from stream.webrtc.watch import watch
from tests.cameras import MjpegCamera, jpeg
from tests.rtc import LOOPBACK, published
from tests.tiny import make_clip, tiny_network
from tests.videos import gray_levels, write_video


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))


def run(folder: Path, *words: str) -> int:
    return status_of(["run", *words, "--checkpoint", str(tiny_network(folder)), "--threads", "1"])


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(path) as container:
        return list(container.decode(video=0))


def test_one_source_to_many_sinks(tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("a.mp4", "b.mkv", "c.npz")]
    sinks = [word for path in outputs for word in ("-o", str(path))]
    assert run(tmp_path, "test:?size=160x120&frames=6&realtime=0", *sinks, "-o", "null:") == 0
    assert [len(frames_of(path)) for path in outputs[:2]] == [6, 6]
    with np.load(outputs[2]) as raw:
        assert raw["depths"].shape == (6, 120, 160)


@pytest.mark.parametrize("options", [(), ("--output-fps", "20")])
def test_a_limited_live_source_gives_exactly_so_many_frames(tmp_path: Path, options: tuple[str, ...]) -> None:
    """It is faster than the network, and frames are dropped on the way: those that come out count."""
    outputs = [tmp_path / name for name in ("a.mp4", "b.mkv")]
    sinks = [word for path in outputs for word in ("-o", str(path))]
    assert run(tmp_path, "test:?size=320x240&rate=500", *sinks, "--max-frames", "15", *options) == 0
    assert [len(frames_of(path)) for path in outputs] == [15, 15]


def test_the_scene_keeps_its_pace_and_its_number_reaches_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.mp4"
    assert run(tmp_path, "test:?size=160x120&rate=20&frames=8", "-o", str(output), "--side-by-side") == 0
    numbers = [read(to_rgb(frame, 120, 320)[:, :160]) for frame in frames_of(output)]
    assert numbers == sorted(set(range(8)).intersection(numbers))
    assert len(numbers) > 1
    assert "a.mp4: " in capsys.readouterr().out


def test_a_looped_file_needs_an_end(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=4)
    assert run(tmp_path, f"file://{clip}?loop=1", "-o", str(tmp_path / "a.mkv"), "--max-frames", "10") == 0
    assert len(frames_of(tmp_path / "a.mkv")) == 10


def test_a_real_time_file_takes_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=13, rate=24, sound=True)
    assert run(tmp_path, f"file://{clip}?realtime=1", "-o", str(tmp_path / "a.mp4")) == 0
    said = capsys.readouterr().out
    assert float(said.split(" frames in ")[1].split()[0]) >= 0.5


def test_motion_jpeg_over_http(tmp_path: Path) -> None:
    with MjpegCamera([jpeg(image) for image in gray_levels(8)]) as camera:
        assert run(tmp_path, camera.url, "-o", str(tmp_path / "a.mkv"), "--max-frames", "5") == 0
    frames = frames_of(tmp_path / "a.mkv")
    assert len(frames) == 5, "whatever was dropped"
    assert (frames[0].height, frames[0].width) == (48, 64)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def watched(port: int, transport: str, seen: list[int | None]) -> None:
    """Play what is served at the port once it is there: the numbers in eight pictures' source half."""
    options = {"rtsp_transport": transport, "timeout": "5000000", "probesize": "32", "analyzeduration": "0"}
    waiting = threading.Event()
    for _ in range(200):
        try:
            container = av.open(f"rtsp://127.0.0.1:{port}/depth", options=options, timeout=5)
        except av.FFmpegError:
            waiting.wait(0.05)
            continue
        with container:
            pictures = container.decode(video=0)
            seen.extend(read(to_rgb(next(pictures), 120, 320)[:, :160]) for _ in range(8))
        return


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_our_own_server_plays_a_file_at_its_pace(
    tmp_path: Path, transport: str, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, port = tmp_path / "scene.mp4", free_port()
    write_video(clip, [SyntheticSource(120, 160).render(index) for index in range(90)])
    seen: list[int | None] = []
    watching = threading.Thread(target=watched, args=(port, transport, seen))
    watching.start()
    assert run(tmp_path, str(clip), "-o", f"rtsp://@127.0.0.1:{port}/depth", "--side-by-side") == 0
    watching.join()
    assert len(seen) == 8
    assert [number for number in seen if number is not None] == sorted(set(seen))  # type: ignore[type-var]
    said = capsys.readouterr()
    assert "H.264 320x120 by " in said.err
    assert f"serving rtsp://@127.0.0.1:{port}/depth" in said.err
    assert float(said.out.split(" frames in ")[1].split()[0]) >= 2.5


def test_a_scene_is_published_to_a_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, seen = free_port(), []
    options = {"rtsp_flags": "listen", "listen_timeout": "10"}

    def take() -> None:
        with av.open(f"rtsp://127.0.0.1:{port}/depth", format="rtsp", options=options, timeout=10) as container:
            seen.append(next(container.decode(video=0)).width)

    taking = threading.Thread(target=take)
    taking.start()
    assert run(tmp_path, "test:?size=160x120&frames=90", "-o", f"rtsp://ann:s3cret@127.0.0.1:{port}/depth") == 0
    taking.join()
    assert seen == [160]
    said = capsys.readouterr()
    assert f"publishing to rtsp://***@127.0.0.1:{port}/depth" in said.err
    assert "s3cret" not in said.err + said.out


def test_a_file_is_watched_over_webrtc_at_its_pace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, port = tmp_path / "scene.mp4", free_port()
    write_video(clip, [SyntheticSource(120, 160).render(index) for index in range(90)])
    seen: list[av.VideoFrame] = []
    watching = threading.Thread(target=lambda: seen.extend(looked(f"http://127.0.0.1:{port}/whep/depth", 8)))
    watching.start()
    assert run(tmp_path, str(clip), "-o", f"webrtc://@127.0.0.1:{port}/depth", "--side-by-side") == 0
    watching.join()
    numbers = [read(to_rgb(picture, 120, 320)[:, :160]) for picture in seen]
    assert len(numbers) == 8
    assert [number for number in numbers if number is not None] == sorted(set(numbers))  # type: ignore[type-var]
    said = capsys.readouterr()
    assert "H.264 320x120 by " in said.err
    assert f"serving webrtc://@127.0.0.1:{port}/depth" in said.err
    assert float(said.out.split(" frames in ")[1].split()[0]) >= 2.5


def looked(url: str, count: int) -> list[av.VideoFrame]:
    """Pictures of what is served there, once it is."""
    waiting = threading.Event()
    for _ in range(400):
        try:
            with closing(watch(url)) as pictures:
                return [picture for (picture, _), _ in zip(pictures, range(count), strict=False)]
        except SourceError:
            waiting.wait(0.05)
    return []


@pytest.mark.parametrize("scheme", ["whip", "webrtc"])
def test_a_publisher_comes_with_its_token(tmp_path: Path, scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    port, taken = free_port(), tmp_path / "taken.mkv"
    source = f"{scheme}://t0ken@@127.0.0.1:{port}/camera"
    with published(f"http://127.0.0.1:{port}/whip/camera", "t0ken"):
        assert run(tmp_path, source, "-o", str(taken), "--max-frames", "8") == 0
    frames = frames_of(taken)
    assert (len(frames) > 0, frames[0].height, frames[0].width) == (True, 120, 320)
    said = capsys.readouterr().err
    assert f"waiting for a publisher at http://127.0.0.1:{port}/whip/camera" in said
    assert "t0ken" not in said


def test_depth_is_brought_to_a_whip_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port, widths = free_port(), []
    with closing(Reception("whip://here", LOOPBACK)) as reception:
        router = sessions_router("/live/depth", reception.door, "t0ken")
        with serving(create_app(router), "127.0.0.1", port):

            def take() -> None:
                with PublishedSource(reception, 20) as source:
                    widths.append(source.info.width)

            taking = threading.Thread(target=take)
            taking.start()
            words = ["test:?size=160x120&frames=60", "-o", f"whip://t0ken@127.0.0.1:{port}/live/depth"]
            assert run(tmp_path, *words, "--side-by-side") == 0
            taking.join()
    assert widths == [320]
    said = capsys.readouterr()
    assert f"publishing to whip://***@127.0.0.1:{port}/live/depth" in said.err
    assert "t0ken" not in said.err + said.out


def test_a_publisher_and_its_viewers_share_an_address(tmp_path: Path) -> None:
    """Depth goes out where the camera came in, which is served before it is known what there is to show."""
    port, seen = free_port(), []
    ways = [f"whip://@127.0.0.1:{port}/camera", "-o", f"webrtc://@127.0.0.1:{port}/depth", "--max-frames", "90"]
    watching = threading.Thread(target=lambda: seen.extend(looked(f"http://127.0.0.1:{port}/whep/depth", 1)))
    watching.start()
    with published(f"http://127.0.0.1:{port}/whip/camera"):
        assert run(tmp_path, *ways) == 0
    watching.join()
    assert [picture.width for picture in seen] == [320]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["webrtc://@:8080/x?viewers=3", "-o", "null:"], "settings"),
        (["test:", "-o", "webrtc://host/x"], "an @ before"),
        (["test:", "-o", "webrtc://@:81/x", "-o", "webrtc://@:81/x"], "different names"),
        (["ftp://h/x", "-o", "null:"], "the sources are"),
        (["test:", "-o", "ftp://h/x"], "the outputs are"),
        (["test:", "-o", "null:", "--side-by-side"], "side-by-side"),
        (["test:", "-o", "null:", "--mode", "offline", "--model", "VDA-Small"], "look"),
        (["test:?frames=2", "-o", "a.mkv", "-o", "./a.mkv"], "same file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *words) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_live_run_leaves_a_playable_file(tmp_path: Path, number: signal.Signals) -> None:
    network = tiny_network(tmp_path)
    output = tmp_path / "out" / "depth.mkv"
    output.parent.mkdir()
    words = ["run", "test:?size=160x120", "-o", str(output), "--checkpoint", str(network)]
    process = subprocess.Popen(
        [sys.executable, "-m", "depthcast", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    while not any(path.stat().st_size for path in output.parent.iterdir()):
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
    process.send_signal(number)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 128 + number, rest
    assert "Traceback" not in rest
    assert frames_of(output)


def test_an_interrupted_run_leaves_its_viewers_and_ends(tmp_path: Path) -> None:
    port = free_port()
    words = ["run", "test:?size=160x120", "-o", f"webrtc://@127.0.0.1:{port}/d", "--checkpoint"]
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "depthcast", *words, str(tiny_network(tmp_path))],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    url, waiting = f"http://127.0.0.1:{port}/whep/d", threading.Event()
    for _ in range(1200):
        pictures = watch(url)
        try:
            next(pictures)
            break
        except SourceError:
            assert process.poll() is None
            waiting.wait(0.05)
    process.send_signal(signal.SIGINT)
    # Its viewers are told: the iteration ends by itself.
    assert sum(1 for _ in pictures) < 100
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 130, rest
    assert "interrupted" in rest
    assert not [word for word in ("Traceback", "Warning", "never retrieved", "was destroyed") if word in rest], rest


def test_a_port_in_use_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for words in ([f"whip://@127.0.0.1:{port}/x", "-o", "null:"], ["test:", "-o", f"webrtc://@127.0.0.1:{port}/x"]):
            assert run(tmp_path, *words) == 2
            said = capsys.readouterr().err.splitlines()
            assert f"cannot listen on 127.0.0.1, port {port}" in said[-1]
    assert set(threading.enumerate()) == before

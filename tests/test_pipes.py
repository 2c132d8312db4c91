"""Videos that come through pipes: read once, from their start to their end, and left at once when that is wanted."""

from __future__ import annotations

import os
import select
import socket
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import depthcast
from depthcast.cli import status_of
from depthcast.client.steps import Ask
from depthcast.client.wire import content_of
from depthcast.errors import UsageError
from depthcast.streams import read_streams
from engines.spec import Unit
from stream.errors import SourceError
from stream.estimator import DepthEstimator
from stream.frame import DepthFrame, Frame
from stream.pipeline import run
from stream.preprocess import to_rgb
from stream.recorded import read as read_recording
from stream.sinks.file import Gray16Sink, NpzSink, VideoSink
from stream.sources.choose import open_source
from stream.sources.file import FileSource
from stream.sources.pipe import is_pipe, name_of
from stream.uris import FileIn, parse_source
from tests.fakes import FakeSession, ListSink, depth_frame
from tests.test_file_sink import INFO
from tests.test_stills import grid_file, slopes
from tests.tiny import make_clip, tiny_network
from tests.videos import gray_levels, write_video

pytestmark = pytest.mark.usefixtures("no_thread_stays")


@contextmanager
def written(path: Path, content: bytes) -> Iterator[Path]:
    """A named pipe into which a thread writes."""
    os.mkfifo(path)
    writer = threading.Thread(target=_write, args=(path, content))
    writer.start()
    try:
        yield path
    finally:
        # Whoever is still waiting for a reader finds one.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        writer.join()


def _write(path: Path, content: bytes) -> None:
    with suppress(BrokenPipeError):
        path.write_bytes(content)


@contextmanager
def piped(content: bytes) -> Iterator[Path]:
    """`<(…)`, as a shell makes it: a descriptor's path."""
    receiver, sender = os.pipe()

    def write() -> None:
        with suppress(BrokenPipeError), os.fdopen(sender, "wb") as file:
            file.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield Path(f"/dev/fd/{receiver}")
    finally:
        os.close(receiver)
        writer.join()


@contextmanager
def standing_in_for_stdin(descriptor: int) -> Iterator[None]:
    before = os.dup(0)
    os.dup2(descriptor, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def _clip(path: Path, movflags: str) -> bytes:
    """Thirty frames with a tone."""
    made = write_video(path, gray_levels(30), sound_s=1, sound_codec="libmp3lame" if path.suffix == ".avi" else "aac")
    if not movflags:
        return made.read_bytes()
    copy = path.with_name("copy.mp4")
    with av.open(made) as read, av.open(copy, "w", container_options={"movflags": movflags}) as container:
        copies = {stream: container.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream]
                container.mux(packet)
    return copy.read_bytes()


@pytest.mark.parametrize(
    ("name", "movflags"),
    [
        ("a.mkv", ""),
        ("a.ts", ""),
        ("a.flv", ""),
        ("a.avi", ""),
        ("a.mp4", ""),
        ("a.mov", ""),
        ("a.mp4", "+faststart"),
        ("a.mp4", "+frag_keyframe+empty_moov"),
    ],
)
def test_pictures_and_sound_come_through(tmp_path: Path, name: str, movflags: str) -> None:
    with written(tmp_path / "pipe", _clip(tmp_path / name, movflags)) as pipe, FileSource(pipe) as source:
        assert source.info.name == str(pipe)
        sink = VideoSink(tmp_path / "out.mp4", source.info, sound=source.sound())
        run(source, DepthEstimator(FakeSession()).step, [sink])
    with av.open(tmp_path / "out.mp4") as container:
        assert sum(1 for _ in container.decode(video=0)) == 30
        container.seek(0)
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(48000, abs=3000)


@pytest.mark.parametrize(("name", "codec"), [("a.png", "png"), ("a.jpg", "mjpeg")])
def test_a_still_comes_through(tmp_path: Path, name: str, codec: str) -> None:
    pixels = "rgb24" if codec == "png" else "yuvj420p"
    content = write_video(tmp_path / name, gray_levels(1), codec=codec, pixel_format=pixels).read_bytes()
    with piped(content) as path, FileSource(path) as source:
        assert [(frame.height, frame.width) for frame in source] == [(48, 64)]


@pytest.mark.parametrize("suffix", [".tiff", ".sgi"])
def test_a_still_whose_size_only_a_file_tells_comes_through(tmp_path: Path, suffix: str) -> None:
    still = tmp_path / f"a{suffix}"
    Image.fromarray(gray_levels(1)[0]).save(still)
    with piped(still.read_bytes()) as path, FileSource(path) as source:
        assert [(frame.height, frame.width) for frame in source] == [(48, 64)]


def test_a_still_in_tiles_comes_through(tmp_path: Path) -> None:
    """Its tiles follow what says where they are: there are several places to go to."""
    image = slopes(128, 128)
    with piped(grid_file(tmp_path / "a.avif", image, 2, 2).read_bytes()) as path, FileSource(path) as source:
        (frame,) = source
    np.testing.assert_allclose(to_rgb(frame.picture, 128, 128).astype(int), image, atol=10)


@pytest.mark.parametrize("size", [5000, 300_000])
def test_an_index_is_missed_behind_a_large_box(tmp_path: Path, size: int) -> None:
    """Cameras write maps, licences and signatures before their pictures."""
    content = write_video(tmp_path / "a.mp4", gray_levels(30)).read_bytes()
    at = int.from_bytes(content[:4], "big")
    box = (8 + size).to_bytes(4, "big") + b"uuid" + bytes(size)
    index = content.index(b"stco") + 12
    (place,) = struct.unpack_from(">I", content, index)
    moved = content[:index] + struct.pack(">I", place + len(box)) + content[index + 4 :]
    with piped(moved[:at] + box + moved[at:]) as path, FileSource(path) as source:
        assert sum(1 for _ in source) == 30
        assert source.damaged == 0


def test_an_mp4_with_its_index_at_the_end_that_finds_no_room_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write_video(tmp_path / "a.mp4", gray_levels(30)).read_bytes()
    monkeypatch.setattr(tempfile, "TemporaryFile", partial(open, "/dev/full", "w+b"))
    with piped(content) as path, pytest.raises(SourceError, match=r"\+faststart.* cannot be kept in .*No space left"):
        FileSource(path)


def test_an_mp4_that_ends_before_its_index_is_called_cut_short(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mp4", gray_levels(30)).read_bytes()
    with piped(content[: len(content) // 2]) as path, pytest.raises(SourceError, match="cut short"):
        FileSource(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "playlist"),
        (b"some words\n" * 1000, "not a video"),
        (np.random.default_rng(0).bytes(50_000), "not a video"),
    ],
)
def test_what_is_no_video_is_refused(content: bytes, words: str) -> None:
    with piped(content) as path, pytest.raises(SourceError, match=words) as caught:
        FileSource(path)
    assert str(path) in str(caught.value)


def test_a_writer_that_dies_leaves_what_it_wrote(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.mkv", gray_levels(40), codec="ffv1").read_bytes()
    with piped(content[: len(content) // 2]) as path, FileSource(path) as source:
        assert 5 < len(list(source)) < 40


@pytest.mark.parametrize("text", ["-", "/dev/stdin"])
def test_standard_input_is_a_source(tmp_path: Path, text: str) -> None:
    content = write_video(tmp_path / "a.mkv", gray_levels(10)).read_bytes()
    with piped(content) as path, standing_in_for_stdin(int(path.name)), open_source(parse_source(text)) as source:
        assert source.info.name == "standard input"
        assert len(list(source)) == 10


def test_a_file_on_standard_input_may_have_its_index_anywhere(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", gray_levels(10))
    with path.open("rb") as file, standing_in_for_stdin(file.fileno()), open_source(parse_source("-")) as source:
        assert len(list(source)) == 10


def test_a_socket_is_read(tmp_path: Path) -> None:
    """As standard input is one under inetd and some container runtimes: its path cannot be opened."""
    content = write_video(tmp_path / "a.mkv", gray_levels(10)).read_bytes()
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def write() -> None:
            theirs.sendall(content)
            theirs.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        with FileSource(f"/dev/fd/{ours.fileno()}") as source:
            assert len(list(source)) == 10
        writer.join()


def test_a_terminal_is_refused() -> None:
    ours, theirs = os.openpty()
    with pytest.raises(SourceError, match="is a terminal"):
        FileSource(f"/dev/fd/{theirs}")
    os.close(ours)
    os.close(theirs)


def test_a_pipe_cannot_be_played_again_and_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="can be read once only"):
        open_source(FileIn(tmp_path / "pipe", loop=True))


def test_a_descriptor_that_is_closed_is_no_file() -> None:
    with pytest.raises(SourceError, match="no such file"):
        FileSource("/dev/fd/987654")


@pytest.mark.parametrize("path", ["a.mp4", "/dev/shm", "/proc/self/maps"])
def test_files_and_folders_are_no_pipes(path: str) -> None:
    assert not is_pipe(Path(path))
    assert name_of(Path(path)) == path


FRAMES = 20


def raw_video(frames: int = FRAMES) -> bytes:
    """YUV4MPEG2: a frame is complete with its last byte, nothing behind it is waited for."""
    frame = b"FRAME\n" + bytes(64 * 48 * 3 // 2)
    return b"YUV4MPEG2 W64 H48 F30:1 C420jpeg\n" + frames * frame


@contextmanager
def stalled(content: bytes) -> Iterator[Path]:
    """A pipe whose writer has written so much, and neither writes more nor goes."""
    receiver, sender = os.pipe()

    def write() -> None:
        left = content
        while left:
            left = left[os.write(sender, left) :]

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield Path(f"/dev/fd/{receiver}")
    finally:
        writer.join()
        os.close(receiver)
        os.close(sender)


def test_a_run_is_stopped_while_its_pipe_is_silent() -> None:
    stop, sink, estimator = threading.Event(), ListSink(), DepthEstimator(FakeSession())

    def stepped(frame: Frame) -> DepthFrame:
        if frame.index == FRAMES - 1:
            stop.set()
        return estimator.step(frame)

    with stalled(raw_video()) as path, FileSource(path) as source:
        run(source, stepped, [sink], stop=stop)
    assert len(sink.taken) == FRAMES
    assert sink.closed


def test_a_sink_that_fails_ends_a_run_whose_pipe_is_silent() -> None:
    sink = ListSink(fail_at=FRAMES - 1)
    with (
        stalled(raw_video()) as path,
        FileSource(path) as source,
        pytest.raises(OSError, match="the sink is full"),
    ):
        run(source, DepthEstimator(FakeSession()).step, [sink])


def test_a_source_is_closed_from_another_thread() -> None:
    with stalled(raw_video()) as path, FileSource(path) as source:
        frames: list[Frame] = []
        reader = threading.Thread(target=lambda: frames.extend(source))
        reader.start()
        source.close()
        reader.join()
    assert len(frames) <= FRAMES


class _InterruptedPoll:
    def register(self, descriptor: int, events: int) -> None:
        """Nothing is watched."""

    def poll(self, _timeout_ms: float | None) -> list[tuple[int, int]]:
        raise KeyboardInterrupt


def test_ctrl_c_ends_the_wait_for_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(select, "poll", _InterruptedPoll)
    with pytest.raises(KeyboardInterrupt):
        FileSource(tmp_path / "pipe")


def test_ctrl_c_within_ffmpeg_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception may not pass through FFmpeg's own functions: it is raised behind them."""
    with piped(raw_video()) as path, FileSource(path) as source:
        monkeypatch.setattr(source._pipe, "_polled", _InterruptedPoll())
        with pytest.raises(KeyboardInterrupt):
            list(source)


@pytest.fixture
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHCAST_HOME", str(tmp_path / "home"))


@pytest.mark.usefixtures("_home")
def test_the_command_line_takes_pipes(tmp_path: Path) -> None:
    content, output = make_clip(tmp_path / "a.mkv", 6).read_bytes(), tmp_path / "depth.mkv"
    options = ["--checkpoint", str(tiny_network(tmp_path))]
    with piped(content) as path:
        assert status_of(["run", str(path), "-o", str(output), *options]) == 0
    with av.open(output) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6


@pytest.mark.usefixtures("_home")
def test_streams_of_a_file_take_pipes(tmp_path: Path) -> None:
    network, output = tiny_network(tmp_path), tmp_path / "depth.npz"
    with piped(make_clip(tmp_path / "a.mkv", 6).read_bytes()) as path:
        (tmp_path / "streams.toml").write_text(
            f'checkpoint = "{network}"\n[stream.one]\nsource = "{path}"\noutput = "{output}"\n'
        )
        assert status_of(["run", "--config", str(tmp_path / "streams.toml")]) == 0
    with np.load(output) as archive:
        assert archive["depths"].shape[0] == 6


def test_two_streams_cannot_read_one_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    lines = [f'[stream.{name}]\nsource = "{tmp_path}/pipe"\noutput = "{name}.npz"' for name in ("one", "two")]
    (tmp_path / "streams.toml").write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"line 5: stream\.two\.source: stream\.one reads it already"):
        read_streams(tmp_path / "streams.toml")


@pytest.mark.usefixtures("_home")
def test_programs_take_pipes(tmp_path: Path) -> None:
    content, network = make_clip(tmp_path / "a.mkv", 6).read_bytes(), tiny_network(tmp_path)
    with piped(content) as path:
        assert len(list(depthcast.estimate(path, checkpoint=network))) == 6
    with piped(content) as path, standing_in_for_stdin(int(path.name)):
        assert len(list(depthcast.estimate("-", checkpoint=network))) == 6
    with piped(content) as path, depthcast.open(path, checkpoint=network) as depths:
        assert len(list(depths)) == 6


def test_the_client_sends_what_comes_through_a_pipe() -> None:
    content = np.random.default_rng(0).bytes(300_000)
    with piped(content) as path, content_of(Ask("POST", "/api/ai/queue", {}, upload=path)) as sent:
        assert sent["files"]["video"][1].read() == content


@pytest.mark.parametrize("suffix", [".mkv", ".npz"])
def test_recordings_come_through_pipes(tmp_path: Path, suffix: str) -> None:
    sink = Gray16Sink(tmp_path / "a.mkv", INFO) if suffix == ".mkv" else NpzSink(tmp_path / "a.npz", INFO, "fake")
    for index in range(4):
        sink.write(depth_frame(np.full((48, 64), index + 1, np.float32), index))
    sink.close()
    with piped((tmp_path / f"a{suffix}").read_bytes()) as path:
        maps = list(read_recording(path))
    assert [float(one.depth.mean()) for one in maps] == pytest.approx([1, 2, 3, 4], rel=0.01)
    assert {one.unit for one in maps} == {Unit.RELATIVE}


def test_a_pipe_without_a_recording_is_refused() -> None:
    with piped(b"no depth") as path, pytest.raises(SourceError, match="recording of depth through a pipe"):
        list(read_recording(path))


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "pipe.mp4"])
def test_a_pipe_is_no_output(tmp_path: Path, capfd: pytest.CaptureFixture[str], output: str) -> None:
    clip = make_clip(tmp_path / "a.mkv", 2)
    if output == "pipe.mp4":
        os.mkfifo(tmp_path / output)
        output = str(tmp_path / output)
    assert status_of(["run", str(clip), "-o", output]) == 2
    assert "name a file" in capfd.readouterr().err

"""Sources on the web: what has an end is a file, what comes in segments keeps its pace, what is pushed in odd parts."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream

from depthcast.job import Job, prepared
from depthcast.models import NANO, find
from depthcast.outputs import Look
from depthcast.plan import Wanted
from depthcast.settings import Settings
from stream.errors import SourceError
from stream.sources.choose import address_of, open_source
from stream.sources.connection import Address, connect
from stream.sources.file import FileSource
from stream.sources.live import LiveSource
from stream.uris import HttpIn, parse_sink, parse_source
from tests.cameras import jpeg
from tests.test_stills import grid_file, slopes
from tests.tiny import make_clip, tiny_network
from tests.videos import gray_levels, write_video

pytestmark = pytest.mark.usefixtures("no_thread_stays")

PICTURES = [jpeg(image) for image in gray_levels(8)]
BODIES = ["length", "chunks", "no length"]


class Web:
    """Answers every request with one body.

    how: it is delimited. promised: bytes, where there are to be more than come. asked: requests so far.
    """

    def __init__(self, body: bytes, how: str = "length", status: int = 200, promised: int | None = None) -> None:
        self.asked = 0
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.asked += 1
                self.close_connection = True
                self.send_response(status)
                if how == "length":
                    self.send_header("Content-Length", str(promised or len(body)))
                if how == "chunks":
                    self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if how == "chunks" else body)

            def log_message(self, *_words: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, *_words: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Web:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def picture_file(path: Path) -> bytes:
    image = np.full((48, 64, 3), 90, np.uint8)
    kinds = {
        ".jpg": ("mjpeg", "yuvj420p"),
        ".png": ("png", "rgb24"),
        ".gif": ("gif", "rgb8"),
        ".webp": ("libwebp", "yuv420p"),
    }
    with av.open(path, "w", format="gif" if path.suffix == ".gif" else "image2", options={"update": "1"}) as container:
        codec, layout = kinds[path.suffix]
        video = container.add_stream(codec, rate=25)
        assert isinstance(video, VideoStream)
        video.height, video.width, video.pix_fmt = 48, 64, layout
        picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=layout)
        container.mux([*video.encode(picture), *video.encode(None)])
    return path.read_bytes()


def video_file(path: Path, count: int) -> bytes:
    """Of pictures that are each of another grey, 25 a second; H.264 has them in another order than they are shown."""
    codec = {".mjpeg": "mjpeg", ".webm": "libvpx"}.get(path.suffix, "libx264")
    options = {".webm": {"live": "1"}, ".mp4": {"movflags": "frag_keyframe+empty_moov"}}.get(path.suffix, {})
    with av.open(path, "w", container_options=options) as container:
        video = container.add_stream(codec, rate=25, options={"g": "10"} if codec == "libx264" else {})
        assert isinstance(video, VideoStream)
        video.height, video.width, video.pix_fmt = 48, 64, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for image in gray_levels(count):
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
    return path.read_bytes()


@pytest.mark.parametrize("how", BODIES)
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".gif", ".webp", ".mp4"])
def test_a_picture_on_the_web_is_a_source_of_one_frame(tmp_path: Path, suffix: str, how: str) -> None:
    path = tmp_path / f"one{suffix}"
    body = make_clip(path, frames=1).read_bytes() if suffix == ".mp4" else picture_file(path)
    with Web(body, how) as web, open_source(parse_source(f"{web.url}/p{suffix}")) as source:
        assert [(frame.index, frame.pts, frame.height, frame.width) for frame in source] == [(0, 0, 48, 64)]
        assert (source.info.live, source.damaged, source.reconnects) == (False, 0, 0)


def test_sixty_snapshots_are_opened_and_none_of_them_breaks() -> None:
    """The reader of each ends, and closes its container, before the opening thread has looked round."""
    with Web(PICTURES[0]) as web:
        for _ in range(60):
            with open_source(parse_source(f"{web.url}/p.jpg")) as source:
                assert len(list(source)) == 1
        assert web.asked == 60


def test_the_command_turns_a_snapshot_into_a_video_of_one_frame(tmp_path: Path) -> None:
    out = tmp_path / "o.mp4"
    with Web(PICTURES[0]) as web:
        command = [sys.executable, "-m", "depthcast", "run", f"{web.url}/p.jpg", "-o", str(out)]
        done = subprocess.run(
            [*command, "--checkpoint", str(tiny_network(tmp_path))], capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    with av.open(out) as container:
        assert sum(1 for _ in container.decode(video=0)) == 1


@pytest.mark.parametrize("how", BODIES)
@pytest.mark.parametrize("suffix", [".ts", ".h264", ".mjpeg", ".webm", ".mkv", ".mp4"])
def test_what_has_an_end_is_read_whole_once_and_in_its_own_time(tmp_path: Path, suffix: str, how: str) -> None:
    """Neither a WebM that was recorded live nor a raw stream says how long it is."""
    path = tmp_path / f"clip{suffix}"
    with Web(video_file(path, 40), how) as web, open_source(parse_source(f"{web.url}/clip{suffix}")) as source:
        assert not source.info.live
        frames = list(source)
        assert (source.reconnects, source.damaged) == (0, 0)
    assert [frame.index for frame in frames] == list(range(40))
    assert [float(frame.pts * frame.time_base) for frame in frames] == pytest.approx(
        [n / 25 for n in range(40)], abs=2e-3
    )


@pytest.mark.parametrize("how", BODIES[1:])
def test_a_file_that_comes_no_faster_than_it_plays_is_not_played_again(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its end it is taken for a camera; what is sent again from its start is one no more."""
    monkeypatch.setattr("stream.sources.connection.has_end", lambda played_s, *_: False if played_s > 0.2 else None)
    monkeypatch.setattr("stream.sources.connection._FASTER", 1e6)
    with Web(video_file(tmp_path / "clip.ts", 8), how) as web:
        uri = parse_source(web.url)
        assert isinstance(uri, HttpIn)
        with LiveSource(address_of(uri, 5), lambda _closing, _seconds: None) as source:
            assert source.info.live
            indices = [frame.index for frame in islice(source, 50)]
        assert (web.asked, source.reconnects, indices[-1]) == (2, 0, 7)


def test_a_file_that_is_cut_off_gives_what_came_and_tells(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "clip.ts", gray_levels(40), options={"g": "5"}).read_bytes()
    half = len(clip) // 2
    with Web(clip[:half], promised=len(clip)) as web, open_source(parse_source(f"{web.url}/clip.ts")) as source:
        assert 0 < len(list(source)) < 40
        assert (source.info.live, source.reconnects) == (False, 0)
        assert source.damaged >= 1


@pytest.mark.parametrize(("body", "status"), [(b"", 200), (b"<html>hello</html>", 200), (b"gone", 404), (b"no", 500)])
@pytest.mark.parametrize("how", BODIES)
def test_what_is_no_picture_is_refused_in_a_line(body: bytes, status: int, how: str) -> None:
    with Web(body, how, status) as web, pytest.raises(SourceError, match=r"cannot be opened|sends no pictures"):
        open_source(parse_source(f"{web.url}/p.jpg"))


def two_tracks(path: Path) -> bytes:
    """Small pictures, and larger ones that are the main track."""
    with av.open(path, "w") as container:
        tracks = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for track, size, use in zip(tracks, (1, 2), (Disposition(0), Disposition.default), strict=True):
            assert isinstance(track, VideoStream)
            track.height, track.width, track.pix_fmt, track.disposition = 48 * size, 64 * size, "yuv420p", use
        for image in gray_levels(5):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            for track in tracks:
                container.mux(track.encode(picture.reformat(width=track.width, height=track.height)))
        for track in tracks:
            container.mux(track.encode(None))
    return path.read_bytes()


def test_the_main_track_is_read_as_in_a_file(tmp_path: Path) -> None:
    body = two_tracks(tmp_path / "two.mkv")
    with FileSource(tmp_path / "two.mkv") as source:
        assert source.info.size == (96, 128)
    with Web(body) as web, open_source(parse_source(f"{web.url}/two.mkv")) as source:
        assert [frame.size for frame in source] == [(96, 128)] * 5


def test_a_tile_is_not_taken_for_the_still(tmp_path: Path) -> None:
    """FFmpeg opens it where the server gives parts; here a file stands in for that server."""
    path = grid_file(tmp_path / "a.avif", slopes(128, 128), 2, 2)
    with pytest.raises(SourceError, match=r"^the still is a still in tiles: download it"):
        connect(Address(f"file:{path}", "the still", on_web=True), threading.Event())


def test_an_mp4_that_the_server_gives_no_parts_of_is_refused_with_what_to_do(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 96, 128, 3), np.uint8)
    body = write_video(tmp_path / "a.mp4", list(noise)).read_bytes()
    with Web(body) as web, pytest.raises(SourceError, match=r"index at its end .* \(Range\)"):
        open_source(parse_source(f"{web.url}/a.mp4"))


def test_sound_that_is_left_out_is_told(tmp_path: Path) -> None:
    body = write_video(tmp_path / "clip.mp4", gray_levels(4), sound_s=0.1).read_bytes()
    with Web(body) as web, open_source(parse_source(f"{web.url}/clip.mp4")) as source:
        (note,) = source.info.notes
        assert note.startswith("the sound of http://127.0.0.1")
        assert "is left out" in note
        assert not source.info.audio
    with Web(PICTURES[0]) as web, open_source(parse_source(f"{web.url}/p.jpg")) as source:
        assert source.info.notes == ()


@pytest.mark.parametrize(("output", "is_live"), [("null:", False), ("rtsp://@127.0.0.1:0/x", True)])
def test_a_file_on_the_web_keeps_its_pace_where_somebody_watches(tmp_path: Path, output: str, is_live: bool) -> None:
    clip = write_video(tmp_path / "clip.ts", gray_levels(4)).read_bytes()
    wanted = Wanted(find(NANO), checkpoint=tiny_network(tmp_path), threads=1)
    with Web(clip) as web:
        job = Job(parse_source(f"{web.url}/clip.ts"), (parse_sink(output),), wanted, Look())
        with prepared(job, Settings(tmp_path), print) as ready:
            assert ready.source.info.live is is_live


LENGTH = "Content-Length: {}\r\n"
PARTS = {
    "boundary behind": ("Content-Type: image/jpeg\r\n" + LENGTH + "\r\n", "\r\n--frame\r\n"),
    "boundary behind, no length": ("Content-Type: image/jpeg\r\n\r\n", "\r\n--frame\r\n"),
    "no type": ("--frame\r\n" + LENGTH + "\r\n", "\r\n"),
    "no header": ("--frame\r\n\r\n", "\r\n"),
    "image/jpg": ("--frame\r\nContent-Type: image/jpg\r\n" + LENGTH + "\r\n", "\r\n"),
    "no dashes": ("frame\r\nContent-Type: image/jpeg\r\n" + LENGTH + "\r\n", "\r\n"),
    "another boundary": ("--other\r\nContent-Type: image/jpeg\r\n" + LENGTH + "\r\n", "\r\n"),
    "wrong length": ("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 100\r\n\r\n", "\r\n"),
    "line feeds": ("--frame\nContent-Type: image/jpeg\n\n", "\n"),
    "plain": ("--frame\r\nContent-Type: image/jpeg\r\n" + LENGTH + "\r\n", "\r\n"),
}


@contextmanager
def pushing(head: str, tail: str, boundary: str) -> Iterator[str]:
    """A camera that pushes its pictures in parts of this form, until the block is left."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={boundary}")
            self.end_headers()
            number = 0
            while not ended.wait(0.01):
                picture = PICTURES[number % len(PICTURES)]
                self.wfile.write(head.format(len(picture)).encode() + picture + tail.encode())
                number += 1

        def log_message(self, *_words: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, *_words: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/video"
    finally:
        ended.set()
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize(
    ("form", "boundary"), [*((form, "frame") for form in PARTS), ("plain", "--frame"), ("plain", '"frame"')]
)
def test_motion_jpeg_in_whatever_parts_is_a_live_source(form: str, boundary: str) -> None:
    with pushing(*PARTS[form], boundary) as url:
        uri = parse_source(url)
        assert isinstance(uri, HttpIn)
        with LiveSource(address_of(uri, 2)) as source:
            frames = list(islice(source, 12))
            assert (source.info.live, source.info.height, source.info.width) == (True, 48, 64)
            assert (source.reconnects, source.damaged) == (0, 0)
    assert all(a.pts < b.pts for a, b in pairwise(frames))
    shades = {round(float(frame.picture.to_ndarray(format="gray").mean())) for frame in frames}
    assert len(shades) > 2, "different pictures have come"


def test_a_camera_that_promises_more_than_it_sends_is_searched_for_pictures() -> None:
    head = "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 9{}\r\n\r\n"
    with pushing(head, "\r\n", "frame") as url:
        uri = parse_source(url)
        assert isinstance(uri, HttpIn)
        with LiveSource(address_of(uri, 2), lambda _closing, _seconds: None) as source:
            assert len(list(islice(source, 60))) == 60
            assert source.reconnects == 1


def test_pictures_without_times_of_their_own_take_those_of_their_arrival() -> None:
    """FFmpeg counts pushed pictures as 25 a second, at whatever rate they come."""
    with pushing(*PARTS["plain"], "frame") as url, open_source(parse_source(url)) as source:
        frames = list(islice(source, 40))
    by_arrival = [(frame.captured_ns - frames[0].captured_ns) / 1e9 for frame in frames]
    assert [float((frame.pts - frames[0].pts) * frame.time_base) for frame in frames] == pytest.approx(
        by_arrival, abs=1e-3
    )


class Playlist:
    """A live playlist of segments of a second, one picture in a tenth; `add` appends the next segment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._segments = 0
        self._ended = False

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            images = gray_levels(10)
            with av.open(self._folder / f"{self._segments}.ts", "w", format="mpegts") as container:
                video = container.add_stream("libx264", rate=10, options={"bf": "0", "g": "10"})
                video.height, video.width, video.pix_fmt = 48, 64, "yuv420p"
                for index, image in enumerate(images):
                    picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                    picture.pts, picture.time_base = 10 * self._segments + index, Fraction(1, 10)
                    container.mux(video.encode(picture))
                container.mux(video.encode(None))
            self._segments += 1
        self._write()

    def end(self) -> None:
        self._ended = True
        self._write()

    def _write(self) -> None:
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0"]
        for number in range(self._segments):
            lines += ["#EXTINF:1.0,", f"{number}.ts"]
        partial = self._folder / "new"
        partial.write_text("\n".join(lines + (["#EXT-X-ENDLIST"] if self._ended else [])) + "\n")
        partial.replace(self._folder / "live.m3u8")


@contextmanager
def folder_served(folder: Path) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.daemon_threads = False
    serving = threading.Thread(target=server.serve_forever, args=(0.02,))
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/live.m3u8"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def test_a_live_playlist_is_played_at_its_own_pace_and_loses_no_picture(tmp_path: Path) -> None:
    """Its segments come at once; the waits stand for the time that goes by, and each is answered with a segment."""
    playlist = Playlist(tmp_path)
    playlist.add(3)
    waits: list[float] = []
    taken = threading.Semaphore(0)

    def wait(closing: threading.Event, seconds: float) -> None:
        if not closing.is_set():
            taken.acquire(timeout=30)  # The one before has been taken: none may be replaced here.
        waits.append(seconds)
        if len(waits) == 15:
            playlist.add()
            playlist.end()

    with folder_served(tmp_path) as url:
        uri = parse_source(url)
        assert isinstance(uri, HttpIn)
        taken.release()
        with LiveSource(address_of(uri, 2), wait) as source:
            assert (source.info.live, source.info.duration_s) == (True, None)
            numbers = []
            for frame in source:
                numbers.append(frame.index)
                taken.release()
            assert source.reconnects == 0
    assert numbers == list(range(40))
    assert waits[0] == 0
    # Time stands still here, so each is due a tenth later than the one before.
    assert waits[1:12] == pytest.approx([n / 10 for n in range(1, 12)], abs=0.5)


def test_a_finished_playlist_is_a_file(tmp_path: Path) -> None:
    playlist = Playlist(tmp_path)
    playlist.add(4)
    playlist.end()
    with folder_served(tmp_path) as url, open_source(parse_source(url)) as source:
        assert (source.info.live, source.info.duration_s) == (False, 4.0)
        assert [round(float(frame.pts * frame.time_base), 3) for frame in source] == [n / 10 for n in range(40)]

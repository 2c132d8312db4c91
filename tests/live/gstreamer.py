"""GStreamer's programs, started and ended by tests."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from stream.barcode import read
from stream.preprocess import to_rgb
from stream.sources.synthetic import SyntheticSource
from tests.cameras import jpeg

_SCRIPT = Path(__file__).with_name("gst_server.py")
FRAMES = 90
PAYLOADS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! rtph264pay pt=96",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! h265parse ! rtph265pay pt=96",
    "mjpeg": "jpegenc ! rtpjpegpay pt=26",
}


def pictures(folder: Path, size: tuple[int, int] = (240, 320)) -> Path:
    """Numbered pictures of the test scene, as `multifilesrc` reads them again and again."""
    height, width = size
    place = folder / f"{width}x{height}"
    if not place.exists():
        place.mkdir()
        scene = SyntheticSource(height, width)
        for number in range(FRAMES):
            (place / f"{number}.jpg").write_bytes(jpeg(scene.render(number)))
    return place


def looped(place: Path, codec: str) -> str:
    """A pipeline that plays these pictures for ever."""
    return (
        f"( multifilesrc location={place}/%d.jpg stop-index={FRAMES - 1} loop=true caps=image/jpeg,framerate=30/1 ! "
        f"jpegdec ! videoconvert ! video/x-raw,format=I420 ! {PAYLOADS[codec]} name=pay0 )"
    )


class GstServer:
    """GStreamer's RTSP server in a process of its own."""

    def __init__(self, python: str, pipeline: str, *words: str, port: int = 0) -> None:
        self._process = subprocess.Popen(
            [python, str(_SCRIPT), str(port), pipeline, *words], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said.startswith("ready "), said
        self.port = int(said.split()[1])

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/cam"

    def hang(self) -> None:
        """It stays connected and does nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """It goes on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """It is gone, without a word."""
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def numbers_in(folder: Path, width: int) -> list[int | None]:
    """Barcodes in the left `width` columns of a folder's pictures, in order."""
    paths = sorted(folder.glob("*.jpg"), key=lambda path: int(path.stem))
    seen = []
    for path in paths:
        with av.open(path) as container:
            picture = next(container.decode(video=0))
            seen.append(read(to_rgb(picture, picture.height, picture.width)[:, :width]))
    return seen

"""Cameras that can be hung, cut and restarted at will: motion JPEG over HTTP, on 127.0.0.1."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from numpy.typing import NDArray

_BETWEEN_S = 0.01


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """An image [H, W, 3] as JPEG."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width, _ = image.shape
    encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuvj420p", Fraction(30), Fraction(1, 30)
    picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


class MjpegCamera:
    """Sends its pictures over and over to whoever asks.

    hung: connections stay open and send nothing. port: 0 chooses one.
    certificate: a PEM file with its key, for TLS.
    """

    def __init__(self, pictures: Sequence[bytes], port: int = 0, certificate: Path | None = None) -> None:
        self.pictures = list(pictures)
        self.hung = threading.Event()
        self.ended = threading.Event()
        self.asked: list[str] = []
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                camera._send(self)

            def log_message(self, *_words: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = False

            def handle_error(self, *_words: object) -> None:
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = int(self._server.server_address[1])
        self._scheme = "http" if certificate is None else "https"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/video.mjpg"

    def _send(self, handler: BaseHTTPRequestHandler) -> None:
        place = 0
        while not self.ended.wait(_BETWEEN_S):
            if self.hung.is_set():
                continue
            picture = self.pictures[place % len(self.pictures)]
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            handler.wfile.write(head.encode() + picture + b"\r\n")
            place += 1

    def close(self) -> None:
        """Cut every connection."""
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

"""Playlists over TLS: whoever gives a part of one is verified as the one who gives the playlist is."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from stream.errors import SourceError
from stream.sources.choose import open_source
from stream.sources.verified import VerifiedWeb, system_authorities
from stream.uris import parse_source
from tests.certificates import self_signed

PARTS = ("x0.ts", "x1.ts", "x2.ts")
KEY, START = bytes(range(16)), bytes(16)


class _Files(SimpleHTTPRequestHandler):
    """Files of a folder; a range of them where one is asked for, a login where the path says so."""

    def send_head(self) -> object:  # type: ignore[override]
        if self.path.startswith("/closed/") and self.headers["Authorization"] != "Basic dTpwQHM=":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        asked = self.headers["Range"]
        if asked is None or asked.endswith("-"):
            return super().send_head()
        first, _, last = asked.removeprefix("bytes=").partition("-")
        data = Path(self.translate_path(self.path)).read_bytes()[int(first) : int(last) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path, certificate: Path | None = None) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Playlists of three parts of five pictures each: as files, as ranges of one file, encrypted."""
    folder = tmp_path_factory.mktemp("hls")
    options = {"hls_time": "1", "hls_list_size": "0"}
    with av.open(folder / "x.m3u8", "w", format="hls", options=options) as output:
        stream = output.add_stream("libx264", rate=Fraction(5), options={"g": "5", "bf": "0", "sc_threshold": "0"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(15):
            image = np.full((48, 64, 3), 16 * number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    data = [(folder / name).read_bytes() for name in PARTS]
    (folder / "all.ts").write_bytes(b"".join(data))
    text = (folder / "x.m3u8").read_text().replace("VERSION:3", "VERSION:4")
    for number, name in enumerate(PARTS):
        where = sum(map(len, data[:number]))
        text = text.replace(name, f"#EXT-X-BYTERANGE:{len(data[number])}@{where}\nall.ts")
    (folder / "ranges.m3u8").write_text(text)
    (folder / "key").write_bytes(KEY)
    for name, plain in zip(PARTS, data, strict=True):
        padder, cipher = PKCS7(128).padder(), Cipher(algorithms.AES(KEY), modes.CBC(START)).encryptor()
        padded = padder.update(plain) + padder.finalize()
        (folder / f"secret_{name}").write_bytes(cipher.update(padded) + cipher.finalize())
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="key",IV=0x{START.hex()}\n#EXTINF'
    secret = (folder / "x.m3u8").read_text().replace("x0", "secret_x0").replace("x1", "secret_x1")
    (folder / "secret.m3u8").write_text(secret.replace("x2", "secret_x2").replace("#EXTINF", key, 1))
    (folder / "closed").mkdir()
    for name in ("x.m3u8", *PARTS):
        (folder / "closed" / name).write_bytes((folder / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("certificate"))


@pytest.mark.parametrize("name", ["x.m3u8", "ranges.m3u8", "secret.m3u8"])
def test_a_playlist_of_someone_trusted_is_played_whole(folder: Path, certificate: Path, name: str) -> None:
    with serving(folder, certificate) as url, open_source(parse_source(f"{url}/{name}"), authorities=certificate) as it:
        assert not it.info.live
        assert [float(frame.pts * frame.time_base) for frame in it] == pytest.approx([n / 5 for n in range(15)])


def test_parts_come_from_someone_trusted_or_not_at_all(folder: Path, certificate: Path, tmp_path: Path) -> None:
    """The playlist comes over plain HTTP: nobody has a certificate to show but those who give the parts."""
    with serving(folder, certificate) as safe, serving(tmp_path) as plain:
        text = (folder / "x.m3u8").read_text()
        for name in PARTS:
            text = text.replace(name, f"{safe}/{name}")
        (tmp_path / "x.m3u8").write_text(text)
        with pytest.raises(SourceError, match=r"certificate is not trusted .*#insecure behind the address"):
            open_source(parse_source(f"{plain}/x.m3u8"))
        with open_source(parse_source(f"{plain}/x.m3u8#insecure")) as source:
            assert len(list(source)) == 15
        with open_source(parse_source(f"{plain}/x.m3u8"), authorities=certificate) as source:
            assert len(list(source)) == 15


def test_a_playlist_may_lead_to_the_web_only(folder: Path, certificate: Path) -> None:
    web = VerifiedWeb(certificate, 5)
    for url in (f"file://{folder}/key", "data:,x", "ftp://127.0.0.1/x", "crypto+file:///etc/passwd", "/etc/passwd"):
        assert web.open(url, 0, {"key": KEY.hex(), "iv": START.hex()}).read(100) == b""
        assert web.failure == "only http:// and https:// are followed"


def test_the_login_goes_with_each_part(folder: Path, certificate: Path) -> None:
    with serving(folder, certificate) as url:
        address = url.replace("://", "://u:p%40s@")
        with open_source(parse_source(f"{address}/closed/x.m3u8"), authorities=certificate) as source:
            assert len(list(source)) == 15
        with pytest.raises(SourceError, match="401"):
            open_source(parse_source(f"{url}/closed/x.m3u8"), authorities=certificate)


def test_a_part_that_is_not_there_is_told_and_passed_over(
    folder: Path, certificate: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("x.m3u8", PARTS[0], PARTS[2]):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with serving(tmp_path, certificate) as url:
        source = open_source(parse_source(f"{url}/x.m3u8"), authorities=certificate)
        with source:
            assert len(list(source)) == 10
    assert any("x1.ts cannot be fetched: it answers 404" in record.getMessage() for record in caplog.records)


def test_someone_is_trusted_on_every_machine() -> None:
    assert "BEGIN CERTIFICATE" in system_authorities().read_text()

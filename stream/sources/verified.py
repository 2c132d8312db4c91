"""TLS of sources: whom to trust, and the parts of a playlist, which FFmpeg 8 itself would fetch without verifying."""

from __future__ import annotations

import http.client
import logging
import ssl
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import certifi
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from stream.errors import SourceError
from stream.reasons import reason_of
from stream.redact import redacted_url

_LOG = logging.getLogger(__name__)

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Of Debian and Arch, Fedora, SUSE, Alpine and macOS: they hold what an administrator has added."""
_ENCRYPTED = "crypto+"
_BLOCK_BITS = 128


def system_authorities() -> Path:
    """The certificates that this machine trusts, as a PEM file; Mozilla's where it has none."""
    told = ssl.get_default_verify_paths().cafile
    found = (Path(one) for one in (told, *_BUNDLES) if one and Path(one).is_file())
    return next(found, Path(certifi.where()))


class Readable(Protocol):
    """What PyAV reads from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...

    def close(self) -> None:
        """Leave it."""
        ...


class VerifiedWeb:
    """Opens http and https addresses for PyAV, `av.open(io_open=web.open)`, and verifies who answers.

    A part that cannot be had is empty, and FFmpeg goes on with the next.
    authorities: a PEM file of those who are trusted. timeout_s: of every wait.
    """

    def __init__(self, authorities: Path, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.failure: str | None = None
        """Why the last part that could not be had could not be had."""
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(authorities)))
        self._logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        # Neither file: nor ftp: nor data:, whatever a playlist or a redirect names.
        self._opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPBasicAuthHandler(self._logins),
            urllib.request.HTTPDigestAuthHandler(self._logins),
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            tls,
            urllib.request.HTTPRedirectHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def open(self, url: str, _flags: int, options: Mapping[str, str]) -> Readable:
        """options: `offset`, `end_offset` name a range, `key` and `iv` AES-128 in hex."""
        try:
            return self._opened(url, options)
        except (OSError, http.client.HTTPException, SourceError) as error:
            self.failure = reason_of(error)
            _LOG.warning("%s cannot be fetched: %s", redacted_url(url), self.failure)
            return BytesIO()

    def _opened(self, url: str, options: Mapping[str, str]) -> Readable:
        plain = url.removeprefix(_ENCRYPTED).removeprefix("crypto:")
        if urlsplit(plain).scheme not in ("http", "https"):
            raise SourceError("only http:// and https:// are followed")
        request = self._request(plain, options)
        response = self._opener.open(request, timeout=self._timeout_s)
        if response is None:
            raise SourceError("it redirects to something that is not followed")
        if request.has_header("Range") and response.status != HTTPStatus.PARTIAL_CONTENT:
            response.close()
            raise SourceError("its server does not give parts of a file, which this playlist needs")
        if plain == url:
            return response  # type: ignore[no-any-return]
        return _Decrypted(response, bytes.fromhex(options["key"]), bytes.fromhex(options["iv"]))

    def _request(self, url: str, options: Mapping[str, str]) -> urllib.request.Request:
        parts = urlsplit(url)
        login, at, place = parts.netloc.rpartition("@")
        if at:
            user, _, password = login.partition(":")
            # Of this origin only: it is not given on to where a redirect leads.
            self._logins.add_password(None, f"{parts.scheme}://{place}/", unquote(user), unquote(password))
        request = urllib.request.Request(parts._replace(netloc=place).geturl())
        first, end = options.get("offset", "0"), options.get("end_offset", "0")
        if first != "0" or end != "0":
            request.add_header("Range", f"bytes={first}-{int(end) - 1 if end != '0' else ''}")
        return request


class _Decrypted:
    """A segment that is encrypted as a whole (RFC 8216, 4.3.2.4: AES-128, CBC, PKCS7)."""

    def __init__(self, encrypted: Readable, key: bytes, start: bytes) -> None:
        self._encrypted = encrypted
        self._cipher: CipherContext = Cipher(algorithms.AES(key), modes.CBC(start)).decryptor()
        self._padding = PKCS7(_BLOCK_BITS).unpadder()
        self._rest = b""
        self._ended = False

    def read(self, size: int, /) -> bytes:
        """As of Readable."""
        while not self._rest and not self._ended:
            data = self._encrypted.read(size)
            self._ended = not data
            if data:
                self._rest = self._padding.update(self._cipher.update(data))
            else:
                self._rest = self._padding.update(self._cipher.finalize()) + self._padding.finalize()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def close(self) -> None:
        """As of Readable."""
        self._encrypted.close()

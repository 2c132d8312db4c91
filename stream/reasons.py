"""Why something failed, in words: never the class of an exception, and never an address, which may hold a password."""

from __future__ import annotations

import errno
import ssl
import urllib.error

import av

_STATUS = (
    (av.error.HTTPBadRequestError, "it answers 400 (bad request): check the path and what follows the ?"),
    (
        av.error.HTTPUnauthorizedError,
        "it answers 401 (login needed): check USER:PASSWORD@ before the host",
    ),
    (av.error.HTTPForbiddenError, "it answers 403 (forbidden): check the login, and whether it may see this stream"),
    (av.error.HTTPNotFoundError, "it answers 404 (not found): check the path"),
    (av.error.HTTPTooManyRequestsError, "it answers 429 (too many requests): try again later"),
    (av.error.HTTPClientError, "it answers with a 4xx status: check the address"),
    (av.error.HTTPServerError, "it answers with a 5xx status: its server has a problem, try again later"),
)
_MEANING = (
    (av.error.ExitError, "nothing came within the time limit"),
    (av.error.InvalidDataError, "what arrives is no video that can be read here"),
    (av.error.ProtocolNotFoundError, "it leads to an address of a kind that is not followed"),
    (av.error.EOFError, "it ends before the first picture"),
    (TimeoutError, "no answer within the time limit"),
)
_TRUST = "#insecure behind the address accepts any, DEPTHCAST_CA_FILE names whom to trust"
_NO_CONNECTION = f"no connection: check the host's name, the network and, with TLS, its certificate ({_TRUST})"


def reason_of(error: BaseException) -> str:
    """The reason of a failed opening, reading or sending, for the end of a sentence."""
    for kind, meaning in (*_STATUS, *_MEANING):
        if isinstance(error, kind):
            return meaning
    if isinstance(error, urllib.error.HTTPError):
        return f"it answers {error.code} ({error.reason})"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return reason_of(error.reason)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): {_TRUST}"
    if isinstance(error, av.FFmpegError) and error.errno == errno.EIO:
        # All that FFmpeg says of a host that is unknown and of a certificate that is not trusted.
        return _NO_CONNECTION
    if isinstance(error, (OSError, av.FFmpegError)) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or "an error without a description"

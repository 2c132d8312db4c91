"""Why something failed, in words: never the class of an exception, and never an address, which may hold a password."""

from __future__ import annotations

import errno

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
_NO_CONNECTION = "no connection: check the host's name, the network and, with TLS, its certificate"


def reason_of(error: BaseException) -> str:
    """The reason of a failed opening, reading or sending, for the end of a sentence."""
    for kind, meaning in (*_STATUS, *_MEANING):
        if isinstance(error, kind):
            return meaning
    if isinstance(error, av.FFmpegError) and error.errno == errno.EIO:
        # All that FFmpeg says of a host that is unknown and of a certificate that is not trusted.
        return _NO_CONNECTION
    if isinstance(error, (OSError, av.FFmpegError)) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or "an error without a description"

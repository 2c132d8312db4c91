"""Who may ask for what, how often, and what browsers are told to keep from others: one layer around all routes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from math import ceil
from urllib.parse import SplitResult, urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from depthcast.errors import UsageError
from depthcast.service.answers import Json
from depthcast.service.errors import envelope
from depthcast.service.keys import KeyRing, Keys
from depthcast.service.rates import Buckets, Rates, site_of

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json", "/api/evaluations/models"})
_OPEN_BELOW = ("/api/ai/models", "/api/repos/")
"""The list of models, which the hosted API gives to everybody, and results, whose addresses are signed."""
_PAGE_FILE = re.compile(r"/[\w-]+\.(css|ico|js|png|svg|webmanifest)", re.ASCII)
_LOCAL_NAMES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
_DOCS = "/docs"
_DOCS_FROM = "https://cdn.jsdelivr.net"

_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: mediastream:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_DOCS_POLICY = (
    f"default-src 'self'; script-src 'unsafe-inline' {_DOCS_FROM}; style-src 'unsafe-inline' {_DOCS_FROM}; "
    "img-src 'self' data: https://fastapi.tiangolo.com; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""FastAPI's page of the API is a line of script beside libraries from there."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Protection:
    """How a service is protected.

    keys: those that are valid now; None: nobody is asked for one.
    names: hosts that the service is reached by, beside local ones. Asked for only where there are no keys: a page
    anywhere on the web may send requests to a name of its own that leads here, and a key is what it cannot bring.
    clock: seconds, monotonic.
    """

    keys: Callable[[], Keys] | None
    names: frozenset[str] = frozenset()
    rates: Rates = field(default_factory=Rates)
    clock: Callable[[], float] = time.monotonic


class Security:
    """ASGI middleware. `request.state.caller` is the name of the key that a request came with, where it did."""

    __slots__ = ("_app", "_buckets", "_protection")

    def __init__(self, app: ASGIApp, protection: Protection) -> None:
        self._app = app
        self._protection = protection
        self._buckets = Buckets(protection.rates)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the application's place, or let it answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                _guard(MutableHeaders(scope=message), scope["path"])
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Json | None:
        headers = Headers(scope=scope)
        method = scope.get("method", "GET")
        caller, client = None, site_of((scope.get("client") or ("",))[0])
        if self._protection.keys is None:
            if reason := strangeness(headers, method, scope["type"], self._protection.names):
                return Json(envelope("forbidden", reason), 403)
        else:
            caller = self._protection.keys().name_of(_brought(headers))
        wait_s = self._buckets.take(
            client if caller is None else f"key {caller}", method not in _READS, self._protection.clock()
        )
        if wait_s:
            seconds = str(ceil(wait_s))
            said = envelope("rate_limit_exceeded", f"too many requests; try again in {seconds} s")
            return Json(said, 429, {"Retry-After": seconds})
        if caller is not None:
            scope.setdefault("state", {})["caller"] = caller
        elif self._protection.keys is not None and not _is_open(method, scope["path"]):
            return Json(envelope("unauthenticated"), 401, {"WWW-Authenticate": "Bearer"})
        return None


def protect(app: FastAPI, protection: Protection, origins: Sequence[str] = ()) -> None:
    """Put the layer around an application. origins: of sites whose pages may use it too, such as https://lab.example."""
    app.add_middleware(Security, protection=protection)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match"],
            expose_headers=["ETag", "Link", "Location", "Retry-After"],
        )


def protection_for(host: str, ring: KeyRing, no_auth: bool = False, public_url: str | None = None) -> Protection:
    """What a service needs that listens there: keys wherever there are any, and wherever others can reach it.

    Raises UsageError where it would be open to everybody without somebody having said so.
    """
    if ring() and not no_auth:
        return Protection(ring)
    if not no_auth and not is_loopback(host):
        raise UsageError(
            f"whoever reaches {host or 'this machine'} could use the service: make a key (`depthcast keys add NAME`) "
            "or say --no-auth"
        )
    name = _parsed(public_url or "").hostname
    return Protection(None, frozenset({name} if name else ()))


def is_loopback(host: str) -> bool:
    """Whether what listens there is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _brought(headers: Headers) -> str:
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _is_open(method: str, path: str) -> bool:
    """Whether everybody may ask for it. What a page of another site asks beforehand carries no key."""
    if method == "OPTIONS":
        return True
    is_open = path in _OPEN or path.startswith(_OPEN_BELOW) or _PAGE_FILE.fullmatch(path) is not None
    return method in _READS and is_open


def strangeness(headers: Headers, method: str, kind: str, names: frozenset[str]) -> str | None:
    """Why a request may be one that a page of another site made a browser send here."""
    host = headers.get("Host", "")
    name = _parsed(f"//{host}").hostname or ""
    if not (_is_local(name) or name in names):
        return f"this service is not known as {name or 'nothing'}; its operator can name it with --public-url"
    origin = headers.get("Origin")
    if origin is not None and (method not in _READS or kind == "websocket") and _parsed(origin).netloc != host:
        return "pages of other sites may not use this service without a key"
    return None


def _parsed(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _is_local(name: str) -> bool:
    """A name that nobody can register, so that no page of the web is under it."""
    try:
        ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_LOCAL_NAMES))
    return True


def _guard(headers: MutableHeaders, path: str) -> None:
    """Add what a route did not say itself."""
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", _DOCS_POLICY if path == _DOCS else _POLICY)

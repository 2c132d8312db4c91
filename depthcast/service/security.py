"""Who may ask for what, how often, and what browsers are told to keep from others: one layer around all routes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from math import ceil
from urllib.parse import SplitResult, urlsplit

import anyio
import anyio.lowlevel
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from depthcast.errors import UsageError
from depthcast.publicurl import PublicUrl
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


def _no_keys() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Protection:
    """How a service is protected.

    keys: those that are valid now; None: nobody is asked for one.
    names: hosts that the service is reached by, beside local ones. Asked for only where there are no keys: a page
    anywhere on the web may send requests to a name of its own that leads here, and a key is what it cannot bring.
    origins: of sites whose pages may use the service too, such as https://lab.example.
    own: origins of its own pages, as a browser sees them that comes through a proxy.
    clock: seconds, monotonic.
    """

    keys: Callable[[], Keys | None] = _no_keys
    names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
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

        answering, is_endless = anyio.CancelScope(), False

        async def send_guarded(message: Message) -> None:
            nonlocal is_endless
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                is_endless = "Content-Length" not in headers
                _guard(headers, scope["path"])
            elif is_endless and message.get("more_body") and not self._may_enter(scope):
                await send({"type": "http.response.body"})
                answering.cancel()
                await anyio.lowlevel.checkpoint()
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            with answering:
                await self._app(scope, receive, send_guarded)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send_guarded)

    def _may_enter(self, scope: Scope) -> bool:
        """Whether nobody is asked for a key, or a valid one was brought: a stream ends with the key that began it."""
        keys = self._protection.keys()
        return keys is None or _is_open_to_all(scope) or keys.name_of(_brought(Headers(scope=scope))) is not None

    def _refusal(self, scope: Scope) -> Json | None:
        headers = Headers(scope=scope)
        method = scope.get("method", "GET")
        is_open = _is_open_to_all(scope)
        keys = self._protection.keys()
        caller = None if keys is None else keys.name_of(_brought(headers))
        if keys is None and not is_open and (reason := self._cross_site(scope, headers)):
            return Json(envelope("forbidden", reason), 403)
        client = site_of((scope.get("client") or ("",))[0]) if caller is None else f"key {caller}"
        wait_s = self._buckets.take(client, method not in _READS, self._protection.clock())
        if wait_s:
            seconds = str(ceil(wait_s))
            said = envelope("rate_limit_exceeded", f"too many requests; try again in {seconds} s")
            return Json(said, 429, {"Retry-After": seconds})
        if caller is not None:
            scope.setdefault("state", {})["caller"] = caller
        elif keys is not None and not is_open:
            return Json(envelope("unauthenticated", keys.trouble), 401, {"WWW-Authenticate": "Bearer"})
        return None

    def _cross_site(self, scope: Scope, headers: Headers) -> str | None:
        """Why a page of another site may have sent this, where the route does not admit such."""
        protection = self._protection
        known = protection.origins | protection.own
        reason = cross_site_reason(headers, scope.get("method", "GET"), scope["type"], protection.names, known)
        return None if reason is None or _is_admitted(scope, headers) else reason


def protect(app: FastAPI, protection: Protection) -> None:
    """Put the layer around an application."""
    app.state.admitting = {}
    app.add_middleware(Security, protection=protection)
    if protection.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(protection.origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match"],
            expose_headers=["ETag", "Link", "Location", "Retry-After"],
        )


@dataclass(frozen=True, slots=True)
class Admits:
    """Mark routes, as a dependency, that pages of other sites may use: those of such an origin."""

    origin: Callable[[str], bool]

    async def __call__(self) -> None:
        """Nothing more is asked of a request that came through."""


TOKEN_ASKED = Admits(lambda _: True)
"""For routes that ask for a token of their own, which such a page cannot know."""


def include(app: FastAPI, router: APIRouter) -> None:
    """Add a router to a protected application, in the place of earlier routes of the same paths."""
    app.include_router(router)
    admitting: dict[str, tuple[re.Pattern[str], Admits]] = app.state.admitting
    for route in router.routes:
        if isinstance(route, APIRoute | APIWebSocketRoute):
            admitting.pop(route.path, None)
            for one in route.dependencies:
                if isinstance(one.dependency, Admits):
                    admitting[route.path] = route.path_regex, one.dependency


def _is_admitted(scope: Scope, headers: Headers) -> bool:
    """Whether the route that this leads to may be used by pages of that origin."""
    admitting: dict[str, tuple[re.Pattern[str], Admits]] = scope["app"].state.admitting
    found = [admits for path, admits in admitting.values() if path.match(scope["path"])]
    return bool(found) and all(admits.origin(origin) for admits in found for origin in headers.getlist("Origin"))


def reached_by(public: PublicUrl | None, protection: Protection) -> Protection:
    """The same, for a service that is reached by this address too."""
    if public is None:
        return protection
    return replace(protection, names=protection.names | {public.host}, own=protection.own | {public.origin})


def protection_for(host: str, ring: KeyRing, no_auth: bool = False, origins: Sequence[str] = ()) -> Protection:
    """What a service needs that listens there: keys wherever there are any, and wherever others can reach it.

    Raises UsageError where it would be open to everybody without somebody having said so.
    """
    if not no_auth and ring() is None and not is_loopback(host):
        raise UsageError(
            f"whoever reaches {host or 'this machine'} could use the service: make a key (`depthcast keys add NAME`) "
            "or say --no-auth"
        )
    sites = frozenset(one.rstrip("/").lower() for one in origins)
    return Protection(_no_keys if no_auth else ring, origins=sites)


def is_loopback(host: str) -> bool:
    """Whether what listens there is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _brought(headers: Headers) -> str:
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _is_open_to_all(scope: Scope) -> bool:
    """Whether everybody may ask for it. What a page of another site asks beforehand carries no key."""
    if scope["type"] != "http":
        return False
    path, method = scope["path"], scope["method"]
    is_open = path in _OPEN or path.startswith(_OPEN_BELOW) or _PAGE_FILE.fullmatch(path) is not None
    return method == "OPTIONS" or (method in _READS and is_open)


def cross_site_reason(
    headers: Headers, method: str, kind: str, names: frozenset[str], origins: frozenset[str] = frozenset()
) -> str | None:
    """Why a request may be one that a page of another site made a browser send here.

    kind: http or websocket. names, origins: as `Protection` has them. What only reads is answered to every origin:
    browsers do not show the answer to its page.
    """
    host = headers.get("Host", "")
    name = _parsed(f"//{host}").hostname or ""
    given = headers.getlist("Origin")
    # A browser says whose page it is that opens a WebSocket; a program may use any name.
    if not (_is_local(name) or name in names) and (kind == "http" or given):
        return f"this service is not known as {name or 'nothing'}; its operator can name it with --public-url"
    if method in _READS and kind == "http":
        return None
    is_foreign = any(origin not in origins and _parsed(origin).netloc.lower() != host.lower() for origin in given)
    if is_foreign or (not given and headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")):
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

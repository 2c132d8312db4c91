"""Who may ask a service for what: keys, rates, strangers' pages, headers, and logs without secrets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, StreamingResponse

from depthcast.errors import UsageError
from depthcast.publicurl import PublicUrl
from depthcast.service.app import create_app
from depthcast.service.keys import KeyRing, Keys, digest_of, new_key, write_keys
from depthcast.service.logs import DiscreetFormatter
from depthcast.service.rates import Bucket, Buckets, Rate, Rates, site_of
from depthcast.service.security import Protection, protection_for, reached_by
from stream.redact import redacted

KEY = new_key()
KEYS = Keys().with_key("ann", KEY).with_key("bo", new_key())
FREE = Rates(Rate(1e6, 10**6), Rate(1e6, 10**6))


def _routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.api_route("/api/ai/queue", methods=["GET", "POST"])
    @router.get("/api/ai/models/{name}")
    @router.get("/api/repos/x/generations/file/y.mp4")
    @router.get("/app.js")
    @router.get("/live/streams")
    async def caller(request: Request) -> str:
        return str(getattr(request.state, "caller", "nobody"))

    @router.get("/own")
    async def own() -> HTMLResponse:
        return HTMLResponse("", headers={"Content-Security-Policy": "default-src 'none'"})

    @router.get("/api/events")
    async def events() -> StreamingResponse:
        async def told() -> AsyncIterator[str]:
            yield "first"
            CHANGES.pop()()
            for _ in range(1000):
                yield "more"

        return StreamingResponse(told())

    return router


CHANGES: list[Callable[[], None]] = []
"""What becomes of the keys while events are told."""


class Service:
    """An application behind the layer; asked without a socket."""

    def __init__(self, protection: Protection) -> None:
        self._app = create_app(_routes(), protection=protection)

    def ask(
        self,
        path: str = "/api/ai/queue",
        method: str = "GET",
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        client: str = "192.0.2.1",
        base: str = "http://127.0.0.1:8080",
    ) -> httpx.Response:
        brought = {} if key is None else {"Authorization": f"Bearer {key}"}

        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(self._app, client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url=base) as asking:
                return await asking.request(method, path, headers={**brought, **(headers or {})})

        return asyncio.run(run())


def keyed(rates: Rates = FREE) -> Service:
    return Service(Protection(lambda: KEYS, rates=rates))


def test_the_key_tells_who_calls() -> None:
    answer = keyed().ask(key=KEY)
    assert (answer.status_code, answer.json()) == (200, "ann")


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Basic {KEY}",
        KEY,
        f"Bearer {digest_of(KEY).hex()}",
    ],
    ids=["nothing", "no key", "an empty key", "one letter more", "one less", "Basic", "no scheme", "the digest"],
)
def test_no_key_and_a_wrong_one_are_refused(authorization: str) -> None:
    for path in ("/api/ai/queue", "/live/streams", "/nowhere", "/metrics", "/api/ai/../ai/queue"):
        answer = keyed().ask(path, headers={"Authorization": authorization})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        said = answer.json()
        assert said["status"] == "error"
        assert said["status_message"] == said["error"]["type"] == "unauthenticated"
        assert said["error"]["title"]


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/healthz", "GET", 200),
        ("/openapi.json", "GET", 200),
        ("/docs", "GET", 200),
        ("/app.js", "GET", 200),
        ("/api/ai/models/x", "GET", 200),
        ("/api/repos/x/generations/file/y.mp4", "GET", 200),
        ("/api/ai/models/x", "POST", 401),
        ("/app.js", "POST", 401),
        ("/api/app.js", "GET", 401),
        ("/api/ai/queue", "OPTIONS", 405),
    ],
)
def test_what_is_open_to_everybody(path: str, method: str, status: int) -> None:
    assert keyed().ask(path, method).status_code == status


def test_open_routes_know_the_caller_too() -> None:
    assert keyed().ask("/api/ai/models/x", key=KEY).json() == "ann"


def test_requests_beyond_the_rate_wait() -> None:
    now = [0.0]
    rates = Rates(reads=Rate(1, 3), writes=Rate(0.5, 1))
    service = Service(Protection(lambda: KEYS, rates=rates, clock=lambda: now[0]))
    assert [service.ask(key=KEY).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert [service.ask(key=KEY, method="POST").status_code for _ in range(2)] == [200, 429]
    refused = service.ask(key=KEY, method="POST")
    assert refused.headers["Retry-After"] == "2"
    assert refused.json()["error"]["type"] == "rate_limit_exceeded"
    now[0] = 2.0
    assert service.ask(key=KEY, method="POST").status_code == 200
    assert [service.ask(key=KEY).status_code for _ in range(3)] == [200, 200, 429]


def test_strangers_do_not_use_up_the_rate_of_a_key() -> None:
    service = Service(Protection(lambda: KEYS, rates=Rates(reads=Rate(1, 2)), clock=lambda: 0.0))
    assert [service.ask(key="wrong").status_code for _ in range(3)] == [401, 401, 429]
    assert service.ask(key="wrong", client="192.0.2.2").status_code == 401
    assert service.ask(key=KEY).status_code == 200


def test_a_bucket_fills_to_its_brim_and_no_further() -> None:
    bucket = Bucket(Rate(per_s=2, burst=3), left=3, at_s=0)
    assert [bucket.take(0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(0.5) == 0
    assert bucket.take(0.5) == 0.5
    assert [bucket.take(1000) for _ in range(4)] == [0, 0, 0, 0.5]
    assert bucket.take(900) == 0.5, "a clock that falls back gives nothing"


def test_clients_that_are_kept_in_mind_are_bounded() -> None:
    buckets = Buckets(Rates(reads=Rate(1, 1)))
    assert buckets.take("first", False, 0) == 0
    assert buckets.take("first", False, 0) == 1
    for index in range(4096):
        assert buckets.take(str(index), False, 0) == 0
    assert buckets.take("first", False, 0) == 0
    assert buckets.take("4095", False, 0) == 1


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_network_is_one_client(address: str, site: str) -> None:
    assert site_of(address) == site


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("127.0.0.1:8080", True),
        ("localhost:8080", True),
        ("[::1]:8080", True),
        ("192.0.2.7", True),
        ("nas", True),
        ("nas.local", True),
        ("depth.example", True),
        ("DEPTH.example:443", True),
        ("evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("depth.example@evil.example", False),
        ("localhost.evil.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_without_keys_the_service_answers_to_its_own_names_only(host: str, served: bool) -> None:
    """DNS rebinding: a page at evil.example whose name leads to 127.0.0.1 reaches us under that name."""
    service = Service(Protection(names=frozenset({"depth.example"}), rates=FREE))
    answer = service.ask(headers={"Host": host})
    assert answer.status_code == (200 if served else 403)
    if not served:
        assert answer.json()["error"]["type"] == "forbidden"


@pytest.mark.parametrize(
    ("origin", "method", "status"),
    [
        ("http://127.0.0.1:8080", "POST", 200),
        ("http://127.0.0.1:9000", "POST", 403),
        ("https://evil.example", "POST", 403),
        ("null", "POST", 403),
        ("", "POST", 403),
        ("http://[", "POST", 403),
        ("http://127.0.0.1:8080.evil.example", "POST", 403),
        ("http://x@127.0.0.1:8080", "POST", 403),
        ("https://evil.example", "GET", 200),
    ],
)
def test_without_keys_pages_of_other_sites_change_nothing(origin: str, method: str, status: int) -> None:
    answer = Service(Protection(rates=FREE)).ask(method=method, headers={"Origin": origin})
    assert answer.status_code == status
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("site", "method", "status"),
    [
        ("cross-site", "POST", 403),
        ("same-site", "POST", 403),
        ("same-origin", "POST", 200),
        ("none", "POST", 200),
        ("cross-site", "GET", 200),
    ],
)
def test_without_an_origin_the_browser_says_whose_page_it_is(site: str, method: str, status: int) -> None:
    answer = Service(Protection(rates=FREE)).ask(method=method, headers={"Sec-Fetch-Site": site})
    assert answer.status_code == status


def test_what_shows_nothing_of_the_service_is_answered_under_every_name() -> None:
    """Load balancers probe without a Host, or with one of their own."""
    service = Service(Protection(rates=FREE))
    answers = [service.ask(path, headers={"Host": "evil.example"}) for path in ("/healthz", "/app.js", "/live/streams")]
    assert [answer.status_code for answer in answers] == [200, 200, 403]


def test_without_keys_pages_of_named_sites_may_change_things() -> None:
    service = Service(Protection(origins=frozenset({"https://lab.example"}), rates=FREE))
    for origin, status in (("https://lab.example", 200), ("https://evil.example", 403)):
        answer = service.ask(method="POST", headers={"Origin": origin, "Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == status
        assert answer.headers.get("Access-Control-Allow-Origin") == (origin if status == 200 else None)


def test_pages_of_other_sites_are_let_in_when_named() -> None:
    service = Service(Protection(lambda: KEYS, origins=frozenset({"https://lab.example"}), rates=FREE))
    wish = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = service.ask(method="OPTIONS", headers={"Origin": "https://lab.example", **wish})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://lab.example"
    other = service.ask(method="OPTIONS", headers={"Origin": "https://evil.example", **wish})
    assert "Access-Control-Allow-Origin" not in other.headers
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize("path", ["/app.js", "/api/ai/queue", "/nowhere", "/docs"])
def test_browsers_are_told_to_be_careful(path: str) -> None:
    headers = keyed().ask(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert ("'unsafe-inline'" in headers["Content-Security-Policy"]) == (path == "/docs")


def test_a_route_that_is_stricter_stays_so() -> None:
    assert keyed().ask("/own", key=KEY).headers.get_list("Content-Security-Policy") == ["default-src 'none'"]


@pytest.mark.parametrize(
    ("host", "has_keys", "no_auth", "asks"),
    [
        ("127.0.0.1", False, False, False),
        ("localhost", False, False, False),
        ("::1", False, False, False),
        ("127.0.0.1", True, False, True),
        ("0.0.0.0", True, False, True),
        ("0.0.0.0", False, True, False),
        ("0.0.0.0", True, True, False),
        ("0.0.0.0", False, False, None),
        ("", False, False, None),
        ("::", False, False, None),
        ("192.0.2.1", False, False, None),
        ("depth.example", False, False, None),
    ],
)
def test_keys_are_asked_for_where_others_reach_the_service(
    host: str, has_keys: bool, no_auth: bool, asks: bool | None, tmp_path: Path
) -> None:
    if has_keys:
        write_keys(tmp_path / "keys", KEYS)
    ring = KeyRing(tmp_path / "keys")
    if asks is None:
        with pytest.raises(UsageError, match="depthcast keys add"):
            protection_for(host, ring, no_auth)
    else:
        protection = reached_by(PublicUrl.of("https://Depth.example:8443/x"), protection_for(host, ring, no_auth))
        assert (protection.keys() is not None) == asks
        assert protection.names == {"depth.example"}
        assert protection.own == {"https://depth.example:8443"}


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer ***"),
        (f"{{'authorization': 'Bearer {KEY}'}}", "{'authorization': 'Bearer ***'}"),
        (f"key {KEY} is unknown", "key dc-*** is unknown"),
        ("GET https://u:p@host/v.mp4?sig=abc&x=1 failed", "GET https://***@host/v.mp4?*** failed"),
        ("rtsp://u:p@cam/1", "rtsp://***@cam/1"),
        ("GET /api/repos/x/f.mp4?exp=1&sig=abc", "GET /api/repos/x/f.mp4?exp=1&sig=***"),
        ("nothing to hide: a?b, u@host", "nothing to hide: a?b, u@host"),
    ],
    ids=["header", "headers", "key", "userinfo and query", "rtsp", "signature", "nothing"],
)
def test_logs_hold_no_secrets(line: str, shown: str) -> None:
    assert redacted(line) == shown
    try:
        raise ValueError(line)
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "%s", (line,), (ValueError, error, error.__traceback__))
    formatted = DiscreetFormatter().format(record)
    assert formatted.startswith(shown)
    assert "Traceback" in formatted
    assert KEY not in formatted

"""HTTP servers beside the work of a process: they answer, share addresses and end."""

from __future__ import annotations

import socket

import httpx
import pytest
from fastapi import APIRouter

from depthcast import __version__
from depthcast.errors import UsageError
from depthcast.service.app import create_app
from depthcast.service.ports import HttpPorts
from depthcast.service.server import _listening, serving


def _saying(path: str, words: str) -> APIRouter:
    router = APIRouter()

    @router.get(path)
    async def say() -> str:
        return words

    return router


def test_an_application_answers_while_it_is_served_and_not_afterwards() -> None:
    with serving(create_app(_saying("/a", "one")), "127.0.0.1", 0) as url:
        assert httpx.get(f"{url}/a").json() == "one"
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok", "version": __version__}
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/a")


def test_outputs_at_one_address_share_a_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ports = HttpPorts()
    ports.mount("127.0.0.1", port, _saying("/a", "one"))
    ports.mount("127.0.0.1", port, _saying("/b", "two"))
    with ports.serving() as urls:
        assert urls == (f"http://127.0.0.1:{port}",)
        assert [httpx.get(f"{urls[0]}{path}").json() for path in ("/a", "/b")] == ["one", "two"]


def test_a_port_in_use_is_refused_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            pytest.raises(UsageError, match=rf"cannot listen on 127.0.0.1, port {port}.*choose another"),
            serving(create_app(), "127.0.0.1", port),
        ):
            pass


def test_an_answer_waits_for_no_receipt_of_its_head() -> None:
    with _listening("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_announced_address_is_served_before_and_after_what_is_mounted_there() -> None:
    ports = HttpPorts()
    ports.announce("127.0.0.1", 0)
    with ports.serving() as (url,):
        assert httpx.get(f"{url}/a").status_code == 404
        ports.mount("127.0.0.1", 0, _saying("/a", "one"))
        with ports.serving() as inner:
            assert inner == (url,)
            assert httpx.get(f"{url}/a").json() == "one"
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_what_is_mounted_again_takes_the_place_of_what_was_there() -> None:
    ports, both = HttpPorts(), APIRouter()

    @both.post("/a")
    async def posted() -> str:
        return "posted"

    ports.announce("127.0.0.1", 0)
    with ports.serving() as (url,):
        for words in ("one", "two", "three"):
            ports.mount("127.0.0.1", 0, _saying("/a", words))
            ports.mount("127.0.0.1", 0, both)
            assert httpx.get(f"{url}/a").json() == words
            assert httpx.post(f"{url}/a").json() == "posted"
        assert list(httpx.get(f"{url}/openapi.json").json()["paths"]) == ["/healthz", "/a"]

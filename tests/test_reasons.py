"""A source that cannot be opened says why in words that a person can act on."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stream.errors import SourceError
from stream.reasons import reason_of
from stream.sources.choose import open_source
from stream.uris import parse_source


class _Answers(BaseHTTPRequestHandler):
    """Answers each path with the status that it names."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (400, r"400 \(bad request\): check the path"),
        (401, r"401 \(login needed\): check USER:PASSWORD@"),
        (403, r"403 \(forbidden\): check the login"),
        (404, r"404 \(not found\): check the path"),
        (418, "4xx status: check the address"),
        (429, r"429 \(too many requests\): try again later"),
        (503, "5xx status: its server has a problem"),
        (200, "no video that can be read here"),
    ],
)
def test_a_status_is_told_with_what_to_do(server: str, status: int, advice: str) -> None:
    with pytest.raises(SourceError, match=advice) as failed:
        open_source(parse_source(f"http://u:secret@{server}/{status}"))
    assert re.search(r"[A-Z]\w+Error|secret", str(failed.value)) is None


def test_an_unknown_host_and_a_refused_connection_are_told() -> None:
    with pytest.raises(SourceError, match="check the host's name"):
        open_source(parse_source("http://no-such-host.invalid/x"))
    with pytest.raises(SourceError, match="Connection refused"):
        open_source(parse_source("http://127.0.0.1:9/x"))


def test_an_error_without_words_names_no_class() -> None:
    assert reason_of(ValueError()) == "an error without a description"
    assert reason_of(TimeoutError()) == "no answer within the time limit"

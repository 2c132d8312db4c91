"""Requests of every form that the OpenAPI document allows, and many that it does not: never an answer from 500 on."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from depthcast.service.app import create_app
from depthcast.service.hosted import jobs_router
from depthcast.service.rates import Rate, Rates
from depthcast.service.security import Protection
from depthcast.service.server import serving
from tests.served import settings

ENDLESS = "/api/events"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = 8
"""Of each operation, always the same ones: the work is bounded by a count, however busy the machine is."""
PATIENCE_S = 600


@pytest.fixture
def _no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses that are made up lead nowhere: this machine is all there is."""
    resolve: Callable[..., Any] = socket.getaddrinfo

    def alone(host: str | bytes | None, *more: Any, **named: Any) -> Any:
        if host not in (None, "127.0.0.1", b"127.0.0.1"):
            raise socket.gaierror(socket.EAI_NONAME, "there is no other machine")
        return resolve(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", alone)


@pytest.mark.slow
@pytest.mark.usefixtures("_no_names")
def test_no_request_breaks_the_service(tmp_path: Path) -> None:
    plenty = Rate(1e6, 10**6)
    jobs = jobs_router(settings(tmp_path / "service", max_queued=10**6, max_queued_per_key=10**6))
    app = create_app(jobs, protection=Protection(rates=Rates(plenty, plenty)))
    report = tmp_path / "report.json"
    with serving(app, "127.0.0.1", 0) as url:
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--checks", CHECKS),
                *("--exclude-path", ENDLESS, "--phases", "examples,fuzzing", "--max-examples", str(EXAMPLES)),
                *("--seed", "1", "--generation-deterministic", "--no-color"),
                *("--request-timeout", "120", "--workers", "1", "--suppress-health-check", "all"),
                *("--report", "json", "--report-json-path", str(report)),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert httpx.get(f"{url}/healthz").status_code == 200
        assert httpx.get(f"{url}/api/ai/queue").status_code == 200
    assert finished.returncode == 0, finished.stdout[-8000:] + finished.stderr
    done = json.loads(report.read_text())
    assert done["operations"]["tested"] == done["operations"]["selected"] >= 14
    assert done["test_cases"]["generated"] >= 4 * done["operations"]["tested"]
    assert done["test_cases"]["without_checks"] == 0

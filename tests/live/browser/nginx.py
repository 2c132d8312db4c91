"""nginx before a server of ours."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HOSTS = {"nginx-default": "", "as-asked": "proxy_set_header Host $host;"}
"""nginx sends the name of the server behind unless it is told otherwise; most people tell it this."""
_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location {place} {{
            proxy_pass http://127.0.0.1:{behind}{behind_place};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $http_connection;
            {host}
        }}
    }}
}}
"""


@contextmanager
def nginx_before(behind: int, port: int, prefix: str, host: str, folder: Path, keeps: bool = False) -> Iterator[None]:
    """Pass on what is asked of `port`, below `prefix`, which is taken away unless it `keeps` it.

    host: a line of configuration, see HOSTS.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("needs nginx: run tests/live/install.sh")
    path = folder / "nginx.conf"
    path.write_text(
        _CONFIGURATION.format(
            folder=folder,
            port=port,
            behind=behind,
            place=f"{prefix}/",
            behind_place="" if keeps else "/",
            host=host,
        )
    )
    process = subprocess.Popen([program, "-c", str(path), "-e", str(folder / "error.log")])
    try:
        _await(process, port)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nginx does not serve")

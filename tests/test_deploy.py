"""The recipes for containers and for systemd name files, options and variables that exist. Nothing is built here."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from typer.core import TyperGroup

from depthcast.cli import app
from depthcast.commands.serve import ENVIRONMENT
from depthcast.settings import Settings

ROOT = Path(__file__).parent.parent
DOCKERFILES = ("Dockerfile", "Dockerfile.tensorrt")
VARIABLE = re.compile(rf"\b{ENVIRONMENT}_([A-Z_]+)")


def instructions(name: str) -> list[tuple[str, str]]:
    """What a Dockerfile says, in order: (word, rest of the line), continuations joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / name).read_text())
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def parsed(words: list[str]) -> None:
    """Have the command line understand these words, without doing what they say."""
    commands()[words[0]].make_context(words[0], words[1:]).close()


def commands() -> dict[str, Any]:
    """Of the command line, by name."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return dict(group.commands)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_is_there_and_let_through(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copies = [
        rest.split()[:-1] for word, rest in instructions(name) if word == "COPY" and not rest.startswith("--from")
    ]
    sources = {source for copied in copies for source in copied}
    assert {"depthcast", "engines", "export", "stream", "pyproject.toml", "constraints.txt"} <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert ignored[0] == "*"
        assert f"!{source}" in ignored
        assert not any(fnmatch(source, pattern) for pattern in ignored[1:] if not pattern.startswith("!"))


@pytest.mark.parametrize("name", DOCKERFILES)
def test_container_serves_as_nobody_in_particular(name: str) -> None:
    said = instructions(name)
    words = [word for word, _ in said]
    assert words.index("USER") > max(index for index, word in enumerate(words) if word in ("RUN", "COPY"))
    rest = dict(said)
    assert rest["USER"] == "depthcast"
    assert rest["VOLUME"] == rest["WORKDIR"] == "/data"
    assert "DEPTHCAST_HOME=/data" in rest["ENV"]
    assert json.loads(rest["ENTRYPOINT"]) == ["depthcast"]
    parsed(json.loads(rest["CMD"]))
    assert "/healthz" in rest["HEALTHCHECK"]
    assert f":{rest['EXPOSE']}/" in rest["HEALTHCHECK"]


def test_compose_builds_what_is_there_with_variables_that_mean_something() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(compose["services"]) == {"depthcast", "depthcast-gpu"}
    for service in compose["services"].values():
        assert (ROOT / service["build"].get("dockerfile", "Dockerfile")).is_file()
        assert [mount.partition(":")[2] for mount in service["volumes"]] == ["/data"]
        assert service["ports"][0].endswith("127.0.0.1:8080}:8080")
        assert service["environment"]["DEPTHCAST_API_KEY"].startswith("${DEPTHCAST_API_KEY:?")
        assert service["read_only"] is True


def test_every_variable_that_is_named_is_an_option() -> None:
    options = {str(parameter.name) for parameter in commands()["serve"].params}
    files = ("compose.yaml", "deploy/depthcast.service", "README.md", *DOCKERFILES)
    named = {variable for file in files for variable in VARIABLE.findall((ROOT / file).read_text())}
    assert named
    assert {variable.lower() for variable in named} <= options


def test_unit_starts_a_command_that_exists() -> None:
    unit = (ROOT / "deploy" / "depthcast.service").read_text()
    lines = dict(line.split("=", 1) for line in unit.splitlines() if "=" in line and not line.startswith("#"))
    program, *words = lines["ExecStart"].split()
    assert program == "/opt/depthcast/bin/depthcast"
    parsed(words)
    home = next(word for word in lines["Environment"].split() if word.startswith("DEPTHCAST_HOME="))
    assert home.endswith("/var/lib/" + lines["StateDirectory"])
    assert Settings.from_environment(dict([home.split("=")])).home == Path("/var/lib/depthcast")

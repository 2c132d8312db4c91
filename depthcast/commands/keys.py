"""`depthcast keys`: who may use the service."""

from __future__ import annotations

from typing import Annotated

import typer

from depthcast.commands.console import tell
from depthcast.settings import Settings

keys = typer.Typer(help="API keys that `depthcast serve` asks for.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose key it is.")]


@keys.command()
def add(name: Name) -> None:
    """Make a key and print it; only its hash is kept. A running service asks every client for a key at once."""
    from depthcast.service.keys import new_key, read_keys, write_keys

    path, key = Settings.from_environment().keys, new_key()
    write_keys(path, read_keys(path).with_key(name, key))
    tell(f"kept in {path}, where services with the same DEPTHCAST_HOME look")
    print(key)


@keys.command("list")
def list_keys() -> None:
    """Name those who have a key."""
    from depthcast.service.keys import read_keys

    for entry in read_keys(Settings.from_environment().keys).entries:
        print(entry.name)


@keys.command()
def remove(name: Name) -> None:
    """Forget a key. A running service refuses it at once; without any key left it lets nobody in."""
    from depthcast.service.keys import read_keys, write_keys

    path = Settings.from_environment().keys
    left = read_keys(path).without(name)
    write_keys(path, left)
    if not left:
        tell("this was the last key: a running service lets nobody in until there is one again, or it is restarted")

"""The command line. Every refusal is one line on standard error and an exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated

import typer

from depthcast import __version__
from depthcast.commands.build import build
from depthcast.commands.devices import devices
from depthcast.commands.doctor import doctor
from depthcast.commands.export import export
from depthcast.commands.keys import keys
from depthcast.commands.latency import latency
from depthcast.commands.models import models
from depthcast.commands.pointcloud import pointcloud
from depthcast.commands.pull import pull
from depthcast.commands.run import run
from depthcast.commands.serve import ENVIRONMENT, serve
from depthcast.commands.submit import submit
from depthcast.errors import DepthcastError
from depthcast.settings import Settings
from depthcast.signals import finishing_signals, is_hangup, leave_terminal
from engines.errors import EngineError
from stream.errors import StreamError
from stream.redact import redacted, redacted_url

INTERRUPTED = 130

app = typer.Typer(
    name="depthcast",
    help="Temporally consistent depth for video.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command("serve", context_settings={"auto_envvar_prefix": ENVIRONMENT})(serve)
app.command()(submit)
app.add_typer(keys, name="keys")
app.command()(models)
app.command()(pull)
app.command()(export)
app.command()(build)
app.command()(doctor)
app.command()(pointcloud)
app.command()(devices)
app.command()(latency)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"depthcast {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the `depthcast` command."""
    for number in finishing_signals():
        if number != signal.SIGINT:
            signal.signal(number, _terminate)
    sys.exit(status_of(sys.argv[1:]))


def status_of(arguments: Sequence[str]) -> int:
    """Run a command line; returns its exit status and prints one line to standard error where it fails."""
    try:
        return app(list(arguments), prog_name="depthcast", standalone_mode=False) or 0
    except typer.TyperException as error:
        return _fail(_without_secrets(error.format_message(), arguments), error.exit_code)
    except DepthcastError as error:
        return _fail(_without_secrets(str(error), arguments), error.exit_code)
    except (StreamError, EngineError) as error:
        return _fail(_without_secrets(str(error), arguments), 1)
    except OSError as error:
        return _fail(_without_secrets(_said(error), arguments), 1)
    except typer.Abort:
        return _fail("interrupted", INTERRUPTED)
    except SystemExit as error:
        return _fail("terminated", error.code if isinstance(error.code, int) else 1)


def _said(error: OSError) -> str:
    """What failed and why; of the folder of models, also how to name another."""
    with suppress(DepthcastError):
        if reason := Settings.from_environment().home_fault(error):
            return reason
    return f"{error.filename or 'output'}: {error.strerror or error}"


def _without_secrets(message: str, arguments: Sequence[str]) -> str:
    """A camera's address without its scheme, or in the wrong place, is quoted as what it was taken for."""
    for argument in arguments:
        if "@" in argument:
            message = message.replace(argument, redacted_url(argument))
    return message


def _fail(message: str, status: int) -> int:
    line = redacted(" ".join(message.split()))
    if line:
        # Where standard error has gone, the status says it alone.
        with suppress(OSError):
            print(f"depthcast: {line}", file=sys.stderr)
    return status


def _terminate(number: int, _frame: object) -> None:
    """Unwind as for Ctrl-C, so that nothing half-written stays."""
    if is_hangup(number):
        leave_terminal()
    raise SystemExit(128 + number)

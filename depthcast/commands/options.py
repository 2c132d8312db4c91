"""A command whose options are the fields of a dataclass: what a person asked for stays one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def command_of(kind: type[Options], act: Callable[[Options], None]) -> Callable[..., None]:
    """A function that typer makes a command of; its help is the docstring of `act`.

    kind: a dataclass whose fields have defaults and are annotated as typer's parameters are.
    """
    hints = get_type_hints(kind, include_extras=True)
    parameters = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(kind)  # type: ignore[arg-type]
    ]

    def command(**given: Any) -> None:
        act(kind(**given))

    command.__doc__ = act.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command

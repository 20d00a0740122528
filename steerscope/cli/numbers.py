"""Numbers among the arguments of a command: ASCII digits, within bounds, before anything else is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, get_args, get_origin

import typer

from steerscope.errors import BadValueError
from steerscope.texts.numbers import LARGEST_SEED, read_real, read_whole

_MOST = 10**9  # of anything that is counted


def check_numbers(app: typer.Typer, arguments: Sequence[str]) -> None:
    """Refuse a number that Python would read and a person would not mean, such as `1_0` or -5 pairs.

    Raises:
        BadValueError: digits that are not ASCII, too many of them, or a count below 0 or beyond 10⁹.
    """
    command, rest = _command(app, list(arguments))
    if command is None:
        return
    kinds = dict(_options(command))
    while rest:
        name, given, value = rest.pop(0).partition("=")
        kind = kinds.get(name)
        if kind is None or kind is bool:
            continue
        if not given:
            if not rest:
                return
            value = rest.pop(0)
        if kind in {int, float}:
            _check(name, value, whole=kind is int)


def _check(name: str, value: str, *, whole: bool) -> None:
    try:
        number = (read_whole if whole else read_real)(value)
    except ValueError as error:
        raise BadValueError(f"cannot read {name}: {error}.") from None
    most = LARGEST_SEED if name in {"--seed", "-s"} else _MOST
    if whole and not 0 <= number <= most:
        raise BadValueError(f"{name} {value} is outside 0 to {most:,}.")


def _command(app: typer.Typer, rest: list[str]) -> tuple[Callable[..., Any] | None, list[str]]:
    """The function of the command that the arguments name, and what follows the name."""
    while rest:
        word = rest.pop(0)
        for command in app.registered_commands:
            function = command.callback
            if function and word == (command.name or function.__name__.replace("_", "-")):
                return function, rest
        group = next((g for g in app.registered_groups if g.name == word), None)
        if group is None or group.typer_instance is None:
            return None, rest
        app = group.typer_instance
    return None, rest


def _options(function: Callable[..., Any]) -> Iterator[tuple[str, type]]:
    """The names of each option, and the type of its value."""
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        hint, options = parameter.annotation, []
        if get_origin(hint) is Annotated:
            hint, *options = get_args(hint)
        # typer keeps the first name of an option in an annotation as its default
        names = [n for o in options for n in (o.default, *(o.param_decls or ()))]
        said = [name for name in names if str(name).startswith("-")]
        kinds = [k for k in (hint, *get_args(hint)) if k in {int, float, bool}]
        for option in said or ["--" + name.replace("_", "-")]:
            yield option, kinds[0] if kinds else str

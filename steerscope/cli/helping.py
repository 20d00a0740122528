"""Help that reads well: commands by what one wants to do, options by what they are about, examples.

An example is a line under `Examples:` in the docstring of a command. Every command can be louder or
quieter, by options that `furnished` adds to it.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from steerscope.cli.loudness import be_loud, be_quiet

PANELS = {
    "Start here": ("init", "doctor", "report", "steer", "texts", "chat"),
    "Find directions": ("vectors", "styles", "lint", "lens"),
    "Measure": ("sweep", "compare", "carry", "route", "drift", "budget", "calibrate", "eigengap", "tokenizers", "bench", "dilemmas", "run", "audit", "verify", "claims", "ratings", "rejudge"),
    "Features": ("sae",),
    "Weights": ("weights", "adapter"),
    "Share": ("figures", "convert", "serve"),
}  # fmt: skip
_OTHER = "More"
_OPTIONS, _GENERAL = "Options", "General"
_OF_ALL = {"as_json", "force", "verbose", "quiet", "help"}
_EXAMPLES = "\n\nExamples:\n"
_HELP_NAMES = {"help_option_names": ["-h", "--help"]}
_LOUD = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="say more on standard error: every warning, and what is done"
    ),
]
_QUIET = Annotated[
    bool, typer.Option("--quiet", "-q", help="say nothing but results and errors, and show no bars")
]


class Command(TyperCommand):
    """A command whose options stand in groups and whose examples stand at the end."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as of typer
        """What it does, without the examples."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(_said(self.help))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then the options of each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(_panel_of(parameter), []).append(record)
        last = groups.pop(_GENERAL, [])
        for name, records in (*groups.items(), (_GENERAL, last)):
            if records:
                with formatter.section(_heading(name)):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as of typer
        """Commands to copy."""
        lines = examples_of(self.help)
        if lines:
            with formatter.section(_heading("Examples")):
                for line in lines:
                    formatter.write(f"{' ' * formatter.current_indent}{line}\n")


class Group(TyperGroup):
    """A group of commands, in panels where there are several."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands by what one wants to do."""
        there = {name: self.commands[name] for name in self.commands}
        place = {name: panel for panel, names in PANELS.items() for name in names}
        top = ctx.parent is None
        panels = [*PANELS, _OTHER] if top else ["Commands"]
        width = max((len(name) for name in there), default=0)
        for panel in panels:
            rows = [
                (name.ljust(width), _said(command.help).partition("\n")[0])
                for name, command in there.items()
                if not command.hidden and (not top or place.get(name, _OTHER) == panel)
            ]
            if rows:
                order = PANELS.get(panel, ())
                rows.sort(key=lambda row: (*order, row[0].strip()).index(row[0].strip()))
                with formatter.section(_heading(panel)):
                    formatter.write_dl(rows)


def _panel_of(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    if parameter.name in _OF_ALL:
        return _GENERAL
    return str(getattr(parameter, "rich_help_panel", None) or _OPTIONS)


def examples_of(text: str | None) -> list[str]:
    """The examples in the docstring of a command."""
    return [line.strip() for line in (text or "").partition(_EXAMPLES)[2].splitlines() if line]


def _said(text: str | None) -> str:
    return inspect.cleandoc(text or "").partition(_EXAMPLES)[0]


def _heading(text: str) -> str:
    """A heading, bold on a terminal; typer takes the letters for it away elsewhere."""
    return typer.style(text, bold=True) if sys.stdout.isatty() else text


def furnished(app: typer.Typer) -> typer.Typer:
    """The same program with the help of this module, `-h`, and the options that every command has."""
    for command in app.registered_commands:
        assert command.callback is not None
        command.cls = Command
        command.context_settings = {**(command.context_settings or {}), **_HELP_NAMES}
        command.callback = _loud(command.callback)
    for group in app.registered_groups:
        group.cls = Group
        group.context_settings = _HELP_NAMES
        if group.typer_instance is not None:
            furnished(group.typer_instance)
    return app


def _loud(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options that say how much it says."""
    signature = inspect.signature(command, eval_str=True)
    only = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, only, default=False, annotation=kind)
        for name, kind in (("verbose", _LOUD), ("quiet", _QUIET))
    ]

    @functools.wraps(command)
    def called(*, verbose: bool = False, quiet: bool = False, **named: Any) -> Any:
        if verbose:
            be_loud()
        if quiet:
            be_quiet()
        return command(**named)

    shown = signature.replace(parameters=[*signature.parameters.values(), *added])
    called.__signature__ = shown  # type: ignore[attr-defined]
    return called

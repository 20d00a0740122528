"""The command that looks at a user's own pairs before any model does: lint."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from steerscope.cli.shared import Json, finish


def lint(
    pairs: Annotated[
        str, typer.Argument(help="JSON-lines file, bundled contrast set or style:NAME")
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="leave with 2 on any error or warning")
    ] = False,
    as_json: Json = False,
) -> None:
    """What in contrast pairs may deceive, from their texts alone, and what to do about it.

    Examples:
        steerscope lint pairs.jsonl
        steerscope lint mood --strict
    """
    from steerscope.audits import tally
    from steerscope.audits.lint import lint as linted

    found = linted(pairs)
    finish(
        as_json,
        {"pairs": pairs, "findings": [asdict(f) for f in found]},
        [*map(str, found), f"lint: {tally(found)}"],
    )
    if strict and any(f.severity != "note" for f in found):
        raise SystemExit(2)

"""A folder to start with: pairs, prompts and an experiment file to edit."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from steerscope.cli.shared import Json, finish


def init(
    folder: Annotated[Path, typer.Argument(help="folder to make; files there stay as they are")],
    as_json: Json = False,
) -> None:
    """Make a folder with pairs, prompts and an experiment file to edit.

    Examples:
        steerscope init my-experiment
    """
    from steerscope.errors import OutputError
    from steerscope.runs.whole_files import write_whole
    from steerscope.texts.bundled import starter_files

    files = starter_files()
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise OutputError(f"{folder} has {', '.join(there)} already; choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder} ({error.strerror}); choose another.") from None
    for name, source in files.items():
        write_whole(folder / name, source.read_text(encoding="utf-8"))
    lines = [f"made: {folder} ({', '.join(files)})"]
    steps = (f"cd {quote(str(folder))}", "steerscope run experiment.yaml --dry-run")
    finish(as_json, {"folder": str(folder), "files": list(files)}, lines, steps)

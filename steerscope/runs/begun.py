"""What a run was begun with that is in a folder already: an older one goes on in the settings that it has."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from steerscope.runs.results import RUN, Run, has_measured


def begun_with(path: str | Path) -> dict[str, Any]:
    """The configuration of the run in a folder; empty where nothing was measured yet."""
    folder = Path(path)
    there = (folder / RUN).is_file() and has_measured(folder)
    return Run.open(folder).configuration if there else {}


def without_newer(
    configuration: dict[str, Any], path: str | Path, names: Collection[str]
) -> dict[str, Any]:
    """A configuration for a folder: a run from before some settings were stated goes on without them.

    Args:
        configuration: what is asked for.
        path: the folder of the run.
        names: settings that runs of before do not state.
    """
    there = begun_with(path)
    newer = {name for name in names if there and name not in there}
    return {name: value for name, value in configuration.items() if name not in newer}

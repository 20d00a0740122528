"""What a run shows of itself: a line, a notebook's card, a tidy table, a figure.

Numbers on disk know nothing of studies and figures. So each of these is made by the room that can,
which is named here and loaded when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from steerscope.runs.seals import MANIFEST

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from steerscope.figures.looks import Look

_ROOM = "steerscope.report"


class Shown:
    """A run as a person looks at it."""

    path: Path
    description: dict[str, Any]

    def __repr__(self) -> str:
        asked = self.description["configuration"]
        kind = str(asked.get("kind", "")).removesuffix("Plan").lower() or "run"
        of = " along ".join(str(asked[name]) for name in ("model", "contrasts") if name in asked)
        end = "finished" if (self.path / MANIFEST).is_file() else "not finished"
        return f"Run({str(self.path)!r}: {kind} of {of or 'a model'}, {end})"

    def _repr_html_(self) -> str:
        return str(import_module(f"{_ROOM}.card").card(self))

    def summary(self) -> pd.DataFrame:
        """One tidy row a condition: where and how much, n, and the mean of every metric.

        Columns: split, method, stream, layer, operator, dose_natural, dose_relative, dose_absolute
        (signed; NaN for plain), kl_nats (mean over prompts), n (prompts or pairs), cell (the whole
        condition), one column a metric (mean; NaN where it was not measured). Of a study or a sweep
        also the effect with the ends `low` and `high` of its 95 % interval, on the select split.

        Raises:
            RunError: the run has no rows, or a part is damaged.
        """
        found: pd.DataFrame = import_module(f"{_ROOM}.summaries").summary(self)
        return found

    def plot(self, name: str | None = None, look: Look | None = None) -> go.Figure:
        """A figure of the run as a plotly figure; `steerscope.plot` has them one by one.

        Args:
            name: such as `sweet_spot_map`; default the main figure of this kind of run.
            look: theme, columns and title, as `steerscope.plot.Look`; default for a screen.

        Raises:
            UnknownNameError: the run has no such figure; the message lists those that it has.
            RunError: the run has no rows, or is of a kind without figures.
        """
        found: go.Figure = import_module(f"{_ROOM}.plot").plot(self, name, look)
        return found

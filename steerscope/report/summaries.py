"""Every condition of a run as one tidy row."""

from __future__ import annotations

import pandas as pd

from steerscope.runs.results import Run
from steerscope.studies.steering.findings import find

_LABELS = [
    "split", "method", "stream", "layer", "operator", "dose_natural", "dose_relative",
    "dose_absolute",
]  # fmt: skip
_STUDIES = ("StudyPlan", "SweepPlan")


def summary(run: Run) -> pd.DataFrame:
    """One row a condition and split, as `Run.summary` describes it."""
    table = run.table()
    by = table.groupby(["split", "cell"], sort=False)
    about = by[_LABELS[1:]].first()
    about["kl_nats"], about["n"] = by.kl_nats.mean(), by.prompt.nunique()
    means = table.pivot_table(
        index=["split", "cell"], columns="metric", values="value", aggfunc="mean"
    )
    found = about.join(_effects(run)).join(means).reset_index()
    ordered = [*_LABELS, *(c for c in found.columns if c not in {*_LABELS, "cell"}), "cell"]
    found = found[ordered]
    return found.sort_values(_LABELS, kind="stable", ignore_index=True)


def _effects(run: Run) -> pd.DataFrame:
    """Effect and interval of every condition of the select split, where the run is a study of them."""
    columns = ["effect", "low", "high"]
    if run.configuration.get("kind") not in _STUDIES:
        return pd.DataFrame(
            index=pd.MultiIndex.from_arrays([[], []], names=["split", "cell"]), dtype=float
        )
    known = find(run).summary
    return known.assign(split="select").set_index(["split", "cell"])[columns]

"""A trial of directions and features as the rows of a run, and what such rows give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from steerscope.judges.effects import UNITS
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import NOT_FINITE, Row, Run, plain_row
from steerscope.sites import Site
from steerscope.studies.features.findings import summarised
from steerscope.studies.rows import PLAIN

_SAID = ("kl", "method", "prompt", "group", "status", "given", "written", "dose_natural", "kl_nats")
_BETWEEN = " nats; "  # of a condition's KL and its method


def rows_of_trials(trials: pd.DataFrame, concept: str, site: Site) -> list[Row]:
    """One row for each condition, held-out prompt and metric.

    Args:
        trials: as `run_trials` returns them.
        concept: that was steered.
        site: where.
    """
    return [
        replace(
            plain_row(str(metric), UNITS.get(str(metric), "share"), float(value)),
            cell=_cell_of(record),
            concept=concept,
            method=record["method"],
            stream=site.stream,
            layer=-1 if record["method"] == PLAIN else site.layer,
            dose_natural=float(record["dose_natural"]),
            kl_nats=float(record["kl_nats"]),
            prompt=int(record["prompt"]),
            status=_status(record["status"], value),
        )
        for record in trials.to_dict("records")
        for metric, value in record.items()
        if metric not in _SAID
    ]


def _status(status: str, value: float) -> str:
    if status == NOT_FINITE:
        return status
    return "unread" if math.isnan(value) else "ok"


def texts_of_trials(trials: pd.DataFrame) -> list[dict[str, Any]]:
    """What was written under each condition, as `Run.append` takes it."""
    return [
        {"cell": _cell_of(record), "prompt": int(record["prompt"]), "split": "test"}
        | {"given": record["given"], "written": record["written"]}
        for record in trials.to_dict("records")
    ]


def _cell_of(record: Mapping[Any, Any]) -> str:
    if record["method"] == PLAIN:
        return PLAIN
    return f"{float(record['kl'])!r}{_BETWEEN}{record['method']}"


def trials_of_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What was measured, one row for each condition and prompt, as `summarised` reads it."""
    keys = ["cell", "method", "prompt"]
    wide = table.pivot(index=keys, columns="metric", values="value")[list(table.metric.unique())]
    labels = table.groupby(keys)[["kl_nats", "dose_natural"]].first()
    lost = table.status.eq(NOT_FINITE).groupby([table[key] for key in keys]).any()
    status = lost.map({True: NOT_FINITE, False: "ok"}).rename("status")
    found = labels.join(status).join(wide).reset_index()
    order = {cell: place for place, cell in enumerate(table.cell.unique())}
    found = found.sort_values(
        ["cell", "prompt"], key=lambda c: c.map(order) if c.name == "cell" else c
    )
    kls = found.cell.str.partition(_BETWEEN)[0].where(found.cell != PLAIN)
    found.insert(0, "kl", pd.to_numeric(kls))
    return found.drop(columns="cell").reset_index(drop=True)


def steering_table(run: Run) -> pd.DataFrame:
    """Every direction and edit of a run on every outcome, against contrastive steering."""
    trials = trials_of_rows(run.table())
    group = groups_of(run).of("test", "", list(trials.prompt))
    return summarised(trials.assign(group=group), seed=int(run.configuration["seed"]))


def overflowed_at(run: Run, kl: float) -> set[str]:
    """The methods of which logits were not finite at a KL, towards the positive class or away from it."""
    rows = run.table()
    lost = rows[(rows.status == NOT_FINITE) & (rows.method != PLAIN)]
    return {
        str(method)
        for cell, method in zip(lost.cell, lost.method, strict=True)
        if math.isclose(float(cell.partition(_BETWEEN)[0]), kl)
    }

"""A comparison as the rows of a run, and the ranking that such rows give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from steerscope.judges.effects import UNITS
from steerscope.runs.results import NOT_FINITE, Row, plain_row
from steerscope.studies.methods.across import across_places
from steerscope.studies.methods.findings import SETTING, rank, rivals, standings
from steerscope.studies.rows import METRICS, PLAIN

if TYPE_CHECKING:
    from steerscope.studies.methods.measure import Comparison

DOSES = ("dose_absolute", "dose_relative", "dose_natural")
SCREENED = "screened"  # effect on the select split, in nats of preference
SAYS_THE_SAME = "says_the_same"  # number of the group of an item, where some share one
_ITEM = [*SETTING, "method", "seed", "layer", "item"]


def rows_of_comparison(found: Comparison, concept: str) -> list[Row]:
    """One row for each condition, held-out item and metric."""
    keys = [*SETTING, "method"]
    doses = found.ranking[[*keys, *DOSES, "kl_nats"]]
    table = found.responses.merge(doses, on=keys, validate="many_to_one")
    metrics = ["effect", *(c for c in found.responses if c in METRICS)]
    rows = [
        replace(
            plain_row(metric, UNITS.get(metric, "share"), float(value)),
            concept=concept,
            prompt=int(record["item"]),
            status="unread" if math.isnan(value) else "ok",
        )
        for record in found.plain.to_dict("records")
        for metric, value in record.items()
        if metric in METRICS
    ]
    rows += _screened_rows(found, concept)
    rows += _group_rows(found, concept)
    for record in table.to_dict("records"):
        for metric in metrics:
            name = found.effect.metric if metric == "effect" else metric
            unit = found.effect.unit if metric == "effect" else UNITS.get(metric, "share")
            row = plain_row(name, unit, float(record[metric]))
            rows.append(
                replace(
                    row,
                    cell=_cell_of(record),
                    concept=concept,
                    method=str(record["method"]),
                    layer=int(record["layer"]),
                    operator="add",
                    scope="all",
                    prompt=int(record["item"]),
                    seed=int(record["seed"]),
                    kl_nats=float(record["kl_nats"]),
                    dose_absolute=float(record["dose_absolute"]),
                    dose_relative=float(record["dose_relative"]),
                    dose_natural=float(record["dose_natural"]),
                    status=_status(record["effect"], record[metric]),
                )
            )
    return rows


def _status(effect: float, value: float) -> str:
    """Of a row: the logits were not finite, the judge could read nothing, or all is well."""
    if math.isnan(effect):
        return NOT_FINITE
    return "unread" if math.isnan(value) else "ok"


def _group_rows(found: Comparison, concept: str) -> list[Row]:
    """Which held-out items say the same; none where each says something of its own."""
    if "group" not in found.responses:
        return []
    groups = found.responses.drop_duplicates("item").set_index("item").group
    if groups.nunique() == len(groups):
        return []
    return [
        replace(plain_row(SAYS_THE_SAME, "number", float(g)), concept=concept, prompt=int(item))
        for item, g in groups.items()
    ]


def _screened_rows(found: Comparison, concept: str) -> list[Row]:
    """What each condition that was chosen did on the select split, where places are compared."""
    if found.across.empty:
        return []
    keys = ["place", "matching", "method", "seed", "layer"]
    chosen = found.responses[[*keys, "direction"]].drop_duplicates()
    effects = found.screen[[*keys, "direction", "effect"]].rename(columns={"effect": SCREENED})
    return [
        replace(
            plain_row(SCREENED, "nats", float(record[SCREENED])),
            cell=_cell_of(record),
            concept=concept,
            method=str(record["method"]),
            layer=int(record["layer"]),
            seed=int(record["seed"]),
            prompt=-1,
            split="select",
        )
        for record in chosen.merge(effects, on=[*keys, "direction"]).to_dict("records")
    ]


def _cell_of(record: Mapping[Any, Any]) -> str:
    setting = f"{record['place']}; {record['matching']}"
    return f"{setting}; {record['method']}; {record['seed']}"


def texts_of_comparison(found: Comparison) -> list[dict[str, Any]]:
    """What was written under each condition and without steering, as `Run.append` takes it."""
    steered = [(_cell_of(r), r) for r in found.responses.to_dict("records")]
    plain = [(PLAIN, r) for r in found.plain.to_dict("records")]
    return [
        {"cell": cell, "prompt": int(r["item"]), "split": "test"}
        | {"given": r["given"], "written": r["written"]}
        for cell, r in (*plain, *steered)
        if isinstance(r.get("written"), str)
    ]


def responses_of_rows(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """What was measured, one row for each condition and item, as `rankings` reads it."""
    mine = (table.metric == metric) & (table.cell != PLAIN)
    rows = table[mine].rename(columns={"prompt": "item", "value": "effect"})
    parts = rows.cell.str.split("; ", expand=True)
    kept = table[table.metric == SAYS_THE_SAME]
    groups = dict(zip(kept.prompt, kept.value.astype(int), strict=True))
    group = rows["item"].map(lambda item: groups.get(item, item))
    return rows.assign(place=parts[0], matching=parts[1], group=group)[
        [*_ITEM, "group", "effect", *DOSES, "kl_nats"]
    ].reset_index(drop=True)


def screened_of_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What was measured on the select split, as `across_places` reads it; empty where it was not kept."""
    rows = table[table.metric == SCREENED].rename(columns={"value": "screened"})
    parts = rows.cell.str.split("; ", expand=True) if len(rows) else pd.DataFrame(columns=[0, 1])
    columns = ["place", "matching", "method", "seed", "screened"]
    return rows.assign(place=parts[0], matching=parts[1])[columns].reset_index(drop=True)


def ranking_of_rows(table: pd.DataFrame, metric: str, seed: int) -> dict[str, pd.DataFrame]:
    """The ranking with its standings, and the rivals, out of the rows of a comparison."""
    responses = responses_of_rows(table, metric)
    against = rivals(responses, seed=seed)
    ranking = with_labels(rank(responses, seed=seed), responses)
    found = {"ranking": standings(ranking, against), "rivals": against}
    screened = screened_of_rows(table)
    if len(screened):
        found["across"] = across_places(responses, screened, seed=seed)
    return found


def with_labels(ranking: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """The ranking with the mean dose and KL of each method; the layer is -1 where its conditions have several."""
    labels = responses.groupby([*SETTING, "method"])
    means = labels[[*DOSES, "kl_nats"]].mean()
    layers = labels.layer.agg(["first", "nunique"])
    means["layer"] = layers["first"].where(layers["nunique"] == 1, -1)
    return ranking.merge(means.reset_index(), on=[*SETTING, "method"])

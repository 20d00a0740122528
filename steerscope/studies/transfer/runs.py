"""Keep a measured transfer as a run, from which its page and figures are drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from steerscope.models.lens_model import LensModel
from steerscope.models.provenance import provenance_of
from steerscope.runs.results import Row, Run, measuring
from steerscope.studies.transfer.findings import operator_of
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.transfer.techniques import Technique
from steerscope.texts.contrasts import ContrastSet

_NATS = {"kl", "nll", "nll_plain", "preference"}


def store_transfer(
    path: str | Path,
    rows: pd.DataFrame,
    techniques: Sequence[Technique],
    model: LensModel,
    contrasts: ContrastSet,
    plan: TransferPlan,
) -> Run:
    """A run with every measured item, and what the techniques are.

    Raises:
        RunError: the directory holds another run, or something else.
        RunConflictError: it holds the same measurements with other values.
    """
    configuration = {
        "kind": "TransferPlan",
        "model": model.name,
        "contrasts": contrasts.name,
        "contrasts_sha256": contrasts.sha256,
        "techniques": [
            {"name": t.name, "where": t.where, "parameters": t.n_parameters} for t in techniques
        ],
        **asdict(plan),
    }
    with measuring(path):
        run = Run.start(path, configuration, provenance=provenance_of(model))
        run.append(_rows(rows, contrasts.concept, plan.seed))
        run.seal()
    return run


def _rows(rows: pd.DataFrame, concept: str, seed: int) -> list[Row]:
    kl = rows[rows.metric == "kl"].groupby(["technique", "coefficient", "matched"]).value.mean()
    found = []
    for row in rows.itertuples():
        key = (row.technique, row.coefficient, row.matched)
        found.append(_row(row, concept, float(kl.loc[key]), seed))
    return found


def _row(row: object, concept: str, kl: float, seed: int) -> Row:
    """One item as a row of results."""
    values = row._asdict()  # type: ignore[attr-defined]
    technique, c, matched = values["technique"], values["coefficient"], bool(values["matched"])
    return Row(
        cell=f"{technique} {c:.9g}" + " matched" * matched,
        concept=concept,
        method=technique,
        stream="",
        layer=-1,
        head=-1,
        operator=operator_of(matched),
        scope="all",
        dose_absolute=math.nan,
        dose_relative=math.nan,
        dose_natural=c,
        kl_nats=kl,
        prompt=int(values["item"]),
        split="test",
        seed=seed,
        metric=values["metric"],
        unit="nats" if values["metric"] in _NATS else "share",
        value=float(values["value"]),
        status=values.get("status", "ok"),
    )

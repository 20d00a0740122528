"""The audit of runs that change weights: edits of spectra, and adapters beside other techniques."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from steerscope.audits.finding import Finding
from steerscope.runs.distinct import groups_of
from steerscope.runs.overflows import lost_cells
from steerscope.runs.results import Run
from steerscope.studies.methods.one_kl import is_one_kl
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.transfer.findings import PLAIN, against, transfer_rows
from steerscope.studies.weights.findings import (
    CONTROL,
    EDIT,
    ELSEWHERE,
    Standing,
    front_table,
    read_roles,
    standings_of,
    unknown_targets,
)
from steerscope.studies.weights.wording import FEWEST

_LEVEL = 0.05
_FEW = 20  # items
_SAME_KL = 2.0  # times; beyond, two conditions are not at one KL
_RANDOM = "random"


def edit_findings(run: Run) -> list[Finding]:
    """What the rows of a sweep of weight edits may deceive with."""
    table, roles = run.table(), read_roles(run)
    rows = front_table(table, effect_of(run), "test", groups_of(run))
    found = _overflowed(table)
    if not (roles.role == EDIT).any():
        return [
            *found,
            Finding("note", "no edit was within the limits, so that none is stated",
                     "test split", "Try smaller amounts, or other weights", check="nothing_chosen"),
        ]  # fmt: skip
    for target, mine in roles.groupby("target", sort=False):
        if not mine.role.isin([CONTROL, ELSEWHERE]).any():
            what = f"the edit towards {target} has no control"
            found.append(
                Finding("error", what, "test split", "Sweep with controls", check="no_null")
            )
    for target in unknown_targets(run, rows):
        what = f"the logits of the edit towards {target}, or of every control of it, are not finite"
        found.append(Finding("error", what, "test split", "Take a smaller amount", check="damage"))
    for standing in standings_of(run, rows):
        found += of_standing(standing)
        where = f"edit towards {standing.target}, test split"
        found += _costs(standing.edit, where, run.configuration["limits"])
    return found


def of_standing(s: Standing) -> list[Finding]:
    """What the effect of a stated edit may deceive with, beside its controls and steering."""
    edit, where = s.edit, f"edit towards {s.target}, test split"
    found = []
    if edit.n < _FEW:
        what = f"the effect is stated on {int(edit.n)} items, fewer than {_FEW}"
        found.append(
            Finding(
                "warning", what, where, "Give more prompts", {"items": int(edit.n)}, "few_prompts"
            )
        )
    if not edit.low > 0:
        what = f"the effect is {edit.effect:+.3g} [{edit.low:+.3g}, {edit.high:+.3g}]: it "
        what += "leads away from its target" if edit.high < 0 else "holds 0"
        if math.isnan(edit.low):
            what = f"the effect is {edit.effect:+.3g} of one distinct item, without an interval"
        numbers = {"effect": edit.effect, "low": edit.low, "high": edit.high}
        remedy = "Claim no effect, or measure more prompts"
        found.append(Finding("error", what, where, remedy, numbers, "interval_holds_zero"))
    if not (s.over_control.low > 0 and s.p_controls <= _LEVEL):
        what = (
            f"the strongest control, {s.strongest.cell}, is not surely behind: difference "
            f"{s.over_control.value:+.3g} [{s.over_control.low:+.3g}, {s.over_control.high:+.3g}], "
            f"p = {s.p_controls:.2g}"
        )
        numbers = {"difference": s.over_control.value, "p": s.p_controls}
        remedy = "Claim nothing for the edit that any change of this size does"
        found.append(Finding("error", what, where, remedy, numbers, "null_not_beaten"))
    ratio = float(s.strongest.kl_nats / edit.kl_nats) if edit.kl_nats > 0 else math.nan
    if not 1 / _SAME_KL <= ratio <= _SAME_KL:
        what = (
            f"the strongest control changes the model by {s.strongest.kl_nats:.3g} nats and the edit by "
            f"{edit.kl_nats:.3g}"
        )
        remedy = "Compare them at one KL"
        found.append(Finding("warning", what, where, remedy, {"ratio": ratio}, "unmatched_doses"))
    alike = s.steering is not None and is_one_kl(edit.kl_nats, s.steering.kl_nats)
    if alike and s.over_steering.n >= FEWEST and s.over_steering.high < 0:
        what = f"steering at the same KL does better, by {-s.over_steering.value:.3g}"
        remedy = "Say so beside the effect"
        found.append(Finding("note", what, where, remedy, check="unmatched_doses"))
    return found


def _costs(edit: pd.Series, where: str, limits: Mapping[str, float]) -> list[Finding]:
    """What a stated edit costs beyond the limits that it was chosen by."""
    found = []
    if edit.perplexity_ratio > limits["perplexity"]:
        what = f"perplexity is {edit.perplexity_ratio:.3g} times that of the plain model"
        numbers = {"perplexity_ratio": edit.perplexity_ratio, "limit": limits["perplexity"]}
        remedy = "State the cost beside the effect"
        found.append(Finding("warning", what, where, remedy, numbers, "damage"))
    if math.isnan(edit.capability_change):
        what = "what the edit does to capability was not measured"
        remedy = "Give a set of questions with --capability"
        found.append(Finding("note", what, where, remedy, check="damage"))
    elif edit.capability_change < -limits["capability"]:
        what = f"capability falls by {-100 * edit.capability_change:.1f} points"
        numbers = {"change": edit.capability_change, "limit": -limits["capability"]}
        remedy = "State the cost beside the effect"
        found.append(Finding("warning", what, where, remedy, numbers, "damage"))
    return found


def transfer_findings(run: Run) -> list[Finding]:
    """What the rows of adapters and other techniques beside them may deceive with."""
    return _overflowed(run.table()) + of_techniques(transfer_rows(run))


def of_techniques(rows: pd.DataFrame) -> list[Finding]:
    """What items of techniques, as `transfer` gives them, may deceive with."""
    where, found = "all techniques", []
    names = [str(t) for t in rows.technique.unique() if t != PLAIN]
    judged = [m for m in ("target", "preference") if m in set(rows.metric)]
    one = "group" if "group" in rows else "item"
    n_items = int(rows[rows.metric.isin(judged)].groupby("metric")[one].nunique().min())
    if n_items < _FEW:
        what = f"the effect is stated on {n_items} {'distinct ' * (one == 'group')}items, fewer than {_FEW}"
        found.append(
            Finding("warning", what, where, "Give more", {"items": n_items}, "few_prompts")
        )
    if _RANDOM not in names:
        what = "no random direction was measured beside the techniques"
        return [*found, Finding("error", what, where, "Measure it as well", check="no_null")]
    matched = rows[rows.matched.astype(bool)]
    if matched.empty:
        what = "no technique was measured at a common KL, so that a larger one looks better"
        remedy = "Compare them at one KL"
        return [*found, Finding("warning", what, where, remedy, check="unmatched_doses")]
    for metric in judged:
        table = against(rows, metric, _RANDOM)
        for row in table[table.technique != _RANDOM].itertuples():
            if row.p_holm <= _LEVEL and row.difference_high < 0:
                continue
            what = (
                f"{row.technique} is not surely ahead of a random direction on {metric}: "
                f"{-row.difference:+.3g}, p = {row.p_holm:.2g} after Holm"
            )
            numbers = {"ahead": -row.difference, "p_holm": row.p_holm}
            remedy = "Claim nothing for it"
            found.append(
                Finding("warning", what, f"{row.technique}, {metric}", remedy, numbers, "null_not_beaten")
            )  # fmt: skip
    return found


def _overflowed(table: pd.DataFrame) -> list[Finding]:
    lost = sorted(lost_cells(table))
    if not lost:
        return []
    what = f"the logits of {len(lost)} conditions are not finite, the first: {lost[0]}"
    return [
        Finding(
            "warning", what, "rows", "Take smaller amounts", {"conditions": len(lost)}, "not_finite"
        )
    ]

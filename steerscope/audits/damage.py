"""Checks of what the effect cost, and of texts that should not have counted."""

from __future__ import annotations

import pandas as pd

from steerscope.audits.evidence import Evidence
from steerscope.audits.finding import Finding
from steerscope.runs.results import NOT_FINITE
from steerscope.steering.prompting import METHODS
from steerscope.studies.steering.plan import is_race

_COLLAPSED = ("degenerate", "empty")
_FEW = 0.05  # of the effect, or of the prompts


def damage(evidence: Evidence) -> list[Finding]:
    """The stated condition breaks a limit; an error where it breaks more than it steers."""
    found = []
    gain = float(evidence.stated.mean())
    for cost in evidence.findings.costs:
        worse = cost.worse.value
        if not cost.is_broken:
            continue
        comparable = cost.is_share and evidence.effect.is_share
        found.append(
            Finding(
                "error" if comparable and worse >= gain else "warning",
                f"{cost.words}: worse than plain by {worse:.3g}, with a limit of "
                f"{cost.limit:g} and a gain of {gain:.3g} {evidence.unit}",
                evidence.place,
                "State the cost beside the effect, or take a smaller dose",
                {"worse": worse, "limit": cost.limit, "gain": gain},
            )
        )
    return found


def collapsed_texts_counted(evidence: Evidence) -> list[Finding]:
    """Texts that collapsed into repetition count towards the effect."""
    if not evidence.effect.is_share:
        return []
    rows = _stated_rows(evidence)
    counted = rows.value * rows.status.isin(_COLLAPSED)
    lost, gain = float(counted.mean()), float(evidence.stated.mean())
    if not lost > _FEW * abs(gain):
        return []
    return [
        Finding(
            "warning",
            f"{lost:.1%} of the texts are empty or collapsed into repetition and are read as an effect; the gain of "
            f"all texts, damaged ones too, is {gain:.3g}, and {gain - lost:.3g} without them",
            evidence.place,
            "Count only texts whose status is ok",
            {"counted_share": lost, "gain": gain, "gain_without": gain - lost},
        )
    ]


def overflow(evidence: Evidence) -> list[Finding]:
    """Logits of the stated condition are not finite, so that nothing is known of its effect there."""
    rows = _stated_rows(evidence)
    n_lost = int((rows.status == NOT_FINITE).sum())
    if not n_lost:
        return []
    return [
        Finding(
            "error",
            f"logits are not finite under the stated condition, which leaves {n_lost} of {len(rows)} texts out",
            evidence.place,
            "Measure again in a wider number format (--dtype float32), or with smaller doses",
            {"lost": n_lost, "prompts": len(rows)},
        )
    ]


def dropped_values(evidence: Evidence) -> list[Finding]:
    """The judge could not read some texts, which then fall out of the mean."""
    rows = _stated_rows(evidence)
    rows = rows[rows.status != NOT_FINITE]
    n_dropped = int(rows.value.isna().sum())
    if not n_dropped:
        return []
    share, gain = n_dropped / len(rows), float(evidence.stated.mean())
    least = gain * (1 - share)
    return [
        Finding(
            "warning" if share > _FEW else "note",
            f"{n_dropped} of {len(rows)} texts have no {evidence.effect.metric} and are left out of "
            f"the mean; with no effect on any of them the gain is {least:.3g} and not {gain:.3g}",
            evidence.place,
            "State how many were left out, and the effect with them counted as none",
            {"dropped": n_dropped, "prompts": len(rows), "gain": gain, "gain_at_least": least},
        )
    ]


def missing_rows(evidence: Evidence) -> list[Finding]:
    """Conditions of one split and sign were not measured on the same prompts.

    After a race those that fell behind, and those beside the chosen one, have the first prompts alone.
    """
    table, effect = evidence.table, evidence.effect
    rows = table[(table.metric == effect.metric) & (table.dose_natural != 0)]
    towards = (rows.dose_natural > 0) | rows.method.isin(METHODS)  # what is asked for is positive
    found = []
    for (split, positive), group in rows.groupby(["split", towards]):
        prompts = group.groupby("cell").prompt.agg(frozenset)
        everyone = frozenset().union(*prompts)
        lacking = prompts[prompts.map(len) < len(everyone)]
        if is_race(evidence.plan):
            order = sorted(everyone)
            behind = pd.Series(
                [set(order[: len(mine)]) == mine for mine in lacking],
                index=lacking.index,
                dtype=bool,
            )
            finalists = lacking.index.isin(evidence.cells(evidence.plan.method))
            lacking = lacking[~behind | finalists]
        if len(lacking):
            sign = "positive" if positive else "negative"
            found.append(
                Finding(
                    "error",
                    f"{len(lacking)} of {len(prompts)} conditions lack rows of up to "
                    f"{int(len(everyone) - lacking.map(len).min())} of {len(everyone)} prompts, which "
                    "other conditions have: a mean over survivors",
                    f"{sign} doses, {split} split",
                    "Start the same command again to measure them",
                    {"conditions": len(lacking), "prompts": len(everyone)},
                )
            )
    return found


def _stated_rows(evidence: Evidence) -> pd.DataFrame:
    """Rows of the effect of the chosen condition on the stated split."""
    table, cells = evidence.table, evidence.cells(evidence.plan.method)
    here = (table.split == evidence.split) & (table.metric == evidence.effect.metric)
    return table[here & table.cell.isin(cells[:1])]

"""Why the sweep chose this layer and dose, in a line, where the map peaks elsewhere."""

from __future__ import annotations

import pandas as pd

from steerscope.statistics import Estimate
from steerscope.studies.steering.choice import MARGIN, eligible, nothing_within
from steerscope.studies.steering.findings import Findings
from steerscope.studies.steering.phrases import amount
from steerscope.studies.steering.plan import is_race


def why_here(f: Findings) -> str:
    """The rule of the choice as it met this run, with the largest effect that was passed over.

    After a race it is a choice among those that were measured on all prompts alone.
    """
    c = f.chosen
    head = f"Why layer {c.layer} at {c.dose_natural:+g}: "
    rows = f.summary[(f.summary.method == f.plan.method) & (f.summary.dose_natural > 0)]
    where = "on the select split"
    if is_race(f.plan):
        rows = rows[rows.asked == rows.asked.max()]
        where = f"among the {len(rows)} conditions that came to the end of the race"
    larger = rows[rows.effect > c.effect.value]
    within = larger.effect - MARGIN * larger.effect.abs() <= c.effect.value
    close = larger[within & larger.cell.isin(eligible(rows, f.plan.method).cell)]
    largest, tie = "the largest effect", ""
    if len(close):
        largest = f"within {100 * MARGIN:g} % of the largest effect"
        tie = f", at no larger KL than {_largest(f, close)}"
    if nothing_within(rows, f.plan.method):
        this = f"{'it is' if tie else 'it has'} {largest}{tie}"
        of_all = f"of {_most_that_count(rows)} {this}" if f.effect.is_share else f"of all {this}"
        return f"{head}no condition within the limits is above plain {where}; {of_all}."
    if c.broken:
        return f"{head}it breaks a limit, and was stated by the choice of another version."
    more = larger.drop(close.index)
    mine = f.summary[(f.summary.method == f.plan.method) & (f.summary.layer == c.layer)]
    mine_kept = bool(mine.kept[mine.cell == c.cell].iloc[0])
    held = "within the limits" if mine_kept else "within the limits on average, not surely"
    said = [
        _passed_over(f, more[more.broken.astype(bool)], "break a limit"),
        _passed_over(
            f, more[~more.broken.astype(bool)], "are within the limits on average but not surely"
        ),
    ]
    passed = ", or ".join(filter(None, said))
    effect = amount(f.effect, c.effect)
    if not passed and tie:
        return f"{head}{largest} {where}{tie}, and its costs are {held} ({effect})."
    if not passed:
        return (
            f"{head}no condition has a larger effect {where} ({effect}), and its costs are {held}."
        )
    kept = "are surely within" if said[1] else "are within"
    return (
        f"{head}{largest} {where} whose costs {kept} the limits{tie} ({effect}). "
        f"Larger ones {passed}."
    )


def _most_that_count(rows: pd.DataFrame) -> str:
    """The conditions that are looked at where nothing within the limits is above plain."""
    if not rows.joint.max() > 0:
        return "all, as no text shows it undamaged,"
    return f"those within {100 * MARGIN:g} % of the most texts that show it undamaged"


def _passed_over(f: Findings, rows: pd.DataFrame, why: str) -> str:
    """How the largest of these effects came not to be chosen; empty for none."""
    if rows.empty:
        return ""
    return f"{why}, such as {_largest(f, rows)}"


def _largest(f: Findings, rows: pd.DataFrame) -> str:
    """The largest of these effects, and where it is."""
    r = rows.loc[rows.effect.idxmax()]
    found = amount(f.effect, Estimate(r.effect, r.low, r.high, int(r.n)))
    return f"{found} at layer {r.layer}, {r.dose_natural:+g}"

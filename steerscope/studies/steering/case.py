"""From what a run found to what the rule of the sentence asks for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from steerscope.statistics import Estimate
from steerscope.studies.steering.choice import passed_over
from steerscope.studies.steering.findings import Findings, items_in_words
from steerscope.studies.steering.phrases import amount
from steerscope.studies.steering.plan import is_race, smallest_effect
from steerscope.studies.steering.verdict import Case, without_score


def case_of(f: Findings, errors: Sequence[str] = ()) -> Case:
    """What the sentence depends on.

    Args:
        f: what was found.
        errors: errors of the audit, which looks at more than the rows.
    """
    smallest = smallest_effect(f.plan, f.effect)
    return Case(
        gain=f.gain,
        smallest=smallest,
        items=items_in_words(f),
        needed=f.needed_items,
        is_corrected=f.corrected_effect is not None,
        nulls=f.nulls,
        p_corrected=f.chosen.p_corrected,
        p_held_out=f.chosen.held_out,
        over_shuffled=f.over_shuffled,
        costs=f.costs,
        errors=tuple(errors),
        less_likely=f.less_likely,
        judged=f.effect.is_share,
        judge_fails="" if f.card is None or f.card.tells else f"{f.card.rates} ({f.card.lacks})",
        unread=without_score(f.effect, f.costs),
        unread_plain=without_score(f.effect, f.costs, plain=True),
        plain=math.nan if f.plain_joint is None else f.plain_joint.value,
        could=f.plain_could + (0.0 if f.could_count is None else max(0.0, f.could_count.value)),
        passed_over=_passed_over(f, smallest),
        lost=f.is_lost,
    )


def _passed_over(f: Findings, smallest: float) -> str:
    """A condition that was not chosen though surely more counted there, in words; empty for none."""
    row = passed_over(f.summary, f.plan.method, f.chosen.cell, smallest)
    if row is None:
        return ""
    found = Estimate(row.counts, row.counts_low, row.counts_high, int(row.n))
    few = f", on {found.n} {items_in_words(f)}" if is_race(f.plan) else ""
    more = amount(f.effect, found, difference=True)
    return f"{more} at layer {int(row.layer)}, {row.dose_natural:+g}{few}"

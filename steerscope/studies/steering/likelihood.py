"""Which texts the likelihood of a text is compared with: those without steering, or those that were asked for.

Tables in, the name of a condition out; no torch.
"""

from __future__ import annotations

import pandas as pd

from steerscope.judges.effects import LIKELIHOODS, Effect
from steerscope.runs.distinct import Groups
from steerscope.steering.prompting import METHODS
from steerscope.studies.steering.success import PLAIN, Costs, estimate, per_prompt, successes

_CHOOSES = "select"
_SHOWN = 0.1  # of the texts that are asked for, at the least, for asking to say anything


def likely_as(table: pd.DataFrame, effect: Effect, split: str, groups: Groups) -> str:
    """The condition whose texts say how unlikely a text of this concept may be.

    The plain one, unless most texts that show the concept when the model is asked for it in words are
    unlikely by that measure, and damaged in no other way: without being asked, a model would not write
    French. Then it is the way of asking after which most texts show the concept, so that a text which
    steering makes is held to what the same model writes of its own accord. That is decided on the
    split that chooses, where it was asked there.

    Args:
        table: the rows of a run.
        effect: what counts.
        split: whose texts are to be compared.
        groups: what of its items is distinct.
    """
    if not effect.is_share:
        return PLAIN
    asked = table[table.method.isin(METHODS)]
    where = _CHOOSES if (asked.split == _CHOOSES).any() else split
    here, there = (set(asked.cell[asked.split == s]) for s in (split, where))
    found = _most_shown(table, effect, where, groups, sorted(here & there))
    return found if found is not None else PLAIN


def _most_shown(
    table: pd.DataFrame, effect: Effect, split: str, groups: Groups, asked: list[str]
) -> str | None:
    """Of the ways of asking whose texts show the concept and are unlikely, the one that does most."""
    mine = table[table.cell.isin([PLAIN, *asked])]
    costs = Costs(mine, split, effect.held_to, groups)
    flipped = per_prompt(mine, effect.metric, split)
    lenient = [limit for limit in costs.limits if limit.metric not in LIKELIHOODS]
    likely, whatever = (
        successes(flipped, costs.values, limits, PLAIN) for limits in (costs.limits, lenient)
    )
    shares = {}
    for cell in flipped.index.intersection(asked):
        prompts = costs.asked.get(cell, list(flipped.columns))
        shown = whatever.loc[cell, prompts]
        low = estimate(shown, groups, split, effect.metric, share=True).low
        if low > _SHOWN and likely.loc[cell, prompts].mean() < shown.mean() / 2:
            shares[cell] = shown.mean()
    return max(shares, key=lambda cell: shares[cell]) if shares else None

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
_MOST = 0.5
_BY_ITSELF = (
    0.05  # of the plain texts, from which on the concept is one that the model writes by itself
)


def likely_as(table: pd.DataFrame, effect: Effect, split: str, groups: Groups) -> str:
    """The condition whose texts say how unlikely a text of this concept may be.

    The plain one, unless the concept is unlikely by itself: without being asked, a model would not write
    French. That is so where the plain texts do not surely show it in more than one of twenty, and where
    surely most texts that show it when the model is asked for it in words are unlikely by that measure,
    and damaged in no other way. What a model writes by itself with the share q costs at most -log(q) nats
    a text, so that texts which are less likely than that are so for other reasons, asked for or not.
    Else it is the way of asking after which most texts show the concept, so that a text which steering
    makes is held to what the same model writes of its own accord. That is decided on the split that
    chooses, where it was asked there; "surely" is the whole 95 % interval over distinct prompts.

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
        shown, plain = (
            estimate(texts, groups, split, effect.metric, share=True)
            for _, texts in whatever.reindex([cell, PLAIN])[prompts].iterrows()
        )
        if shown.low <= _SHOWN or plain.low > _BY_ITSELF:
            continue
        of_shown = likely.loc[cell, prompts][whatever.loc[cell, prompts] > 0]
        if estimate(of_shown, groups, split, effect.metric, share=True).high < _MOST:
            shares[cell] = shown.value
    return max(shares, key=lambda cell: shares[cell]) if shares else None

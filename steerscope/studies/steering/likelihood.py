"""Which texts the likelihood of a text is compared with: those without steering, or those that were asked for.

Tables in, the name of a condition out; no torch.
"""

from __future__ import annotations

import pandas as pd

from steerscope.directions import CONTROLS
from steerscope.judges.effects import LIKELIHOODS, Effect
from steerscope.runs.distinct import Groups
from steerscope.steering.prompting import METHODS
from steerscope.studies.steering.success import (
    PLAIN,
    Costs,
    difference,
    estimate,
    per_prompt,
    successes,
)

_CHOOSES = "select"
_SHOWN = 0.1  # of the texts that are asked for, at the least, for asking to say anything
_BY_ITSELF = 0.05  # of the plain texts: what more of them show is what the model writes unasked
_GAINED = 0.1  # of texts as likely as plain ones, at the least, for a concept to be no unlikely one


def likely_as(table: pd.DataFrame, effect: Effect, split: str, groups: Groups) -> str:
    """The condition whose texts say how unlikely a text of this concept may be.

    The plain one, unless the concept is unlikely by itself: without being asked, a model would not write
    French. Then it is the way of asking after which most texts show the concept, so that a text which
    steering makes is held to what the same model writes of its own accord.

    Unlikely is a concept where most texts that show it when the model is asked for it in words are so by
    the plain measure, and damaged in no other way. Yet asking itself may make texts unlikely, as examples
    do that a model copies. It is that, and the plain measure stays, where the plain texts surely show the
    concept in more than one of twenty (what a model writes by itself in the share q costs at most -log(q)
    nats a text), or a steered condition surely gains by texts as likely as plain ones. All is decided on
    the split that chooses, where it was asked there; "surely" is with the whole 95 % interval.

    Args:
        table: the rows of a run.
        effect: what counts.
        split: whose texts are to be compared.
        groups: what of its items is distinct.
    """
    key, where = _asked_as(table, effect, split, groups)
    return PLAIN if key is None or _is_likely(table, effect, where, groups) else key


def asked_as(table: pd.DataFrame, effect: Effect, split: str, groups: Groups) -> str | None:
    """The same before anything was steered: the way of asking that may come to say it, None for the plain texts.

    Args:
        table: the rows of a run.
        effect: as in `likely_as`.
        split: as in `likely_as`.
        groups: as in `likely_as`.
    """
    return _asked_as(table, effect, split, groups)[0]


def _asked_as(
    table: pd.DataFrame, effect: Effect, split: str, groups: Groups
) -> tuple[str | None, str]:
    """A way of asking whose texts are unlikely, and the split that it was found on."""
    asked = table[table.method.isin(METHODS)]
    where = _CHOOSES if (asked.split == _CHOOSES).any() else split
    if not effect.is_share:
        return None, where
    here, there = (set(asked.cell[asked.split == s]) for s in (split, where))
    return _most_shown(table, effect, where, groups, sorted(here & there)), where


def _is_likely(table: pd.DataFrame, effect: Effect, split: str, groups: Groups) -> bool:
    """Whether some steered condition surely gains texts of the concept that are as likely as plain ones.

    They are most of its texts that show it. Controls and opposite doses are not looked at.
    """
    steered = (table.dose_natural > 0) & ~table.method.isin((*METHODS, *CONTROLS))
    mine = table[(table.split == split) & (steered | (table.cell == PLAIN))]
    costs = Costs(mine, split, effect.held_to, groups)
    flipped = per_prompt(mine, effect.metric, split)
    if PLAIN not in flipped.index:
        return False
    likely = costs.counted(flipped)
    for cell in likely.index.drop(PLAIN):
        gains = likely.loc[cell] - likely.loc[PLAIN]
        found = difference(gains, groups, split, effect.metric, share=True)
        if found.low > _GAINED and likely.loc[cell].mean() >= flipped.loc[cell].mean() / 2:
            return True
    return False


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
        if likely.loc[cell, prompts].mean() < shown.value / 2:
            shares[cell] = shown.value
    return max(shares, key=lambda cell: shares[cell]) if shares else None

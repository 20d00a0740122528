"""What texts are held to on a split: likelihood not where it takes the concept itself for damage.

Tables in, limits out; no torch.
"""

from __future__ import annotations

import pandas as pd

from steerscope.judges.effects import LIKELIHOODS, Effect, Limit
from steerscope.steering.prompting import METHODS
from steerscope.studies.steering.success import (
    PLAIN,
    Costs,
    Groups,
    estimate,
    per_prompt,
    successes,
)

_CHOOSES = "select"
_SHOWN = 0.1  # of the texts that are asked for, at the least, for asking to say anything


def limits_of(table: pd.DataFrame, effect: Effect, split: str, groups: Groups) -> tuple[Limit, ...]:
    """The limits of an effect on a split.

    On the split that chooses, likelihood is none of them where most texts that show the concept when
    the model is asked for it in words break that limit, and no other. The plain model would not write
    French either; of the doses whose texts it would, the choice would take those that hardly steer.

    Args:
        table: the rows of a run.
        effect: whose limits.
        split: of the run.
        groups: what of its items is distinct.
    """
    held = effect.held_to
    asked = list(table.cell[(table.split == split) & table.method.isin(METHODS)].unique())
    if split != _CHOOSES or not effect.is_share or not asked:
        return held
    lenient = tuple(limit for limit in held if limit.metric not in LIKELIHOODS)
    mine = table[table.cell.isin([PLAIN, *asked])]
    costs = Costs(mine, split, held, groups)
    flipped = per_prompt(mine, effect.metric, split)
    likely, whatever = (successes(flipped, costs.values, some, PLAIN) for some in (held, lenient))
    for cell in flipped.index.intersection(asked):
        prompts = costs.asked.get(cell, list(flipped.columns))
        shown = whatever.loc[cell, prompts]
        low = estimate(shown, groups, split, effect.metric, share=True).low
        if low > _SHOWN and likely.loc[cell, prompts].mean() < shown.mean() / 2:
            return lenient
    return held

"""What a carried vector shows, in sentences."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from steerscope.judges.effects import Effect
from steerscope.runs.overflows import lost_nulls_in_words
from steerscope.studies.methods.findings import n_lost_nulls
from steerscope.studies.ranks import by_chance

_SURE = 0.05
_KNOWS = (
    "The maps were fitted on texts of the concept itself, whose classes teach them the model's own vector, whatever "
    "that of the source is: what is carried tells nothing of the source. Fit them on other texts to tell."
)


def carried_in_words(
    maps: pd.DataFrame,
    cosines: pd.DataFrame,
    ranking: pd.DataFrame,
    effect: Effect,
    *,
    knows_concept: bool,
) -> list[str]:
    """How well the maps tell held-out texts, and what each vector does there.

    Args:
        maps: as `map_table` gives it.
        cosines: of each vector with the model's own.
        ranking: of the comparison, at one KL.
        effect: what was measured.
        knows_concept: whether the maps were fitted on texts of the concept itself.
    """
    lines = [_told_by_map(row) for row in maps.itertuples()]
    if knows_concept:
        lines.append(_KNOWS)
    by_method = ranking[~ranking.null].set_index("method")
    near = cosines.set_index("vector").cosine_to_own
    for name, row in by_method.iterrows():
        if math.isnan(row.effect):
            lines.append(f"{name}: not known, since its logits are not finite.")
            continue
        n_nulls = int(row.n_nulls)
        verdict = (
            f"ahead of each of {n_nulls} null directions, as {by_chance(n_nulls)}"
            if row.p_holm < _SURE
            else "not told from the null directions"
        )
        lines.append(
            f"{name}: {_amount(row.effect, effect)} [{_amount(row.low, effect)}, "
            f"{_amount(row.high, effect)}], {verdict} (largest null {_amount(row.null_max, effect)}, p = "
            f"{row.p_holm:.2g} after Holm{_lost(ranking)}){'' if knows_concept else _near(near[name])}."
        )
    missing = [name for name in near.index if name not in by_method.index]
    if missing:
        lines.append(f"Not measured, since they do not reach the matched KL: {', '.join(missing)}.")
    return lines


def _near(cosine: float) -> str:
    return f"; cosine with the model's own {cosine:+.2f}"


def _told_by_map(row: Any) -> str:
    """How much of held-out texts a map tells, against the mean of those that it was fitted on."""
    share = (
        f"{100 * row.r2:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}] of the squares about the mean of the "
        "fitted texts"
    )
    tells = (
        f"tells {share}"
        if row.low > 0 and row.p < _SURE
        else f"is not shown to tell anything ({share})"
    )
    return (
        f"The {row.map} map {tells}, in {row.n} held-out texts of {row.n_pairs} pairs; maps of texts paired at random "
        "within each class reach "
        f"{100 * row.null_high:.0f} % at most (p = {row.p:.2g}, fitted on {row.n_fit} texts)."
    )


def _lost(ranking: pd.DataFrame) -> str:
    """How many null directions overflowed, where there are any."""
    words = lost_nulls_in_words(n_lost_nulls(ranking))
    return f"; of the nulls {words}" if words else ""


def _amount(value: float, effect: Effect) -> str:
    return f"{100 * value:.0f} %" if effect.is_share else f"{value:.2f} nats"

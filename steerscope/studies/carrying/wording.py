"""What a carried vector shows, in sentences."""

from __future__ import annotations

import pandas as pd

from steerscope.judges.effects import Effect

_SURE = 0.05


def carried_in_words(
    maps: pd.DataFrame, cosines: pd.DataFrame, ranking: pd.DataFrame, effect: Effect
) -> list[str]:
    """How well the maps tell held-out texts, and what each vector does there.

    Args:
        maps: as `map_table` gives it.
        cosines: of each vector with the model's own.
        ranking: of the comparison, at one KL.
        effect: what was measured.
    """
    lines = [
        f"The {row.map} map tells {100 * row.r2:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}] of the "
        f"variance of {row.n} held-out texts; maps of texts paired at random reach {100 * row.null_high:.0f} % "
        f"at most (p = {row.p:.2g}, fitted on {row.n_fit} texts)."
        for row in maps.itertuples()
    ]
    by_method = ranking[~ranking.null].set_index("method")
    near = cosines.set_index("vector").cosine_to_own
    for name, row in by_method.iterrows():
        verdict = (
            "above every null direction"
            if row.p_holm < _SURE
            else "not told from the null directions"
        )
        lines.append(
            f"{name}: {_amount(row.effect, effect)} [{_amount(row.low, effect)}, "
            f"{_amount(row.high, effect)}], {verdict} (largest null {_amount(row.null_max, effect)}, p = "
            f"{row.p_holm:.2g} after Holm); cosine with the model's own {near[name]:+.2f}."
        )
    return lines


def _amount(value: float, effect: Effect) -> str:
    return f"{100 * value:.0f} %" if effect.is_share else f"{value:.2f} nats"

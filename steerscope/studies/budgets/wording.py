"""Whether a budget helps, in sentences."""

from __future__ import annotations

import math

import pandas as pd

_SURE = 0.05


def budgets_in_words(table: pd.DataFrame) -> list[str]:
    """Whether each budget helps, in sentences.

    Args:
        table: as `budget_effects` gives it.
    """
    lines = []
    for row in table.itertuples():
        verdict = "is not shown to help"
        if row.p_holm < _SURE and row.gain > 0:
            verdict = f"helps{_price(row.cost_low)}"
        lines.append(
            f"A budget of {row.budget} tokens {verdict}: {100 * row.ended:.0f} % of the texts end "
            f"before it, without it {100 * row.ended_cut:.0f} % ({100 * row.gain:+.0f} points "
            f"[{100 * row.low:+.0f}, {100 * row.high:+.0f}], p = {row.p_holm:.2g}), and it ended {100 * row.forced:.0f} % itself{_nothing(row.empty)}; nats per token "
            f"{row.nats_cut:.2f} to {row.nats:.2f} ({row.cost:+.2f} [{row.cost_low:+.2f}, "
            f"{row.cost_high:+.2f}], n = {row.n} prompts)."
        )
    return lines


def _price(cost_low: float) -> str:
    """What the help costs, after the word for it; the cost is unknown where no prompt has a token under both."""
    if math.isnan(cost_low):
        return ", at a price that is not known"
    return " at a price" if cost_low > 0 else ""


def _nothing(empty: float) -> str:
    return f", and {100 * empty:.0f} % are empty" if empty else ""

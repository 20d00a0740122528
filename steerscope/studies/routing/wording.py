"""What routing shows, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

_SURE = 0.05


def routing_in_words(
    table: pd.DataFrame,
    reference: str,
    accuracy: Mapping[str, float],
    *,
    choice_lost: str = "",
    unseen: Sequence[str] = (),
) -> list[str]:
    """Each arm against the best single vector, and how well the routers route.

    Args:
        table: as `routing_table` gives it.
        reference: the best single vector, chosen on other prompts; empty where none could be.
        accuracy: of each router, the share of prompts that it sends to their phase.
        choice_lost: the vector that the other prompts chose, where nothing is known of it here.
        unseen: vectors of which nothing is known on those other prompts.
    """
    lines = [_best(table, reference, choice_lost)]
    if unseen and (reference or choice_lost):
        lines.append(
            f"On those other prompts nothing is known of the {', the '.join(unseen)} (logits that are "
            "not finite)."
        )
    for row in table[table.arm != reference].itertuples():
        if not row.n:
            lines.append(f"{row.arm}: not known, since its logits are not finite.")
            continue
        if not reference:
            lines.append(f"{row.arm}{_routes(row.arm, accuracy)}: {_level(row)}.")
            continue
        sure = row.p_corrected < _SURE
        verdict = "not told from it" if not sure else "better" if row.difference > 0 else "worse"
        lines.append(
            f"{row.arm}{_routes(row.arm, accuracy)}: {100 * row.score:.0f} % [{100 * row.low:.0f}, "
            f"{100 * row.high:.0f}], {verdict}: {100 * row.difference:+.0f} points [{100 * row.difference_low:+.0f}, "
            f"{100 * row.difference_high:+.0f}], p = {row.p_corrected:.2g} over all arms."
        )
    return lines


def _best(table: pd.DataFrame, reference: str, choice_lost: str) -> str:
    """Which single vector the arms are compared with, or why with none."""
    start = "The best single vector, chosen on other prompts, is the"
    if not reference and choice_lost:
        return (
            f"{start} {choice_lost}, of which nothing is known here; no other could be chosen, so that the "
            "arms are compared with none."
        )
    if not reference:
        return (
            "No single vector could be chosen: on the other prompts, which it is chosen on, the logits of every "
            "one are not finite; the arms are compared with none."
        )
    best = reference
    if choice_lost:
        best = f"{choice_lost}, of which nothing is known here; the best of the rest is the {reference}"
    mine = next(table[table.arm == reference].itertuples())
    return f"{start} {best}: {_level(mine)}."


def _routes(arm: str, accuracy: Mapping[str, float]) -> str:
    """How many prompts a router sends to their phase; nothing of what is no router."""
    return f" (to the right phase: {100 * accuracy[arm]:.0f} %)" if arm in accuracy else ""


def _level(row: Any) -> str:
    """What an arm reaches by itself."""
    return (
        f"{100 * row.score:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}] show what was wanted and are "
        f"undamaged (n = {row.n} prompts)"
    )

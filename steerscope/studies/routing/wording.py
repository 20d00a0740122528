"""What routing shows, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
        reference: the best single vector, chosen on other prompts.
        accuracy: of each router, the share of prompts that it sends to their phase.
        choice_lost: the vector that the other prompts chose, where nothing is known of it here.
        unseen: vectors of which nothing is known on those other prompts.
    """
    mine = table[table.arm == reference].iloc[0]
    best = f"the {reference}"
    if choice_lost:
        best = f"the {choice_lost}, of which nothing is known here; the best of the rest is {best}"
    lines = [
        f"The best single vector, chosen on other prompts, is {best}: {_share(mine)} show what was "
        f"wanted and are undamaged (n = {mine.n} prompts)."
    ]
    if unseen:
        lines.append(
            f"On those other prompts nothing is known of the {', the '.join(unseen)} (logits that hold a NaN "
            "or an infinity)."
        )
    for row in table[table.arm != reference].itertuples():
        if not row.n:
            lines.append(f"{row.arm}: not known, since its logits hold a NaN or an infinity.")
            continue
        sure = row.p_corrected < _SURE
        verdict = "not told from it" if not sure else "better" if row.difference > 0 else "worse"
        routes = (
            f" (to the right phase: {100 * accuracy[row.arm]:.0f} %)" if row.arm in accuracy else ""
        )
        lines.append(
            f"{row.arm}{routes}: {100 * row.score:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}], "
            f"{verdict}: {100 * row.difference:+.0f} points [{100 * row.difference_low:+.0f}, "
            f"{100 * row.difference_high:+.0f}], p = {row.p_corrected:.2g} over all arms."
        )
    return lines


def _share(row: pd.Series) -> str:
    return f"{100 * row.score:.0f} % [{100 * row.low:.0f}, {100 * row.high:.0f}]"

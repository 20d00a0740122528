"""Where an effect stands among null directions, in words."""

from __future__ import annotations

import math

from steerscope.studies.steering.findings import Findings
from steerscope.studies.steering.verdict import ENOUGH_NULLS, NullRank, kinds_lacking, p_in_words


def nulls_in_words(f: Findings) -> str:
    """Where the effect stands among directions that mean nothing."""
    if not f.nulls:
        return "Nulls: not tested against nulls."
    if f.is_lost:
        return "Nulls: not compared, since logits of the steered model are not finite."
    items = "prompts" if f.effect.is_share else "pairs"
    factor, unit, digits = (100.0, " %", 1) if f.effect.is_share else (1.0, " nats", 2)

    def best(rank: NullRank) -> str:
        if math.isnan(rank.best):
            return ""
        said = f", the best of them {factor * rank.best:.{digits}f}{unit}"
        if not rank.looked_at or math.isnan(rank.against):
            return said
        return f"{said} against {factor * rank.against:.{digits}f}{unit} on the same {items}"

    parts = [
        f"{rank.n} {rank.kind} directions{_lost(rank)}{_compared(rank, items)}{best(rank)}, "
        f"rank {p_in_words(rank.p, draws=rank.n)}"
        for rank in f.nulls
    ]
    few = (
        ""
        if min(r.n for r in f.nulls) >= ENOUGH_NULLS
        else "; too few, so not tested against nulls"
    )
    lacking = "".join(
        f"; no {kind} directions, so not tested against those" for kind in kinds_lacking(f.nulls)
    )
    by = "" if not f.effect.is_share else ", told by the likelihood of the pairs"
    return f"Nulls, each at its own best layer and dose{by}: {'; '.join(parts)}{few}{lacking}."


def _compared(rank: NullRank, items: str) -> str:
    """On how many items each, where those are fewer than the effect is stated on."""
    return f" (each on {rank.looked_at} {items})" if rank.looked_at else ""


def _lost(rank: NullRank) -> str:
    if not rank.lost:
        return ""
    return f" ({rank.lost} gave logits that are not finite, and count as at least as good)"

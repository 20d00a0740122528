"""What a comparison of techniques shows, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from steerscope.judges.card import Card, unless_it_cannot_tell
from steerscope.studies.methods.one_kl import is_one_kl
from steerscope.studies.transfer.findings import (
    OUTCOMES,
    PLAIN,
    against,
    distinct_in,
    odd_and_even,
    outcome_in_words,
)


def verdict(table: pd.DataFrame, reference: str, rival: str, *, words: str, kl: float) -> str:
    """Whether the reference beats a rival at the matched KL, and by how much, in one sentence.

    It says the KL that both came to on the measured prompts, and where these are not one KL, that
    the comparison is not at one; of a KL that is not known it says that alone.

    Args:
        table: as `against` returns it.
        reference: whose merit is asked.
        rival: whom it has to beat.
        words: what was measured, in words, with its unit.
        kl: the matched KL in nats.
    """
    known: Sequence[str] = list(table.technique)
    missing = [name for name in (reference, rival) if name not in known]
    start = f"At a matched KL of {kl:g} nats, {words}:"
    if missing:
        return f"{start} {' and '.join(missing)}: no coefficient of both signs reaches that KL."
    by_name = table.set_index("technique")
    lost = [name for name in (reference, rival) if not by_name.n[name]]
    if lost:
        return f"{start} {' and '.join(lost)}: no number at that KL, so nothing is known."
    row, mine = by_name.loc[rival], by_name.loc[reference]
    if math.isnan(row.p_holm):
        n = int(row.n_paired)
        few = {0: "no item is known of both, which is", 1: "one distinct item is"}
        items = few.get(n, f"{n} distinct items are")
        return f"{start} {items} too few to compare {reference} and {rival}."
    said = f"{row.difference:+.3f} [{row.difference_low:+.3f}, {row.difference_high:+.3f}]"
    holm_p = f"p {row.p:.3g}, {row.p_holm:.3g} after Holm, n {row.n_paired:.0f}"
    if row.p_holm < 0.05:
        won = "beats" if row.difference > 0 else "is behind"
        outcome = f"{reference} {won} {rival} by {said} ({holm_p})"
    else:
        outcome = f"{reference} and {rival} cannot be told apart: {said} ({holm_p})"
    price = " against ".join(_nats(r.kl, r.kl_low, r.kl_high) for r in (mine, row))
    return (
        f"{start} {outcome}, at {price} on the measured prompts{_unless_one_kl(mine.kl, row.kl)}."
    )


def _nats(kl: float, low: float, high: float) -> str:
    """A KL with its interval, where it is known and has one."""
    return "a KL that is not known" if math.isnan(kl) else f"{kl:.3f}{_span(low, high, '.3f')} nats"


def _unless_one_kl(one: float, other: float) -> str:
    """That a comparison is not at one KL, or that nobody knows; empty where it is."""
    if math.isnan(one) or math.isnan(other):
        return "; whether this is a comparison at one KL is not known"
    return "" if is_one_kl(one, other) else "; this is not a comparison at one KL"


def verdicts(
    rows: pd.DataFrame, reference: str, *, kl: float, card: Card | None = None
) -> list[str]:
    """`verdict` of a reference against every other technique, on every outcome that was measured.

    Nothing is stated on texts by a judge whose card says that it cannot tell.
    What cannot be brought to the matched KL is stated at c = ±1 with the KL that it has there.
    """
    found: list[str] = []
    for metric in (m for m in OUTCOMES if m in set(rows.metric)):
        table, lines = against(rows, metric, reference), []
        for rival in rows.technique.unique():
            if rival in {PLAIN, reference}:
                continue
            words = outcome_in_words(rows, metric)
            line = verdict(table, reference, rival, words=words, kl=kl)
            if rival not in set(table.technique):
                line += _at_one(rows, metric, rival)
            lines.append(line)
        found += unless_it_cannot_tell(card, lines) if metric == "target" else lines
    return found


def _at_one(rows: pd.DataFrame, metric: str, technique: str) -> str:
    """What a technique gains at c = ±1, and at what KL; empty where that was not measured."""
    parts = odd_and_even(rows, metric).set_index(["technique", "coefficient"])
    if (technique, 1.0) not in parts.index:
        return ""
    gain = parts.loc[(technique, 1.0)]
    if math.isnan(gain.odd):
        return f" At c = ±1 {technique} has no number, so that nothing is known."
    here = rows[(rows.technique == technique) & (rows.coefficient.abs() == 1) & ~rows.matched]
    spent = here[here.metric == "kl"].groupby("item").value.mean()
    nats = distinct_in(rows).mean_kl(spent, "test")
    gained = f"{gain.odd:+.3f}{_span(gain.odd_low, gain.odd_high, '+.3f')}"
    return f" At c = ±1 {technique} has {gained} at {_nats(nats.value, nats.low, nats.high)}."


def _span(low: float, high: float, form: str) -> str:
    """An interval, where there is one."""
    return "" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]"

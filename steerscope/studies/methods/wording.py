"""What a comparison of methods shows, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from steerscope.judges.effects import Effect
from steerscope.runs.overflows import lost_nulls_in_words
from steerscope.studies.methods.findings import (
    BETWEEN,
    LOST,
    NULLS,
    SAME_VECTOR,
    SETTING,
    SURE,
    TOP,
    UNKNOWN,
    UNMATCHED,
    n_lost_nulls,
)
from steerscope.studies.methods.one_kl import is_one_kl
from steerscope.studies.ranks import by_chance


def in_words(table: pd.DataFrame, pairs: pd.DataFrame, effect: Effect) -> list[str]:
    """What the comparison shows, a few sentences for each setting.

    Args:
        table: the ranking with standings.
        pairs: the rivals, with the cosine of their vectors where it is known.
        effect: what was measured.
    """
    n_tests = int(table.p.notna().sum())
    everyone = [m for m in table.method.unique() if m not in NULLS]
    lines = []
    for (place, matching), rows in table.groupby(SETTING, sort=False):
        first = rows.iloc[0]
        by_standing = {name: list(part.method) for name, part in rows.groupby("standing")}
        top, between, lost = (by_standing.get(name, []) for name in (TOP, BETWEEN, LOST))
        band = f"{_amount(first.null_low, effect)} to {_amount(first.null_high, effect)}"
        kinds = [
            f"{r.method} {_amount(r.effect, effect)}"
            for r in rows[rows.null & rows.effect.notna()].itertuples()
        ]
        lost_nulls = lost_nulls_in_words(n_lost_nulls(rows), or_else=UNMATCHED)
        more = f"; {lost_nulls}" if lost_nulls else ""
        lines.append(
            f"{place}, matched {matching}: {_listed([*top, *between])}: ahead of every one of "
            f"{int(first.n_nulls)} null directions{more} (the middle 95 % of these lie at {band}, the largest "
            f"at {_amount(first.null_max, effect)}, on average {_listed(kinds)}; n = {first.n} held-out items, Holm over {n_tests} comparisons)"
            f"{_as_chance(top, int(first.n_nulls))}."
        )
        if matching == "kl" and (spread := _not_one_kl(rows)):
            lines.append(f"  {spread}")
        if unknown := by_standing.get(UNKNOWN):
            lines.append(f"  Not known, since logits were not finite: {_listed(unknown)}.")
        if lost:
            lines.append(f"  Not told from the nulls: {_listed(lost)}.")
        if top:
            best = rows.loc[rows.method == top[0], "effect"].iloc[0]
            lines.append(
                f"  Largest of those that beat them: {top[0]}, {_amount(best, effect)}{_more(rows, lost, best)}. Inside "
                f"the noise floor of it: {_listed(top[1:])}. Really lower: {_listed(between)} (paired, max statistic over "
                f"{len(pairs)} pairs)."
            )
        here = (pairs[SETTING] == [place, matching]).all(axis=1)
        alike = here & (pairs.cosine > SAME_VECTOR) if "cosine" in pairs else here & False
        for twins in pairs[alike].itertuples():
            lines.append(
                f"  One vector under two names: {twins.better} and {twins.worse} (cosine "
                f"{twins.cosine:.3f}), {_apart(twins.difference, effect)} apart all the same."
            )
        out = [m for m in everyone if m not in set(rows.method)]
        if out:
            lines.append(
                "  Left out, since they do not reach the matched dose there, or their logits are not finite: "
                f"{_listed(out)}."
            )
    if not effect.is_share:
        lines.append(
            "The preference is also what gradient and Fisher methods descend, on other pairs: it "
            "favours them, and does not tell what the model would write."
        )
    return lines


def _as_chance(top: Sequence[str], n_nulls: int) -> str:
    """How often a direction at random does what those did that beat every null; empty where none did."""
    return f", as {by_chance(n_nulls)}" if top else ""


def _not_one_kl(rows: pd.DataFrame) -> str:
    """That the methods came to different KL on the held-out prompts; empty where they did not, or none is known."""
    nats = rows.kl_nats.dropna() if "kl_nats" in rows else pd.Series(dtype=float)
    if nats.empty or is_one_kl(float(nats.min()), float(nats.max())):
        return ""
    return (
        f"This is not a comparison at one KL: it was matched on the select prompts, and is {nats.min():.3f} to "
        f"{nats.max():.3f} nats on the held-out ones."
    )


def _more(rows: pd.DataFrame, lost: Sequence[str], best: float) -> str:
    """The methods that have a larger effect and are not told from the nulls; empty for none."""
    larger = rows[rows.method.isin(lost) & (rows.effect > best)].method
    return (
        f" (not told from the nulls with a larger one: {_listed([*larger])})" if len(larger) else ""
    )


def across_in_words(across: pd.DataFrame, effect: Effect, places: Sequence[str]) -> list[str]:
    """What the table of methods and places shows as a whole, a sentence or two for each matching.

    Args:
        across: as `across_places` gives it.
        effect: what was measured.
        places: all that were asked for.
    """
    lines = []
    for matching, rows in across.groupby("matching", sort=False):
        chosen, others = rows[rows.is_chosen].iloc[0], rows[~rows.is_chosen]
        worse = others[(others.p_corrected < SURE) & (others.difference > 0)]
        better = others[(others.p_corrected < SURE) & (others.difference < 0)]
        known = f"{chosen.method} at {chosen.place}"
        if chosen.choice_lost:
            known = f"{chosen.choice_lost}, of which nothing is known here, and of the rest {known}"
        of = f", of {chosen.nulls_lost} of which nothing is known" if chosen.nulls_lost else ""
        nulls = (
            f"ahead of each of {int(chosen.n_nulls)} null directions of all places, as {by_chance(int(chosen.n_nulls))}"
            if chosen.p_null < SURE
            else f"not told from the null directions of all places{of}"
        )
        lines.append(
            f"matched {matching}: other texts chose {known}, "
            f"{_amount(chosen.effect, effect)} here, {nulls} (p = {chosen.p_null:.2g}); really better "
            f"than {len(worse)} of {len(others)} other methods and places, really worse than "
            f"{len(better)}, not told from {len(others) - len(worse) - len(better)} (paired, max "
            f"statistic, n = {int(chosen.n)} held-out items)."
        )
        lost = [place for place in places if place not in set(rows.place)]
        if lost:
            lines.append(
                "  Not known, since logits of the methods or null directions are not finite, or they do not reach the matched "
                f"dose at any block: {_listed(lost)}."
            )
        if len(better):
            lines.append(
                f"  Really better than it: {_listed([f'{r.method} at {r.place}' for r in better.itertuples()])}."
            )
    return lines


def _amount(value: float, effect: Effect) -> str:
    return f"{100 * value:.0f} %" if effect.is_share else f"{value:.2f} nats"


def _apart(value: float, effect: Effect) -> str:
    return f"{100 * value:.0f} points" if effect.is_share else f"{value:.2f} nats"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"

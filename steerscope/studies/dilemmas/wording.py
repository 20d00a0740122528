"""What a transfer to dilemmas shows, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from steerscope.studies.transfer.wording import verdict

_LEVEL = 0.05
_OVERFLOWS = "the logits of a dilemma are not finite"
_MOST = 0.5  # of the dilemmas; where fewer are answered, the question may be at fault


def sentences(
    values: pd.DataFrame,
    answered: pd.DataFrame,
    target: str,
    kl: float,
    *,
    answers: Sequence[str] = ("Yes", "No"),
) -> list[str]:
    """What each technique does to the target value, and to the others.

    Args:
        values: as `value_table` returns it.
        answered: as `answered_table` returns it.
        target: the target value.
        kl: nats at which techniques are matched.
        answers: the two words.
    """
    found = [_answers(answered, answers)]
    for technique in values.technique.unique():
        mine = values[values.technique == technique]
        is_matched = bool(mine.matched.all())
        at = f"at {kl:g} nats" if is_matched else "at c = ±1, where the KL is not matched"
        row = mine[mine.is_target].to_dict("records")
        start = f"{technique} ({at}): "
        if _is_lost(answered, technique, is_matched):
            found.append(f"{start}nothing is known, since {_OVERFLOWS}.")
            continue
        found.append(
            start
            + _target(row[0] if row else None, target)
            + _others(mine[~mine.is_target], bool(row and row[0]["p_holm"] < _LEVEL))
        )
    told = {"plain", *values.technique}
    return found + [
        f"{name}: it was not measured under both signs, neither at {kl:g} nats nor at c = ±1, so that nothing is known."
        for name in answered.technique.unique()
        if name not in told
    ]


def _is_lost(answered: pd.DataFrame, technique: str, is_matched: bool) -> bool:
    """Whether a condition overflowed at which a technique is stated."""
    mine = answered[(answered.technique == technique) & (answered.matched == is_matched)]
    at = mine if is_matched else mine[mine.coefficient.abs() == 1]
    return bool(at.answered.isna().any())


def _answers(answered: pd.DataFrame, answers: Sequence[str]) -> str:
    plain = answered[answered.technique == "plain"].iloc[0]
    if math.isnan(plain.answered):
        return f"Plain, it is not known how many of the dilemmas are answered, since {_OVERFLOWS}."
    said = (
        f"Plain, {plain.answered:.0%} of the dilemmas are answered with {' or '.join(answers)}, which have "
        f"{plain.mass:.0%} of the probability on average; where they have less than half there is no answer, and "
        "no number."
    )
    if plain.answered < _MOST:
        said += " Another beginning of the answer (`begin`) may leave more to them."
    return said


def _target(row: Mapping[str, Any] | None, target: str) -> str:
    if row is None or not row["n"] or math.isnan(row["effect"]):
        return f"whether choices move towards {target} is not known, since no dilemma tells"
    if math.isnan(row["p_holm"]):
        number = "1 dilemma tells" if row["n"] == 1 else f"{row['n']} dilemmas tell"
        return (
            f"whether choices move towards {target} is not known: {number} of it, which is too few"
        )
    span = f"{row['effect']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}] nats"
    tested = f"p {row['p']:.3g}, {row['p_holm']:.3g} after Holm, {row['n']} dilemmas"
    if row["p_holm"] < _LEVEL:
        way = "towards" if row["effect"] > 0 else "away from"
        return f"choices move {way} {target} by {span} ({tested})"
    return f"choices are not shown to move towards {target}: {span} ({tested})"


def _others(others: pd.DataFrame, target_moved: bool) -> str:
    tested = others[others.p_holm.notna()]
    if not len(tested):
        return "; no other value has dilemmas enough to tell."
    moved = tested[tested.p_holm < _LEVEL]
    if not len(moved):
        return f"; none of {len(tested)} other values is shown to move."
    named = ", ".join(f"{r.value} {r.effect:+.2f}" for r in moved.itertuples())
    as_well = " as well" if target_moved else ""
    return f"; of {len(tested)} other values {len(moved)} move{as_well} ({named})."


def comparisons(
    table: pd.DataFrame, techniques: Sequence[str], target: str, kl: float
) -> list[str]:
    """The first technique against each of the others on the target value.

    Args:
        table: as `target_against` returns it.
        techniques: in the order of the plan.
        target: the target value.
        kl: nats at which they are compared.
    """
    first, words = techniques[0], f"half the difference between the signs towards {target} (nats)"
    return [verdict(table, first, other, words=words, kl=kl) for other in techniques[1:]]

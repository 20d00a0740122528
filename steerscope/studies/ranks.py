"""What being ahead of every null direction tells, by how many of them there are."""

from __future__ import annotations

from collections.abc import Sequence

ENOUGH = 19  # nulls: a direction at random is ahead of all of them in 1 of 20 cases


def rank_among(value: float, nulls: Sequence[float], n_lost: int = 0) -> float:
    """P of a direction by its rank: (1 + those at least as good) / (1 + all).

    It holds for any number of prompts: of directions that are drawn alike each is as likely to be the best. What
    tells a direction from each null on the prompts only says that they differ, as any two may.

    Args:
        value: its effect.
        nulls: theirs.
        n_lost: nulls of which nothing is known, which count as at least as good.
    """
    at_least = n_lost + sum(null >= value for null in nulls)
    return (1 + at_least) / (1 + n_lost + len(nulls))


def by_chance(n_nulls: int) -> str:
    """How often a direction that is none but random is ahead of so many null directions."""
    return f"1 of {n_nulls + 1} directions at random is too"

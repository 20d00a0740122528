"""What being ahead of every null direction tells, by how many of them there are.

What tells a direction from each null on the prompts only says that they differ there, as any two
directions may. Of directions that are drawn alike each is as likely to be the best, on however many
prompts, so that only the rank among many nulls tells one that is more than random.
"""

from __future__ import annotations

ENOUGH = 19  # nulls: a direction at random is ahead of all of them in 1 of 20 cases


def by_chance(n_nulls: int) -> str:
    """How often a direction that is none but random is ahead of so many null directions."""
    return f"1 of {n_nulls + 1} directions at random is too"

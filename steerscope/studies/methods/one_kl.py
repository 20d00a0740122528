"""Whether what is compared was really stated at one KL."""

from __future__ import annotations

TOLERANCE = 0.15


def is_one_kl(one: float, other: float, *, tolerance: float = TOLERANCE) -> bool:
    """Whether two KL differ by at most a tolerance, as a share of the larger one.

    A KL that was matched on some prompts need not be met on others, and who spends more of it
    reaches more.
    """
    return bool(abs(one - other) <= tolerance * max(one, other))

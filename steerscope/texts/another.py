"""Whether another concept is another one."""

from __future__ import annotations

from steerscope.errors import BadValueError
from steerscope.texts.contrasts import ContrastSet

_MOST = 0.5  # of the pairs of the smaller set


def check_another(contrasts: ContrastSet, other: ContrastSet) -> None:
    """Refuse pairs as those of another concept where most of them are the concept's own, either way round.

    Raises:
        BadValueError: they are.
    """
    own, others = (
        {frozenset((p.positive, p.negative)) for p in c.pairs} for c in (contrasts, other)
    )
    shared, fewest = len(own & others), min(len(own), len(others))
    if shared > _MOST * fewest:
        raise BadValueError(
            f"{shared} of {fewest} pairs of {other.name}, which is to be another concept, are the concept's own; "
            "give pairs of another concept, or none."
        )

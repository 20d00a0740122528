"""What an adapter was trained on, so that nobody judges it on what it has seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from steerscope.errors import ContrastError
from steerscope.texts.contrasts import ContrastPair, ContrastSet


@dataclass(frozen=True)
class TrainingRecord:
    """The pairs, by hash, and the settings of a training.

    Attributes:
        contrasts: name of the contrast set.
        fit: of each pair that was trained on.
        select: of each pair that chose the epoch and the sign.
        objective: settings of the loss.
        plan: settings of the training.
    """

    contrasts: str
    fit: tuple[str, ...]
    select: tuple[str, ...]
    objective: Mapping[str, Any] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        splits: tuple[ContrastSet, ContrastSet],
        objective: Mapping[str, Any],
        plan: Mapping[str, Any],
    ) -> TrainingRecord:
        """The record of a training on these splits with these settings."""
        fit, select = (tuple(text for p in part.pairs for text in _hashes(p)) for part in splits)
        name = splits[0].name.removesuffix("/fit")
        return cls(name, fit, select, objective, plan)

    def check_unseen(self, pairs: ContrastSet) -> None:
        """Refuse pairs of which a text was trained on or chose the epoch.

        Raises:
            ContrastError: one was.
        """
        seen = {*self.fit, *self.select}
        n = sum(not seen.isdisjoint(_hashes(pair)) for pair in pairs.pairs)
        if n:
            raise ContrastError(
                f"{n} of the {len(pairs)} pairs of {pairs.name} were used to train this adapter, which "
                "says nothing of others; evaluate it with the seed that it was trained with, or on "
                "other pairs."
            )

    def splits_of(self, contrasts: ContrastSet) -> tuple[ContrastSet, ContrastSet]:
        """The pairs of a contrast set that were trained on, and those that chose.

        Raises:
            ContrastError: the set does not hold all of them.
        """
        found = []
        for name, wanted in (("fit", set(self.fit)), ("select", set(self.select))):
            pairs = tuple(p for p in contrasts.pairs if wanted.issuperset(_hashes(p)))
            if {h for p in pairs for h in _hashes(p)} != wanted:
                raise ContrastError(
                    f"{contrasts.name} does not hold the pairs that this adapter was trained on, those "
                    f"of {self.contrasts}; give that set with --trained-on, so that what it is "
                    "compared with learns from the same."
                )
            found.append(replace(contrasts, name=f"{contrasts.name}/{name}", pairs=pairs))
        return found[0], found[1]


def _hashes(pair: ContrastPair) -> tuple[str, str]:
    positive, negative = (
        hashlib.sha256(text.encode()).hexdigest()[:16] for text in (pair.positive, pair.negative)
    )
    return positive, negative

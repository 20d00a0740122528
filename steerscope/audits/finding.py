"""What an audit says: one thing that may deceive, with its numbers and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing in a run that may deceive its reader.

    Attributes:
        severity: `error` if the run does not support what it seems to say; `warning` if it may
            not; `note` if the reader should only know.
        what: what was found, in words.
        where: layer, dose, split or file.
        remedy: what to do.
        numbers: the evidence, each number by a name that holds its unit.
        check: name of the check that found it.
    """

    severity: Severity
    what: str
    where: str
    remedy: str
    numbers: Mapping[str, float | int] = field(default_factory=dict)
    check: str = ""

    def __str__(self) -> str:
        return f"{self.severity} ({self.check}), {self.where}: {self.what}. {self.remedy}."


def tally(found: Sequence[Finding]) -> str:
    """How many findings of each severity, in words."""
    counts = [sum(f.severity == s for f in found) for s in SEVERITIES]
    words = [f"{n} {s}{'' if n == 1 else 's'}" for n, s in zip(counts, SEVERITIES, strict=True)]
    return ", ".join(words)

"""What gates on the eigengap show, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from steerscope.studies.ranks import ENOUGH

_SURE = 0.05


def gates_in_words(table: pd.DataFrame, *, kl: float, outcome: str) -> str:
    """Which gates help at a matched KL, beyond chance and beyond every gate that knows nothing.

    Args:
        table: as `compare_arms` returns it.
        kl: the matched KL in nats.
        outcome: what was compared, in words, with its unit.
    """
    gates = table[table.p_holm.notna()]
    sure = gates[gates.p_holm < _SURE]
    kinds = [
        "hurt" if row.difference < 0 else _kind(row, table[table.reference == row.reference])
        for row in sure.itertuples()
    ]
    found = {kind: sure[[k == kind for k in kinds]] for kind in _WORDS}
    unknown = _unknown(table)
    more = [_listed(rows, *_WORDS[kind]) for kind, rows in found.items() if len(rows)]
    if not len(found["help"]):
        more = [_none_of(len(gates), lost=bool(unknown)), *more]
    return f"At a matched KL of {kl:g} nats, {outcome}, {_beside(table)}: {'; '.join([*more, *unknown])}."


_FEW = (
    f"than every control that is known, but not so much that it is told for all gates together, which {ENOUGH} "
    f"permutations of the gaps or more can, of layers and heads alike {2 * (ENOUGH + 1) - 1} of each"
)
# By kind of gate, what is said of one and of several.
_WORDS = {
    "help": ("helps", "help"),
    "few": (f"gains more {_FEW}", f"gain more {_FEW}"),
    "alone": (
        "beats the ungated arm, and no gate with the gaps of other sites is known beside it",
        "beat the ungated arm, and no gate with the gaps of other sites is known beside them",
    ),
    "chance": (
        "gains no more than the best control that knows no gap",
        "gain no more than the best control that knows no gap",
    ),
    "hurt": ("hurts", "hurt"),
}


def _kind(gate: Any, beside: pd.DataFrame) -> str:
    """What a gate that is ahead of the ungated arm is, among the arms of that reference.

    Beating the ungated arm is no merit of the gap if gates that know nothing do so too, or controls of another kind.
    """
    nulls = beside[beside.null & ((beside.draw < 0) | (beside.of == gate.arm))].difference
    if nulls.isna().all():
        return "alone"
    if gate.difference <= nulls.max():
        return "chance"
    return "help" if gate.p_gaps <= _SURE else "few"


def _beside(table: pd.DataFrame) -> str:
    """How many permutations of the gaps there are, and what those of which something is unknown count as."""
    found = []
    for name, mine in table[table.draw >= 0].groupby("reference", sort=False):
        known = mine.difference.notna().groupby(mine.draw).all()
        n, lost = len(known), int((~known).sum())
        words = f"{n} permutation{'s' * (n > 1)} of the gaps beside {name}"
        if lost == n:
            words += " (none of them known against it)"
        elif lost:
            words += (
                f" ({lost} of them not known, which count{'s' * (lost == 1)} as at least as good)"
            )
        found.append(words)
    return f"with {' and '.join(found)}" if found else "without permutations of the gaps"


def _none_of(n_gates: int, *, lost: bool) -> str:
    """That no gate helps."""
    if not n_gates and lost:
        return "no gate can be compared with the ungated arm"
    if n_gates == 1:
        return "the gate is not shown to help"
    return f"none of {n_gates} gates is shown to help"


def _unknown(table: pd.DataFrame) -> list[str]:
    """Of which arms nothing is known, and of which it is not known what they gain over the ungated one."""
    lost = table.effect.isna()
    apart = table.difference.isna() & ~lost
    found = []
    if lost.any():
        found.append(f"nothing is known of {_named(table[lost])}")
    if apart.any():
        gain = "gains" if apart.sum() == 1 else "gain"
        found.append(f"what {_named(table[apart])} {gain} over the ungated arm is not known")
    return found


def _named(rows: pd.DataFrame) -> str:
    """The arms by name, gates with the gaps of other sites by their number."""
    drawn = rows.draw >= 0
    names, n = [*rows[~drawn].arm], int(drawn.sum())
    if n:
        gate = f"{n} gates" if n > 1 else "a gate"
        names.append(f"{gate} with the gaps of other sites")
    return _joined(names)


def _listed(rows: pd.DataFrame, one: str, several: str) -> str:
    """The gates with their differences, and what is said of one or of several."""
    names = [
        f"{r.arm} ({r.difference:+.2f} [{r.difference_low:+.2f}, {r.difference_high:+.2f}])"
        for r in rows.itertuples()
    ]
    return f"{_joined(names)} {one if len(names) == 1 else several}"


def _joined(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last

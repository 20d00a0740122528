"""Dilemmas of everyday life: a situation, an action and its omission, and the values that each serves.

Source: Chiu et al. 2024 (arXiv:2410.02683), DailyDilemmas: one row an action, `to_do` or `not_to_do`,
with the same `idx`; `values_names` and `values_direct` are lists written as Python writes them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerscope.errors import ContrastError, check_name
from steerscope.texts.records import read_records

COLUMNS = ("idx", "dilemma_situation", "action_type", "action")
_BARE_NAN = re.compile(r"(?<=[\[,])\s*nan\s*(?=[\],])")  # as pandas writes a value that is missing
_VALUES = ("values_names", "values_aggregated", "values_direct")


@dataclass(frozen=True)
class Dilemma:
    """One dilemma.

    Attributes:
        name: its number in the file.
        situation: what is the case, and what is asked.
        act: the action.
        omit: the omission.
        labels: by value, +1 where only the action serves it and -1 where only the omission does; a value
            that both or neither serve has none.
    """

    name: str
    situation: str
    act: str
    omit: str
    labels: Mapping[str, int]


def read_dilemmas(
    path: str | Path, n: int | None = None, value: str | None = None
) -> list[Dilemma]:
    """The dilemmas of a file in their order, at most `n` of them.

    Args:
        path: the file.
        n: how many at most, the first ones; None for all.
        value: of which those come first that tell about it, so that few dilemmas say something; in any case.

    Raises:
        ContrastError: it is no such file, or a dilemma lacks one of its two actions.
        UnknownNameError: no action of any dilemma serves the value; the message names values that some do.
    """
    rows = read_records(path, COLUMNS)
    column = next((c for c in _VALUES if c in rows[0]), None)
    if column is None:
        raise ContrastError(
            f"{path}: says nothing of the values of an action; it needs a column {' or '.join(_VALUES)}."
        )
    sides: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        sides.setdefault(str(row["idx"]), {})[str(row["action_type"]).strip()] = row
    found: list[Dilemma] = []
    named: set[str] = set()
    for name, both in list(sides.items())[: n if value is None else None]:
        if set(both) != {"to_do", "not_to_do"}:
            raise ContrastError(
                f"{path}, dilemma {name}: needs one row to_do and one not_to_do; found "
                f"{', '.join(sorted(both))}."
            )
        act, omit = both["to_do"], both["not_to_do"]
        served = [_values(f"{path}, dilemma {name}", side[column]) for side in (act, omit)]
        named |= served[0] | served[1]
        labels = {v: 1 for v in served[0] - served[1]} | {v: -1 for v in served[1] - served[0]}
        found.append(
            Dilemma(
                name,
                str(act["dilemma_situation"]).strip(),
                str(act["action"]).strip(),
                str(omit["action"]).strip(),
                dict(sorted(labels.items())),
            )
        )
    told = None if value is None else check_name("value", lowered(value), named)
    if told is None or n is None:
        return found
    telling_first = sorted(range(len(found)), key=lambda i: told not in found[i].labels)
    return [found[i] for i in sorted(telling_first[:n])]


def _values(where: str, given: Any) -> set[str]:
    """The names of a list, in lower case."""
    if isinstance(given, str):
        try:
            given = ast.literal_eval(_BARE_NAN.sub("None", given))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ContrastError(
                f"{where}: cannot read the values {given[:60]!r} as a list."
            ) from None
    if not isinstance(given, list | tuple):
        raise ContrastError(f"{where}: the values must be a list, not {given!r:.60}.")
    return {lowered(str(v)) for v in given if v is not None and str(v).strip()}


def lowered(value: str) -> str:
    """The name of a value as dilemmas are labelled by it, such as `honesty` of ` Honesty`."""
    return value.strip().lower()


def question(dilemma: Dilemma, action: str, answers: tuple[str, str]) -> str:
    """What is asked about one of the two actions."""
    return (
        f"{dilemma.situation}\n\nAction: {action}\n\n"
        f"Would you do this? Answer with {answers[0]} or {answers[1]}."
    )

"""The rows of a table about conditions: their labels, their status, and what overflowed."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from steerscope.engine.continuations import Continuation
from steerscope.errors import NotFiniteError
from steerscope.judges import ORACLE_METRICS
from steerscope.runs.results import NOT_FINITE, Row
from steerscope.steering.interventions import Cell
from steerscope.steering.prompting import is_prompting

_log = logging.getLogger(__name__)
PLAIN = Cell().key
METRICS = (
    *ORACLE_METRICS,
    "preference",
    "degenerate",
    "distinct_2",
    "repetition",
    "changed",
    "nll_plain",
    "nll_second",
    "nll_asked",
    "shown",
    "judge_score",
    "undamaged",
    "shown_undamaged",
)  # that tables may hold


def cell_row(
    cell: Cell,
    concept: str,
    split: str,
    what: tuple[str, str, int],
    value: float,
    *,
    kl: float = math.nan,
    status: str = "ok",
) -> Row:
    """A row about a condition; `what` is the metric, its unit, and the number of the prompt or text."""
    label = labels_of(cell)
    metric, unit, prompt = what
    return Row(
        cell=cell.key,
        concept=concept,
        method=str(label["method"]),
        stream=str(label["stream"]),
        layer=int(label["layer"]),
        head=int(label["head"]),
        operator=str(label["operator"]),
        scope=str(label["scope"]),
        dose_absolute=float(label["dose_absolute"]),
        dose_relative=float(label["dose_relative"]),
        dose_natural=float(label["dose_natural"]),
        kl_nats=kl,
        prompt=prompt,
        split=split,
        seed=int(label["seed"]),
        metric=metric,
        unit=unit,
        value=value,
        status=status,
    )


def overflowed(written: Mapping[str, Sequence[Continuation]]) -> set[str]:
    """The conditions, by name, of which some continuation ended in logits that are not finite.

    Raises:
        NotFiniteError: the plain one is among them.
    """
    lost = {name for name, texts in written.items() if not all(text.finite for text in texts)}
    if PLAIN in lost:
        raise NotFiniteError(
            "the logits are not finite without any steering; check the model's weights, "
            "or use a wider number format."
        )
    tell_lost(lost)
    return lost


def without_numbers(rows: Sequence[Row], lost: Collection[str]) -> list[Row]:
    """Rows of which those of some conditions say that nothing is known, since logits overflowed.

    Args:
        rows: of any conditions.
        lost: keys of the conditions whose logits are not finite somewhere; they are logged.
    """
    tell_lost(lost)
    return [
        replace(row, value=math.nan, kl_nats=math.nan, status=NOT_FINITE)
        if row.cell in lost
        else row
        for row in rows
    ]


def tell_lost(lost: Collection[str]) -> None:
    """Log the conditions, by key or name, of which logits are not finite."""
    for key in sorted(lost):
        _log.warning("the logits are not finite under the condition %s", key)


_PLAIN_LABELS: dict[str, str | float] = {
    "method": "plain",
    "stream": "",
    "layer": -1,
    "head": -1,
    "operator": "",
    "scope": "",
    "dose_absolute": 0.0,
    "dose_relative": 0.0,
    "dose_natural": 0.0,
    "seed": -1,
}


def labels_of(cell: Cell) -> dict[str, str | float]:
    """What rows say of a condition: that of its first intervention."""
    return cell.interventions[0].labels() if cell.interventions else _PLAIN_LABELS


def sign_of(cell: Cell) -> int:
    """Whether a condition steers towards the positive class, the negative or, with 0, neither."""
    if is_prompting(cell):
        return 1  # what is asked for is the positive class
    dose = float(labels_of(cell)["dose_natural"])  # what every intervention with a sign has
    return 0 if math.isnan(dose) else int(np.sign(dose))


def status_of(written: Continuation, read: dict[str, float], *, degenerate: bool) -> str:
    """The status of the rows of a text."""
    if not written.text.strip():
        return "empty"
    if degenerate:
        return "degenerate"
    return "unread" if any(map(math.isnan, read.values())) else "ok"

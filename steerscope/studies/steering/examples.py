"""Three texts that stand for all under the chosen condition: a typical one, the best and the worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run
from steerscope.runs.written import all_texts, metrics_of
from steerscope.studies.steering.findings import Findings
from steerscope.studies.steering.likelihood import likely_as
from steerscope.studies.steering.responses import responses
from steerscope.studies.steering.success import PLAIN, Costs, undamaged, with_statuses

_NATS = "nll_plain"
_CHANGED = "changed"


@dataclass(frozen=True)
class Example:
    """One text of the chosen condition.

    Attributes:
        kind: `typical`, `best`, `worst`, or `only` where there is no other.
        text: its row of `written_texts`.
        undamaged: whether it is within the spread of the plain texts.
    """

    kind: str
    text: dict[str, Any]
    undamaged: bool


@dataclass(frozen=True)
class Examples:
    """What is shown of the texts under the chosen condition, and by which rule.

    Attributes:
        shown: at most three.
        split: of their prompts.
        n: texts that they were taken from.
        judged: whether the effect was read in them, so that it has a say in the order.
        asked: whether they are held to the likelihood of texts that were asked for.
    """

    shown: tuple[Example, ...]
    split: str
    n: int
    judged: bool
    asked: bool = False


def examples(run: Run, f: Findings) -> Examples | None:
    """The texts at the first, the middle and the last place of all under the chosen condition.

    In order: undamaged texts before damaged ones; then by what the judge read, or, where no judge
    reads texts, those that steering changed first; then by the fewest nats per token under the plain
    model. What is unknown comes last; the number of the prompt breaks a tie.

    Returns:
        None where the condition has no stored texts.
    """
    if run.texts().empty:
        return None
    table = with_statuses(run.table())
    found = _of_choice(all_texts(run), f)
    if found.empty:
        return None
    split, cell = found.split.iloc[0], found.cell.iloc[0]
    groups = groups_of(run)
    costs = Costs(table, split, f.effect.held_to, groups, likely_as(table, f.effect, split, groups))
    whole = undamaged(costs.values, costs.limits, PLAIN, costs.likely_as)
    good = whole.loc[cell] if cell in whole.index else pd.Series(dtype=bool)
    judged = f.effect.metric in metrics_of(found)
    read = responses(table, f.effect, split).loc[cell] if judged else _by_prompt(found, _CHANGED)
    ranked = found.assign(
        undamaged=[bool(good.get(prompt, False)) for prompt in found.prompt],
        number=found.prompt.map(read),
        nats=found.prompt.map(_by_prompt(found, _NATS)),
    ).sort_values(
        ["undamaged", "number", "nats", "prompt"],
        ascending=[False, False, True, True],
        na_position="last",
        kind="stable",
    )
    shown = tuple(_example(kind, ranked.iloc[place]) for kind, place in _places(len(ranked)))
    return Examples(shown, split, len(ranked), judged, costs.likely_as != PLAIN)


def _of_choice(texts: pd.DataFrame, f: Findings) -> pd.DataFrame:
    """The texts under the chosen condition, of the split that it is stated on."""
    here = texts[
        (texts.method == f.plan.method)
        & (texts.layer == f.chosen.layer)
        & ((texts.dose_natural - f.chosen.dose_natural).abs() < 1e-6)
    ]
    return here[here.split == ("test" if f.stated else "select")]


def _by_prompt(texts: pd.DataFrame, metric: str) -> pd.Series:
    """The numbers of a metric by prompt; none where it was not measured."""
    there = texts.set_index("prompt")
    return there[metric] if metric in there else pd.Series(dtype=float)


def _places(n: int) -> list[tuple[str, int]]:
    """Which of so many texts in order are shown, and as what."""
    if n == 1:
        return [("only", 0)]
    ends = [("best", 0), ("worst", n - 1)]
    return ends if n == 2 else [("typical", (n - 1) // 2), *ends]


def _example(kind: str, row: pd.Series) -> Example:
    about = {str(k): v for k, v in row.items() if k not in ("undamaged", "number", "nats")}
    return Example(kind, about, bool(row.undamaged))


def rule_in_words(found: Examples) -> str:
    """How the texts that are shown were chosen."""
    by = (
        "what the judge read"
        if found.judged
        else "whether steering changed them, since no judge reads them"
    )
    return (
        f"Of the {found.n} {found.split} texts under the chosen condition: the first, the middle and "
        f"the last when undamaged ones come before damaged ones, then ordered by {by}, then by the "
        "fewest nats per token under the plain model. Undamaged: no metric is further from the plain "
        f"texts{', nats per token from those that are asked for,' if found.asked else ''} than three of "
        "their standard deviations."
    )

"""One layer against several at once: conditions that add at every layer, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.errors import NotFiniteError
from steerscope.judges.effects import Effect
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import NOT_FINITE, Run
from steerscope.statistics import Estimate
from steerscope.steering.control_vectors import ControlVector, at_once, several
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.steering.choice import sweet_spot
from steerscope.studies.steering.findings import Findings, stated_cells
from steerscope.studies.steering.phrases import amount
from steerscope.studies.steering.responses import responses
from steerscope.studies.steering.success import difference, estimate


def several_cells(
    directions: Sequence[Direction], doses: Sequence[Dose], scope: Scope
) -> list[Cell]:
    """All directions as one control vector with one coefficient, which shares out each dose.

    What one layer adds runs on through those above, so that each of n layers gets dose / n.
    """
    together, n = tuple(directions), len(directions)
    if n < 2:
        return []
    return [
        Cell((ControlVector(together, Dose(dose.value / n, dose.unit), scope=scope),))
        for dose in doses
        if dose.value
    ]


_NONE = Estimate(math.nan, math.nan, math.nan, 0)
_TOGETHER, _NOT_FINITE = "all layers at once", "whose logits are not finite"


@dataclass(frozen=True)
class LayersCompared:
    """The chosen layer and all layers at once, each at the dose that the select split chose.

    Attributes:
        n_layers: that are steered together.
        coefficient: natural units at each of them.
        one: effect at the chosen layer, on the split that is stated.
        together: effect at all layers, on the same prompts.
        gain: together minus one, paired by prompt.
        kl_one: nats per position at the chosen layer.
        kl_together: the same at all layers.
        is_broken: whether all layers at once break a limit, or a cost of theirs is unknown, where they
            were chosen.
        is_chosen_here: whether the effects are stated on the very items that chose.
        unknown: of what nothing is known, and why, in words; empty where all is.
    """

    layer: int
    dose_natural: float
    n_layers: int
    coefficient: float
    one: Estimate
    together: Estimate
    gain: Estimate
    kl_one: float
    kl_together: float
    is_broken: bool = False
    is_chosen_here: bool = False
    unknown: str = ""


def best_together(
    run: Run, effect: Effect, directions: Sequence[Direction], scope: Scope
) -> list[Cell]:
    """The condition of all layers at once that the select split chooses; none where all of them overflow."""
    try:
        chosen = sweet_spot(run.table(), effect, several(directions), groups=groups_of(run))
    except NotFiniteError:
        return []
    together = tuple(directions)
    return [Cell((ControlVector(together, Dose(chosen.dose_natural), scope=scope),))]


def compare_layers(run: Run, f: Findings) -> LayersCompared | None:
    """What steering at all layers at once is worth beside the chosen one; None if not measured."""
    table, method = run.table(), at_once(f.plan.method)
    if not (table.method == method).any():
        return None
    groups = groups_of(run)
    tested = stated_cells(table, f.effect, method)
    one = f.chosen
    steered = table[(table.method == f.plan.method) & (table.split == "select")]
    counts = (one.layer, one.dose_natural, int(steered.layer.nunique()))
    try:
        best = sweet_spot(table, f.effect, method, groups=groups, stated=tested)
    except NotFiniteError:
        unknown = f"{_TOGETHER}, {_NOT_FINITE}"
        return LayersCompared(
            *counts, math.nan, _NONE, _NONE, _NONE, math.nan, math.nan, unknown=unknown
        )
    split = "test" if f.stated is not None and _tested(table, method) else "select"
    effects = responses(table, f.effect, split)
    cells = [best.cell, one.cell]
    if not set(cells) <= set(effects.index):
        return None
    together, alone = (effects.loc[cell] for cell in cells)
    at = (groups, split, f.effect.metric)
    kl = table[table.split == split].groupby("cell").kl_nats.mean()
    return LayersCompared(
        *counts,
        coefficient=best.dose_natural,
        one=estimate(alone, *at, share=f.effect.is_share),
        together=estimate(together, *at, share=f.effect.is_share),
        gain=difference(together - alone, *at, share=f.effect.is_share),
        kl_one=float(kl[cells[1]]),
        kl_together=float(kl[cells[0]]),
        is_broken=best.broken,
        is_chosen_here=split == "select",
        unknown=_unknown(table[(table.split == split) & (table.metric == f.effect.metric)], cells),
    )


def _unknown(rows: pd.DataFrame, cells: Sequence[str]) -> str:
    """Of what nothing is known, all layers at once or the chosen one, and why; empty where both are."""
    for cell, what in zip(cells, (_TOGETHER, "the chosen layer"), strict=True):
        mine = rows[rows.cell == cell]
        if (mine.status == NOT_FINITE).any():
            return f"{what}, {_NOT_FINITE}"
        if mine.value.isna().all():
            return f"{what}, of which no text could be read"
    return ""


def _tested(table: pd.DataFrame, method: str) -> bool:
    return bool(((table.method == method) & (table.split == "test")).any())


def layers_compared_in_words(compared: LayersCompared, f: Findings) -> str:
    """One sentence: the layer, all layers, and what the difference is."""
    c = compared
    if c.unknown:
        return f"Several layers: nothing is known of {c.unknown}."
    more = amount(f.effect, c.gain, difference=True)
    but = "" if c.gain.low > 0 or c.gain.high < 0 else "; their difference may be none"
    but += "; together they break a limit, or what they cost is unknown" if c.is_broken else ""
    but += "; stated where both were chosen" if c.is_chosen_here else ""
    return (
        f"Several layers: {c.n_layers} at once with {c.coefficient:+.3g} natural each give "
        f"{amount(f.effect, c.together)} at KL {c.kl_together:.2f} nats, layer {c.layer} alone with "
        f"{c.dose_natural:+.3g} natural {amount(f.effect, c.one)} at KL {c.kl_one:.2f}; together "
        f"minus alone {more}{but}."
    )

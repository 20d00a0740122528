"""What a run found, as numbers; nothing here draws or runs a model. `wording.py` has the words."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from steerscope.errors import TooLittleDataError
from steerscope.judges.card import Card
from steerscope.judges.effects import IMPLAUSIBLE, JS_WRITTEN, KL_REVERSE, KL_WRITTEN, Effect
from steerscope.judges.registry import read_card
from steerscope.runs.distinct import Groups, groups_of
from steerscope.runs.results import Run
from steerscope.runs.seals import MANIFEST
from steerscope.statistics import BestCell, Estimate, MixedSlope
from steerscope.statistics.misclassification import corrected_difference, corrected_share
from steerscope.steering.prompting import METHODS
from steerscope.studies.steering.asking import Rival, find_rivals, without_asking
from steerscope.studies.steering.choice import SweetSpot, best_of_sweep, nothing_within, sweet_spot
from steerscope.studies.steering.diversity import Diversity, find_diversity
from steerscope.studies.steering.plan import (
    Plan,
    dose_unit,
    effect_of,
    is_race,
    plan_of,
    reference_dose,
    smallest_effect,
)
from steerscope.studies.steering.responses import (
    Predictor,
    conditions,
    dose_response,
    dose_slope,
    needed_doses,
    predict_layers,
    summarise,
)
from steerscope.studies.steering.search import tried_in
from steerscope.studies.steering.stated import Stated, needed_for, null_ranks
from steerscope.studies.steering.success import PLAIN, Costs, per_prompt, with_statuses
from steerscope.studies.steering.verdict import Cost, NullRank


@dataclass(frozen=True)
class Findings:
    """Everything that a report says about a run.

    Attributes:
        summary: one row per condition of the select split.
        needed: per layer, the smallest dose that reaches `level`.
        level: effect that `needed` asks for.
        stated: effect of the chosen condition on the test split; None without a test split.
        mirrored: effect of the opposite dose on the test split, towards the negative class.
        over_random: stated effect minus that of random directions of the same length.
        over_shuffled: the same for label-shuffled directions.
        curves: dose-response at the chosen layer.
        plain: effect of no steering, on the prompts of the chosen condition.
        corrected: effect of the sweep's best condition, corrected for the choice; None where the select
            split is too small or nothing within the limits is above plain, and after a race, whose last
            conditions all prompts have chosen.
        slope: effect per natural unit at the chosen layer, mean slope of the prompts; None where
            there is none, and `no_slope` says why.
        kl_written: KL on the tokens that were written, in nats; NaN where that was not measured.
        kl_reverse: KL(plain || steered) on the same; NaN likewise.
        js_written: their Jensen-Shannon divergence, at most log 2; NaN likewise.
        anti_steered: share of the items that steering moved the wrong way; None without a test split.
        gain: what the sentence is about, above plain on the test split: of a share, texts that are
            flipped and undamaged; None without a test split.
        joint: share of texts that are flipped and undamaged; None where texts are not read.
        needed_items: distinct items that would tell the effect from the smallest of interest.
        nulls: rank of the stated effect among nulls, each at a layer and dose of its own, by kind.
        over_other: stated effect minus that of another concept's direction; None without one.
        n_rows: prompts or pairs that the effect is stated on.
        distinct: whether the run says which of them are distinct.
        card: how well the judge tells texts apart that it has not seen; None for one without a card.
        corrected_effect: the stated share, corrected for the errors of the judge; None without a card,
            or for a judge that cannot tell.
            The gain is corrected likewise, for what could count by mistake as well.
        rivals: how asking in words does, the way that did best on the select split first; corrected
            as the gain is.
        diversity: of the samples of a prompt, where there are several.
        likely_as: the way of asking whose texts say how unlikely a text may be; None for the texts
            without steering.
        likely_nats: their nats per token under the plain model; NaN likewise.
        less_likely: the likelihood of the stated texts against theirs; empty likewise.
        could_count: how many more of the stated texts than of plain ones are read and undamaged; None where
            texts are not read.
        plain_joint: share of the plain texts on the same prompts that count; None where texts are not read.
        plain_could: share of them that could count, being read and undamaged; NaN likewise.
        n_distinct: distinct prompts or contrasts that the effect was asked of.
        n_read: items on which it is known.
        is_lost: whether logits of the chosen condition are not finite on the stated split.
        heads: eigengap per head; None without attention keys.
        predictor: how the weakest link ranks the layers.
    """

    plan: Plan
    effect: Effect
    summary: pd.DataFrame
    chosen: SweetSpot
    needed: pd.DataFrame
    level: float
    stated: Estimate | None
    mirrored: Estimate | None
    over_random: Estimate | None
    over_shuffled: Estimate | None
    kl: float
    costs: tuple[Cost, ...]
    curves: pd.DataFrame
    plain: float
    heads: pd.DataFrame | None
    predictor: Predictor | None
    corrected: BestCell | None
    slope: MixedSlope | None
    no_slope: str
    kl_written: float
    gain: Estimate | None
    joint: Estimate | None
    needed_items: int | None
    nulls: tuple[NullRank, ...]
    over_other: Estimate | None
    n_rows: int
    distinct: bool
    card: Card | None = None
    corrected_effect: Estimate | None = None
    rivals: tuple[Rival, ...] = ()
    diversity: tuple[Diversity, ...] = ()
    kl_reverse: float = math.nan
    likely_as: str | None = None
    likely_nats: float = math.nan
    less_likely: tuple[Cost, ...] = ()
    js_written: float = math.nan
    anti_steered: Estimate | None = None
    could_count: Estimate | None = None
    plain_joint: Estimate | None = None
    plain_could: float = math.nan
    n_distinct: int = 0
    n_read: int = 0
    is_lost: bool = False


_SAME = 1e-6  # natural units
_KEPT = 4  # findings; a page, its figures and its tables ask for the same ones
_found: dict[tuple[Plan, Effect, str], Findings] = {}


def find(run: Run) -> Findings:
    """Read the findings off the rows of a run; asked again of the same rows, it remembers.

    Raises:
        RunError: the run has no rows, or is of another kind.
    """
    table, plan, effect = with_statuses(run.table()), plan_of(run), effect_of(run)
    groups = groups_of(run)
    rows = pd.util.hash_pandas_object(table, index=False).to_numpy()
    labels = json.dumps(groups.labels, sort_keys=True)
    old = run.description.get("format_version", 1) == 1  # such a run had no manifest
    card, finished = read_card(run.path), old or (run.path / MANIFEST).is_file()
    rest = f"{card}{labels}{finished}".encode()
    key = (plan, effect, hashlib.sha256(rest + rows.tobytes()).hexdigest())
    if key not in _found:
        while len(_found) >= _KEPT:
            del _found[next(iter(_found))]
        _found[key] = _with_card(_find_in(table, plan, effect, groups, finished=finished), card)
    return _found[key]


def _find_in(
    table: pd.DataFrame, plan: Plan, effect: Effect, groups: Groups, *, finished: bool
) -> Findings:
    summary = without_asking(summarise(table, effect, "select", groups=groups))
    chosen = sweet_spot(
        table,
        effect,
        plan.method,
        groups=groups,
        # of a run that is not finished those may be stated first that were not chosen
        stated=stated_cells(table, effect, plan.method) if finished else [],
        summary=summary,
        tried=tried_in(plan, table),
    )
    tested = chosen.cell in set(table.cell[table.split == "test"])  # a run may be half done
    split = "test" if tested else "select"
    level = _level(table, effect, chosen)
    curves = dose_response(
        table,
        effect,
        split=split,
        layer=chosen.layer,
        methods=(plan.method, "random", "label_shuffled"),
        groups=groups,
    )
    cell = chosen.cell
    at = {"split": split, "layer": chosen.layer, "dose_natural": chosen.dose_natural}
    kl = table[(table.split == split) & (table.cell == cell)].kl_nats.mean()
    heads = _heads(table)
    stated = Stated(table, effect, split, groups)
    slope, no_slope = _slope(table, effect, plan.method, chosen.layer, split, groups)
    found = Findings(
        plan=plan,
        effect=effect,
        summary=summary,
        chosen=chosen,
        needed=needed_doses(
            summary,
            plan.method,
            level,
            plain=_plain_effect(table, effect, "select", chosen.cell),
        ),
        level=level,
        stated=stated.effect(cell) if tested else None,
        mirrored=_mirrored(stated, table, plan.method, at) if tested else None,
        over_random=stated.over(cell, _cells(table, "random", at)),
        over_shuffled=stated.over(cell, _cells(table, "label_shuffled", at)),
        kl=float(kl),
        costs=tuple(Costs(table, split, effect.held_to, groups).of(cell)),
        curves=curves,
        plain=_plain_effect(table, effect, split, cell),
        heads=heads,
        predictor=_weakest_link(heads, summary, plan),
        corrected=_corrected(table, effect, plan, summary, groups),
        slope=slope,
        no_slope=no_slope,
        kl_written=_mean_of(table, split, cell, KL_WRITTEN),
        gain=stated.gain(cell) if tested else None,
        could_count=stated.could_count_more(cell) if tested else None,
        joint=stated.joint(cell),
        needed_items=stated.needed(cell, smallest_effect(plan, effect)),
        nulls=null_ranks(table, effect, cell, groups) if tested else (),
        over_other=stated.over(cell, _cells(table, "other_concept", at)),
        n_rows=stated.n_rows(cell),
        distinct=groups.known,
    )
    return _with_rivals(found, stated, cell)


def _with_rivals(f: Findings, stated: Stated, cell: str) -> Findings:
    """The findings with how asking in words does, and what else is known of the texts themselves."""
    table, split, groups = stated.table, stated.split, stated.groups
    select = Stated(table, f.effect, "select", groups)
    return replace(
        f,
        rivals=() if f.stated is None else find_rivals(table, stated, select, cell),
        plain_joint=stated.plain_joint(cell),
        plain_could=stated.plain_could(cell),
        n_distinct=stated.n_distinct(cell),
        n_read=stated.n_read(cell),
        is_lost=stated.is_lost(cell),
        anti_steered=None if f.stated is None else stated.anti_steered(cell),
        diversity=find_diversity(table, split, cell, groups),
        likely_as=_asked_by(table, stated.costs.likely_as),
        likely_nats=_mean_of(table, split, stated.costs.likely_as, IMPLAUSIBLE.metric),
        less_likely=tuple(stated.costs.less_likely(cell)),
        kl_reverse=_mean_of(table, split, cell, KL_REVERSE),
        js_written=_mean_of(table, split, cell, JS_WRITTEN),
    )


def _with_card(f: Findings, card: Card | None) -> Findings:
    """The findings with what the judge gets wrong taken into account.

    What a judge says that cannot tell is left as it is: there is nothing that it could be corrected to.
    """
    if card is None or not card.tells:
        return replace(f, card=card)
    rates = (card.sensitivity, card.specificity)
    gain = None if f.gain is None else corrected_difference(f.gain, *rates, f.could_count)
    smallest, needed = smallest_effect(f.plan, f.effect), f.needed_items
    if f.gain is not None and gain is not None:
        own = (f.gain.high - f.gain.low) / 2 / (rates[0].value + rates[1].value - 1)
        needed = needed_for(gain, own, smallest)
    return replace(
        f,
        card=card,
        corrected_effect=None if f.stated is None else corrected_share(f.stated, *rates),
        gain=gain,
        plain_joint=None
        if f.plain_joint is None
        else corrected_share(f.plain_joint, *rates, f.plain_could),
        needed_items=needed,
        rivals=tuple(
            replace(r, ahead=corrected_difference(r.ahead, *rates, r.could_count)) for r in f.rivals
        ),
    )


def stated_cells(table: pd.DataFrame, effect: Effect, method: str) -> list[str]:
    """The conditions of a method that were asked of most held-out items; after a race the others are beside it."""
    here = (table.split == "test") & (table.method == method) & (table.dose_natural > 0)
    asked = table[here & (table.metric == effect.metric)].groupby("cell").size()
    return list(asked.index[asked == asked.max()])


def _asked_by(table: pd.DataFrame, cell: str) -> str | None:
    """The way of asking that a condition is; None for any other."""
    methods = table.method[table.cell == cell].unique()
    return next((str(m) for m in methods if m in METHODS), None)


def items_in_words(f: Findings) -> str:
    """What an interval of the effect counts."""
    if f.effect.is_share:
        return "distinct prompts" if f.distinct else "prompts"
    return "distinct contrasts" if f.distinct else "pairs"


def fewest_items(summary: pd.DataFrame) -> int:
    """Items of the condition that has the fewest, of those of which an effect is known; 0 for none."""
    known = summary.n[summary.effect.notna()]
    return int(known.min()) if len(known) else 0


def _level(table: pd.DataFrame, effect: Effect, chosen: SweetSpot) -> float:
    """The effect that a dose is asked for: half of the prompts flipped, or half of the way.

    A concept may be shown without steering, so that half of the way is from there to all texts; of
    log-odds it is half of what the chosen condition shifts.
    """
    if not effect.is_share:
        return chosen.effect.value / 2
    if not effect.is_shown:
        return 0.5
    plain = _plain_effect(table, effect, "select", chosen.cell)
    return 0.5 if math.isnan(plain) else (1 + plain) / 2


def _corrected(
    table: pd.DataFrame, effect: Effect, plan: Plan, summary: pd.DataFrame, groups: Groups
) -> BestCell | None:
    if is_race(plan) or nothing_within(summary, plan.method):
        return None
    try:
        return best_of_sweep(table, effect, plan.method, summary=summary, groups=groups)
    except TooLittleDataError:
        return None


def _slope(
    table: pd.DataFrame, effect: Effect, method: str, layer: int, split: str, groups: Groups
) -> tuple[MixedSlope | None, str]:
    """The slope, or why there is none."""
    try:
        slope = dose_slope(table, effect, split=split, layer=layer, method=method, groups=groups)
        return slope, ""
    except TooLittleDataError as error:
        return None, str(error)


def _cells(table: pd.DataFrame, method: str, at: dict[str, Any], sign: int = 1) -> list[str]:
    """The cells of a method at a layer and dose, one for each seed."""
    labels = conditions(table[table.split == at["split"]])
    here = (labels.method == method) & (labels.layer == at["layer"])
    dose = (labels.dose_natural - sign * at["dose_natural"]).abs() < _SAME
    return list(labels.index[here & dose])


def _mirrored(
    stated: Stated, table: pd.DataFrame, method: str, at: dict[str, Any]
) -> Estimate | None:
    cells = _cells(table, method, at, sign=-1)
    return stated.effect(cells[0]) if cells else None


def _mean_of(table: pd.DataFrame, split: str, cell: str, metric: str) -> float:
    rows = table[(table.split == split) & (table.cell == cell) & (table.metric == metric)]
    return float(rows.value.mean())


def _plain_effect(table: pd.DataFrame, effect: Effect, split: str, cell: str) -> float:
    if not effect.is_share:
        return 0.0
    values = per_prompt(table, effect.metric, split)
    return float(values.loc[PLAIN][values.loc[cell].notna()].mean())


def _heads(table: pd.DataFrame) -> pd.DataFrame | None:
    rows = table[table.method == "eigengap"]
    if rows.empty:
        return None
    heads = rows.pivot(index=["layer", "head"], columns="metric", values="value")
    return heads.reset_index()


def _weakest_link(
    heads: pd.DataFrame | None, summary: pd.DataFrame, plan: Plan
) -> Predictor | None:
    if heads is None:
        return None
    doses = summary[f"dose_{dose_unit(plan)}"]
    near = np.isclose(doses, reference_dose(plan, doses), rtol=1e-5)
    at = summary[(summary.method == plan.method) & near]
    gaps = heads.groupby("layer").eigengap.min()
    return predict_layers("weakest link", gaps.to_dict(), at.set_index("layer").effect.to_dict())

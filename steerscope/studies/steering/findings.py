"""What a run found, as numbers; nothing here draws or runs a model. `answers.py` has the words."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import pandas as pd

from steerscope.errors import TooLittleDataError
from steerscope.judges.effects import Effect
from steerscope.runs.results import Run
from steerscope.statistics import BestCell, Estimate, MixedSlope
from steerscope.studies.steering.plan import (
    StudyPlan,
    SweepPlan,
    effect_of,
    plan_of,
)
from steerscope.studies.steering.responses import (
    PLAIN,
    Predictor,
    SweetSpot,
    best_of_sweep,
    conditions,
    dose_response,
    dose_slope,
    metric_mean,
    needed_doses,
    over_control,
    per_prompt,
    predict_layers,
    summarise,
    sweet_spot,
    worsening,
)


@dataclass(frozen=True)
class Cost:
    """One metric under the plain and under the chosen condition, on the same prompts.

    Attributes:
        worse: mean of the paired differences, positive where steering made it worse.
        limit: how much worse it may get before the condition counts as broken.
    """

    metric: str
    words: str
    plain: Estimate
    steered: Estimate
    is_share: bool
    worse: Estimate
    limit: float

    @property
    def is_broken(self) -> bool:
        """Whether it got worse by more than the limit."""
        return self.worse.value > self.limit


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
            split is too small.
        slope: effect per natural unit at the chosen layer, mean slope of the prompts; None where
            there is none, and `no_slope` says why.
        heads: eigengap per head; None without attention keys.
        predictor: how the weakest link ranks the layers.
    """

    plan: StudyPlan | SweepPlan
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


_KEPT = 4  # findings; a page, its figures and its tables ask for the same ones
_found: dict[tuple[StudyPlan | SweepPlan, Effect, str], Findings] = {}


def find(run: Run) -> Findings:
    """Read the findings off the rows of a run; asked again of the same rows, it remembers.

    Raises:
        RunError: the run has no rows, or is of another kind.
    """
    table, plan, effect = run.table(), plan_of(run), effect_of(run)
    rows = pd.util.hash_pandas_object(table, index=False).to_numpy()
    key = (plan, effect, hashlib.sha256(rows.tobytes()).hexdigest())
    if key not in _found:
        while len(_found) >= _KEPT:
            del _found[next(iter(_found))]
        _found[key] = _find_in(table, plan, effect)
    return _found[key]


def _find_in(table: pd.DataFrame, plan: StudyPlan | SweepPlan, effect: Effect) -> Findings:
    summary = summarise(table, effect, "select")
    chosen = sweet_spot(table, effect, plan.method)
    split = "test" if (table.split == "test").any() else "select"
    tested = split == "test"
    level = 0.5 if effect.is_share else chosen.effect.value / 2
    curves = dose_response(
        table,
        effect,
        split=split,
        layer=chosen.layer,
        methods=(plan.method, "random", "label_shuffled"),
    )
    cell = _cell(table, plan.method, chosen.layer, chosen.dose_natural, split)
    at = {"split": split, "layer": chosen.layer, "dose_natural": chosen.dose_natural}
    kl = table[(table.split == split) & (table.cell == cell)].kl_nats.mean()
    heads = _heads(table)
    slope, no_slope = _slope(table, effect, plan.method, chosen.layer, split)
    return Findings(
        plan=plan,
        effect=effect,
        summary=summary,
        chosen=chosen,
        needed=needed_doses(
            summary,
            plan.method,
            level,
            plain=_plain_effect(table, effect, "select", _chosen_cell(table, plan.method, chosen)),
        ),
        level=level,
        stated=_at(curves, plan.method, chosen.dose_natural) if tested else None,
        mirrored=_at(curves, plan.method, -chosen.dose_natural) if tested else None,
        over_random=_over(table, effect, at, (plan.method, "random")),
        over_shuffled=_over(table, effect, at, (plan.method, "label_shuffled")),
        kl=float(kl),
        costs=_costs(table, effect, split, cell),
        curves=curves,
        plain=_plain_effect(table, effect, split, cell),
        heads=heads,
        predictor=_weakest_link(heads, summary, plan),
        corrected=_corrected(table, effect, plan.method),
        slope=slope,
        no_slope=no_slope,
    )


def _corrected(table: pd.DataFrame, effect: Effect, method: str) -> BestCell | None:
    try:
        return best_of_sweep(table, effect, method)
    except TooLittleDataError:
        return None


def _slope(
    table: pd.DataFrame, effect: Effect, method: str, layer: int, split: str
) -> tuple[MixedSlope | None, str]:
    """The slope, or why there is none."""
    try:
        return dose_slope(table, effect, split=split, layer=layer, method=method), ""
    except TooLittleDataError as error:
        return None, str(error)


def _chosen_cell(table: pd.DataFrame, method: str, chosen: SweetSpot) -> str:
    return _cell(table, method, chosen.layer, chosen.dose_natural, "select")


def _cell(table: pd.DataFrame, method: str, layer: int, dose: float, split: str) -> str:
    labels = conditions(table[table.split == split])
    found = labels[(labels.method == method) & (labels.layer == layer)]
    return str((found.dose_natural - dose).abs().idxmin())


def _at(curves: pd.DataFrame, method: str, dose: float) -> Estimate | None:
    rows = curves[(curves.method == method) & ((curves.dose_natural - dose).abs() < 1e-6)]
    if rows.empty:
        return None
    row = rows.iloc[0]
    return Estimate(float(row.effect), float(row.low), float(row.high), int(row.n))


def _over(
    table: pd.DataFrame, effect: Effect, at: dict, methods: tuple[str, str]
) -> Estimate | None:
    found = over_control(table, effect, methods=methods, **at)
    return None if math.isnan(found.value) else found


def _costs(table: pd.DataFrame, effect: Effect, split: str, cell: str) -> tuple[Cost, ...]:
    there = set(table[table.split == split].metric)
    return tuple(
        Cost(
            limit.metric,
            limit.words,
            metric_mean(table, limit.metric, split=split, cell=PLAIN, like=cell),
            metric_mean(table, limit.metric, split=split, cell=cell),
            is_share=limit.is_share,
            worse=worsening(table, limit, split, cell),
            limit=limit.worsening,
        )
        for limit in effect.limits
        if limit.metric in there
    )


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
    heads: pd.DataFrame | None, summary: pd.DataFrame, plan: StudyPlan | SweepPlan
) -> Predictor | None:
    if heads is None:
        return None
    dose = _reference_dose(summary, plan)
    at = summary[(summary.method == plan.method) & ((summary.dose_natural - dose).abs() < 1e-6)]
    gaps = heads.groupby("layer").eigengap.min()
    return predict_layers("weakest link", gaps.to_dict(), at.set_index("layer").effect.to_dict())


def _reference_dose(summary: pd.DataFrame, plan: StudyPlan | SweepPlan) -> float:
    """The dose at which layers are compared; for a sweep, the positive one nearest to 1 natural."""
    if isinstance(plan, StudyPlan):
        return plan.reference_dose
    doses = summary.dose_natural[summary.dose_natural > 0]
    return float(doses.loc[(doses - 1).abs().idxmin()])


def reference_dose(findings: Findings) -> float:
    """The dose, in natural units, at which the layers are compared."""
    return _reference_dose(findings.summary, findings.plan)

"""All ways to find a direction side by side, at every layer, at equal doses, against nulls.

Directions come from the fit split. The select split matches the doses and screens the layers, by the
preference on pairs. What is stated is measured on the test split at the layers so chosen: what the
continuations show where an oracle reads them, else the preference on pairs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from steerscope.engine.matched_kl import BOTH, KL, matched_doses
from steerscope.judges import Judge, choose_judge
from steerscope.judges.effects import Effect
from steerscope.judges.judges import signs_read
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.keeping import Keep, not_kept
from steerscope.statistics import distinct_difference
from steerscope.studies.methods.across import across_places
from steerscope.studies.methods.bench import CONDITION, TEXT, Bench, shift_table
from steerscope.studies.methods.bundles import Bundle, find_bundles
from steerscope.studies.methods.findings import (
    at_common_layer,
    best_layers,
    rank,
    rivals,
    standings,
    with_company,
)
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.texts.contrasts import ContrastSet, PromptSet

DOSES = ("dose_absolute", "dose_relative", "dose_natural")


_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was measured.

    Attributes:
        effect: what the responses count.
        screen: one row per direction and matching, on the select split.
        responses: one row per condition and held-out item; `effect` and what else was read, with
            `given` and `written` where a model wrote.
        plain: what it wrote without steering, one row per held-out prompt likewise; empty where
            nothing is written.
        ranking: one row per setting and method, with doses, KL on the test prompts and standing.
        pairs: one row per setting and pair of methods, with the cosine of their vectors, NaN where
            their layers differ.
        across: where places are compared, the method and place that the select split chooses against
            every other, as `across_places` gives it; else empty.
    """

    effect: Effect
    screen: pd.DataFrame
    responses: pd.DataFrame
    ranking: pd.DataFrame
    pairs: pd.DataFrame
    plain: pd.DataFrame = field(default_factory=pd.DataFrame)
    across: pd.DataFrame = field(default_factory=pd.DataFrame)


def compare_methods(
    model: LensModel,
    contrasts: ContrastSet,
    prompts: PromptSet,
    *,
    plan: ComparisonPlan | None = None,
    other: ContrastSet | None = None,
    judge: Judge | None = None,
    progress: Track = silent,
    keep: Keep = not_kept,
) -> Comparison:
    """Every method and control at every layer, at a matched KL and at a matched length.

    Args:
        model: the model.
        contrasts: the pairs.
        prompts: to be continued, with the facts that an oracle needs, if there are any.
        plan: how; default all methods.
        other: pairs of another concept, whose mean difference is then compared as well.
        judge: reads continuations; default the oracle where it can, else preference.
        progress: shows the loops.
        keep: keeps what was measured, part by part.

    Raises:
        UnsupportedSiteError: a layer that the model lacks.
        DegenerateDirectionError: a method finds no direction at a layer.
        BadValueError: the matched KL is out of reach for all null directions.
    """
    plan = plan or ComparisonPlan()
    judge = judge or usual_judge(contrasts, prompts, plan)
    bundles = find_bundles(model, contrasts.split(plan.seed).fit, other, plan, progress)
    return compare_bundles(
        model, bundles, (contrasts, prompts), plan, judge=judge, progress=progress, keep=keep
    )


def usual_judge(contrasts: ContrastSet, prompts: PromptSet, plan: ComparisonPlan) -> Judge:
    """The oracle where it can read the continuations, else preference."""
    asked = prompts.split(plan.seed)
    return choose_judge(contrasts, (*asked.select.prompts, *asked.test.prompts))


def compare_bundles(
    model: LensModel,
    bundles: Sequence[Bundle],
    texts: tuple[ContrastSet, PromptSet],
    plan: ComparisonPlan,
    *,
    judge: Judge,
    progress: Track = silent,
    keep: Keep = not_kept,
) -> Comparison:
    """`compare_methods` of what was found already, wherever it comes from.

    Args:
        model: the model.
        bundles: of methods, and of null directions at every place.
        texts: the contrast set and the prompts, whole.
        plan: how.
        judge: reads continuations, or tells a preference.
        progress: shows the loops.
        keep: keeps what was measured, part by part.

    Raises:
        BadValueError: the matched KL is out of reach for all null directions.
    """
    contrasts, prompts = texts
    pairs, asked = contrasts.split(plan.seed), prompts.split(plan.seed)
    screen = screen_layers(
        model,
        bundles,
        pairs.select,
        asked.select,
        plan,
        signs=signs_read(judge),
        progress=progress,
        keep=keep,
    )
    chosen = _chosen(screen, plan)
    bench = Bench(model, judge, bundles, chosen.drop_duplicates(CONDITION), plan, progress, keep)
    held_out = asked.test.prompts[: plan.n_test]
    measured = bench.read(held_out) if judge.effect.is_share else bench.prefer(pairs.test)
    groups = (asked.test if judge.effect.is_share else pairs.test).groups
    measured = measured.assign(group=measured["item"].map(dict(enumerate(groups))))
    responses = chosen[["place", "method", "seed", "layer", *CONDITION]].merge(
        measured, on=CONDITION
    )
    against = _with_cosines(rivals(responses, seed=plan.seed), chosen, bundles)
    conditions = keep(kept_as("labels", signs_read(judge)), lambda: bench.labelled(asked.test))
    ranking = rank(responses, seed=plan.seed).merge(
        _means(chosen[["place", *CONDITION]].merge(conditions, on=CONDITION), responses),
        on=["place", "matching", "method"],
        validate="one_to_one",
    )
    plain = (
        keep("read-plain", lambda: bench.read_plain(held_out)) if judge.effect.is_share else None
    )
    stated = standings(ranking, against)
    across = nothing = pd.DataFrame()
    if plan.sites:
        keys = ["place", "matching", "method", "seed"]
        screened = chosen[[*keys, "effect"]].rename(columns={"effect": "screened"})
        across = across_places(responses, screened, seed=plan.seed)
    return Comparison(
        judge.effect.undamaged,
        screen,
        responses,
        stated,
        against,
        nothing if plain is None else plain,
        across,
    )


def kept_as(name: str, signs: Sequence[int]) -> str:
    """How what was matched at some signs is called: what a run from before kept was matched at both."""
    return name if len(signs) == len(BOTH) else f"{name}-positive"


def _chosen(screen: pd.DataFrame, plan: ComparisonPlan) -> pd.DataFrame:
    """The layer of each direction, its own and a common one; a matching without methods or nulls is left out."""
    chosen = best_layers(screen)
    if not plan.sites:
        chosen = pd.concat([chosen, at_common_layer(screen)], ignore_index=True)
    reached, chosen = set(chosen.matching), with_company(chosen)
    for matching in sorted(reached - set(chosen.matching)):
        said = "KL" if matching == KL else "length"
        _log.warning("the matched %s is reached by methods or by nulls alone; it is left out", said)
    return chosen


def screen_layers(
    model: LensModel,
    bundles: Sequence[Bundle],
    pairs: ContrastSet,
    prompts: PromptSet,
    plan: ComparisonPlan,
    *,
    signs: Sequence[int] = BOTH,
    progress: Track = silent,
    keep: Keep = not_kept,
) -> pd.DataFrame:
    """The matched doses of every direction, and the shift of the preference that they make.

    A KL is that of the signs of the dose that are judged in texts. The effect is half the difference of the preference between +dose and -dose, in nats, so that
    what either sign does alike cancels.

    Returns:
        One row per bundle and matching: direction (its number in the sequence), matching, place, method,
        seed, layer, the dose in three units, kl_nats, effect, low, high, n. What does not reach the
        matched KL has NaN for dose and effect; what overflows at its dose has NaN for the effect.
    """
    asked = [p.text for p in prompts.prompts[: plan.n_kl_prompts]]
    table = keep(
        kept_as("doses", signs),
        lambda: matched_doses(
            model,
            [b.directions for b in bundles],
            asked,
            plan.matching,
            signs=signs,
            progress=progress,
        ),
    )
    table = table[table.matching.isin(plan.matchings)].reset_index(drop=True)
    reached = table.dropna(subset="dose_relative")
    asked_pairs = pairs.pairs[: plan.n_pairs]
    places = list(dict.fromkeys(b.place for b in bundles))
    where = [(places.index(bundles[i].place), bundles[i].layer) for i in reached.direction]
    by_layer = [
        keep(
            kept_as(f"screen-{layer}" if not plan.sites else f"screen-{place}-{layer}", signs),
            partial(shift_table, model, bundles, rows, asked_pairs, progress),
        ).set_axis(rows.index)
        for (place, layer), rows in reached.groupby(pd.MultiIndex.from_tuples(where).to_numpy())
    ]
    shifts = pd.concat(by_layer).loc[reached.index].to_numpy(float)
    groups = np.array(pairs.groups[: plan.n_pairs])
    estimates = [distinct_difference(shift, groups, seed=plan.seed) for shift in shifts]
    names = {"value": "effect", "low": "low", "high": "high", "n": "n"}
    for attribute, name in names.items():
        values = [getattr(e, attribute) for e in estimates]
        table[name] = pd.Series(values, index=reached.index)
    found = [bundles[i] for i in table.direction]
    for name in ("place", "method", "seed", "layer"):
        table[name] = [getattr(b, name) for b in found]
    for name, length in zip(DOSES, ("absolute", "relative", "natural"), strict=True):
        unit = np.array([b.scale.relative / b.scale.length(length) for b in found])
        table[name] = table.dose_relative * unit
    return table


def _with_cosines(
    pairs: pd.DataFrame, chosen: pd.DataFrame, bundles: Sequence[Bundle]
) -> pd.DataFrame:
    """The pairs with the cosine of the vectors that were compared."""
    columns = ["place", "matching", "method", "direction"]
    numbers = {tuple(keys): number for *keys, number in chosen[columns].itertuples(index=False)}
    cosines = []
    for pair in pairs.itertuples():
        one, other = (
            bundles[numbers[pair.place, pair.matching, method]]
            for method in (pair.better, pair.worse)
        )
        cosines.append(one.cosine(other))
    return pairs.assign(cosine=cosines)


def _means(conditions: pd.DataFrame, responses: pd.DataFrame) -> pd.DataFrame:
    """Labels and further readings of each setting and method, mean over seeds and items.

    The layer is -1 where the seeds of a null have chosen different ones.
    """
    keys = ["place", "matching", "method"]
    labels = conditions.groupby(keys)[[*DOSES, "kl_nats", "cosine_to_mean_diff"]].mean()
    layers = conditions.groupby(keys).layer.agg(["first", "nunique"])
    labels["layer"] = layers["first"].where(layers["nunique"] == 1, -1)
    known = {*keys, *CONDITION, *TEXT, "seed", "layer", "item", "group", "effect"}
    others = [c for c in responses if c not in known]
    return labels.join(responses.groupby(keys)[others].mean()).reset_index()

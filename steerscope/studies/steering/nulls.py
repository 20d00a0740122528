"""Null directions that go through the same door as the method: chosen like it, stated like it.

A null is one direction at every layer that allows its kind, drawn at random. Its layer and dose are
chosen on the select split by what a teacher-forced pass can see, and its effect is stated on the
prompts of the test split at that one condition, so that the method's effect has a rank among theirs.
Where the method's own layer and dose are raced for, the layer of a null is the one where its
first-order effect is largest, and a null that is clearly behind the method on the first 16 prompts, or on
twice as many and so on, is stated on those alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from steerscope.directions import Direction, find_direction
from steerscope.doses import Dose
from steerscope.errors import DegenerateDirectionError
from steerscope.extraction.activations import Contrast
from steerscope.judges.effects import Effect
from steerscope.runs.distinct import NO_GROUPS, Groups
from steerscope.sites import Site
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import dose_cells
from steerscope.studies.steering.responses import responses
from steerscope.studies.steering.stated import is_clear
from steerscope.texts.contrasts import ContrastSet, PromptSet

KINDS = {"random": "null_random", "covariance_matched_random": "null_covariance_matched"}
SCREEN, NULL = "screen", "null"  # splits of their own, on texts of select and test
_PAIRS, _PROMPTS = 16, 8  # that choose the layer and dose of a null
_PAIRS_OF_RACE, _PROMPTS_OF_RACE = 8, 4
_SEED = 500_000


@dataclass(frozen=True)
class NullCosts:
    """What the nulls add to a study, known before it starts.

    Attributes:
        nulls: directions of all kinds.
        screened: conditions that are measured on a few pairs and prompts, without writing.
        few: those pairs and prompts.
        stated: conditions that are measured on the test split.
    """

    nulls: int
    screened: int
    few: tuple[int, int]
    stated: int

    def __str__(self) -> str:
        pairs, prompts = self.few
        return (
            f"{self.nulls} null directions: {self.screened} conditions on {pairs} pairs and "
            f"{prompts} prompts without writing, {self.stated} on the test split"
        )


def null_costs(nulls: int, n_layers: int, n_doses: int, *, race: bool) -> NullCosts:
    """The conditions that so many nulls of each kind take."""
    n = nulls * len(KINDS)
    if race:
        return NullCosts(n, n * n_doses, (_PAIRS_OF_RACE, _PROMPTS_OF_RACE), n)
    return NullCosts(n, n * (n_layers + n_doses - 1), (_PAIRS, _PROMPTS), n)


def null_families(
    found: Mapping[Site, Contrast], nulls: int, seed: int
) -> list[dict[int, Direction]]:
    """So many nulls of each kind: for each a direction at every layer, with the lengths of the method's.

    A kind is left out at a layer where the activations do not allow it, such as where the texts of a
    class do not vary, and altogether where no layer allows it, as for want of pairs.
    """
    families = [
        _family(found, kind, _SEED + 1000 * seed + number)
        for kind in KINDS
        for number in range(nulls)
    ]
    return [family for family in families if family]


def _family(found: Mapping[Site, Contrast], kind: str, seed: int) -> dict[int, Direction]:
    """One null: a direction at every layer that allows its kind."""
    family = {}
    for site, contrast in found.items():
        with suppress(DegenerateDirectionError):
            direction = find_direction(kind, contrast, seed=seed)
            family[site.layer] = replace(direction, method=KINDS[kind])
    return family


def few_pairs(pairs: ContrastSet, *, race: bool) -> ContrastSet:
    """Pairs to choose a null on: as many distinct contrasts as there are, one after another."""
    return replace(pairs, pairs=tuple(pairs.pairs[i] for i in numbers_of_few(pairs, race=race)))


def numbers_of_few(pairs: ContrastSet, *, race: bool) -> tuple[int, ...]:
    """The numbers of the pairs that `few_pairs` takes."""
    return tuple(_spread(pairs.groups, _PAIRS_OF_RACE if race else _PAIRS))


def few_prompts(prompts: PromptSet, *, race: bool) -> PromptSet:
    """Prompts to measure the KL of a null on."""
    chosen = _spread(prompts.groups, _PROMPTS_OF_RACE if race else _PROMPTS)
    return replace(prompts, prompts=tuple(prompts.prompts[i] for i in chosen))


def _spread(groups: Sequence[int], most: int) -> list[int]:
    """The first item of every group, then the second of every group, up to so many items."""
    seen: dict[int, int] = {}
    turns = []
    for item, group in enumerate(groups):
        turns.append((seen.setdefault(group, 0), item))
        seen[group] += 1
    return sorted(item for _, item in sorted(turns)[:most])


def layer_cells(
    families: Sequence[Mapping[int, Direction]], reference: float, scope: Scope
) -> list[Cell]:
    """Every null at every layer at the reference dose."""
    everything = [d for family in families for d in family.values()]
    return dose_cells(everything, [Dose(reference)], scope)


def best_layers(
    families: Sequence[Mapping[int, Direction]], table: pd.DataFrame
) -> list[Direction]:
    """Of every null the direction at the layer where it did best at the reference dose."""
    shifts = screened(table)
    found = []
    for family in families:
        mine = _of(shifts, next(iter(family.values())))
        found.append(family[int(mine.loc[mine["shift"].idxmax()].layer)])
    return found


def first_order_layers(
    families: Sequence[Mapping[int, Direction]],
    gradients: Mapping[Site, Float[Tensor, "pair d"]],
) -> list[Direction]:
    """Of every null the direction at the layer where one natural unit does most to first order.

    Args:
        families: the nulls, each with a direction at every layer.
        gradients: of the preference, as `preference_gradients` gives them.
    """
    mean = {site.layer: gradient.mean(dim=0) for site, gradient in gradients.items()}

    def effect(direction: Direction) -> float:
        unit = direction.unit.to(mean[direction.site.layer])
        return float(mean[direction.site.layer] @ unit) * direction.scale.natural

    return [max(family.values(), key=effect) for family in families]


def still_near(
    table: pd.DataFrame,
    effect: Effect,
    cell: str,
    nulls: Sequence[Cell],
    groups: Groups = NO_GROUPS,
) -> list[Cell]:
    """The nulls that are not clearly behind a condition on the prompts that both have so far.

    What could not be read is no effect, as in the rank.
    """
    mine = responses(table, effect, "test").loc[cell]
    theirs = responses(table, effect, NULL)
    asked = table[(table.split == NULL) & (table.metric == effect.metric)]
    found = []
    for null in nulls:
        items = asked.prompt[asked.cell == null.key].unique()
        ahead = mine.reindex(items).fillna(0.0) - theirs.loc[null.key].reindex(items).fillna(0.0)
        if not is_clear(ahead, groups.of("test", effect.metric, list(ahead.index))):
            found.append(null)
    return found


def best_cells(
    families: Sequence[Mapping[int, Direction]],
    table: pd.DataFrame,
    kl: float,
    scope: Scope,
    dose: float = math.inf,
) -> list[Cell]:
    """The condition of every null with the largest shift among those with at most so much KL and natural dose.

    Where all have more KL, the one with the least; where none has logits that are numbers, the first,
    which is lost when it is stated.
    """
    shifts = screened(table)
    found = []
    for family in families:
        mine = _of(shifts, next(iter(family.values())))
        within = mine[(mine.kl_nats <= kl) & (mine.dose_natural <= dose)]
        least = mine.kl_nats.fillna(math.inf).idxmin()
        row = mine.loc[within["shift"].idxmax() if len(within) else least]
        found += dose_cells([family[int(row.layer)]], [Dose(float(row.dose_natural))], scope)
    return found


def screened(table: pd.DataFrame) -> pd.DataFrame:
    """Each condition of the screen: method, seed, layer, dose, mean shift of the preference, KL."""
    rows = table[(table.split == SCREEN) & (table.metric == "preference")]
    plain = rows[rows.cell == "plain"].set_index("prompt").value
    steered = rows[rows.cell != "plain"]
    steered = steered.assign(shift=steered.value - steered.prompt.map(plain))
    labels = ["method", "seed", "layer", "dose_natural"]
    found = steered.groupby(["cell", *labels], as_index=False)[["shift", "kl_nats"]].mean()
    found["shift"] = found["shift"].fillna(-np.inf)
    found["dose_natural"] = found.dose_natural.round(6)
    return found


def _of(shifts: pd.DataFrame, direction: Direction) -> pd.DataFrame:
    seed = direction.provenance.seed
    return shifts[(shifts.method == direction.method) & (shifts.seed == seed)]


def most_kl(summary: pd.DataFrame, method: str) -> float:
    """The largest KL among the conditions of a method that break no limit; of all, if all do."""
    kl = float(_whole(summary, method).kl_nats.max())
    return kl if not math.isnan(kl) else math.inf


def most_dose(summary: pd.DataFrame, method: str) -> float:
    """The largest natural dose among the same, where their KL is 0 and limits nothing; else infinite.

    It is 0 at any dose where no position of a prompt is in scope.
    """
    mine = _whole(summary, method)
    if float(mine.kl_nats.max()) != 0.0:
        return math.inf
    return float(mine.dose_natural.max()) * (1 + 1e-6)  # doses are kept in six digits


def _whole(summary: pd.DataFrame, method: str) -> pd.DataFrame:
    mine = summary[(summary.method == method) & (summary.dose_natural > 0)]
    whole = mine[~mine.broken]
    return whole if len(whole) else mine

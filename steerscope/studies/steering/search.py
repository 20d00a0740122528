"""Which layer and dose: the whole grid, or a race in which the best go on to more prompts.

In a race every layer starts with every other dose on a few prompts. The better half of the layers
goes on with its best dose and the neighbours of that, on twice as many prompts, until the last ones
have been measured on all of them. The choice is made among those alone, and its p is that of the
held-out prompts, which chose nothing. What is stated, and the nulls, save the same way: a
condition that is only beside the chosen one is measured on the first prompts alone, and a null until it
is clearly behind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from steerscope.directions import Direction
from steerscope.doses import Dose
from steerscope.judges.effects import PREFERENCE, Effect
from steerscope.runs.distinct import Groups, groups_of
from steerscope.runs.results import Run
from steerscope.steering.interventions import Cell
from steerscope.steering.scopes import Scope
from steerscope.studies.bench import dose_cells
from steerscope.studies.steering.plan import AUTO, GRID, RACE, Plan, StudyPlan, is_race
from steerscope.studies.steering.stated import Stated
from steerscope.studies.steering.success import per_prompt

LARGE = 1e13  # operations to write the texts of the grid, above which `auto` is a race
_FIRST = 6  # prompts of the first round
BESIDE = 16  # held-out prompts of a condition that is not the chosen one, and that a null starts on
_LAST = 2  # layers of the last round, where there are prompts for so many rounds
Condition = tuple[int, float]  # layer and dose
Score = tuple[float, ...]  # the first counts, the others where that is the same


@dataclass(frozen=True)
class Round:
    """One round of a race.

    Attributes:
        layers: that take part.
        doses: of each layer, at most.
        prompts: that each condition has been measured on at its end.
    """

    layers: int
    doses: int
    prompts: int


def rounds_of(n_layers: int, n_doses: int, n_prompts: int) -> tuple[Round, ...]:
    """The rounds of a race: half of the layers each time, on twice as many prompts.

    Source: successive halving, Karnin, Koren & Somekh 2013.
    """
    rounds = [Round(n_layers, math.ceil(n_doses / 2), min(_FIRST, n_prompts))]
    while rounds[-1].prompts < n_prompts:
        before = rounds[-1]
        layers = max(min(_LAST, n_layers), math.ceil(before.layers / 2))
        rounds.append(Round(layers, min(3, n_doses), min(2 * before.prompts, n_prompts)))
    return tuple(rounds)


def texts_of_race(rounds: Sequence[Round], *, steady: bool = False) -> int:
    """Texts that a race writes at most, a prompt of a condition being continued once.

    Args:
        rounds: as `rounds_of` gives them.
        steady: of one in which every layer keeps its best dose after the first round, so that the doses
            beside it have their first prompts already; it may write fewer at the ends of the ladder.
    """
    total, before = 0, Round(0, 0, 0)
    for number, now in enumerate(rounds):
        # Doses of a layer that have their first prompts: the best, and later one that was beside it at least.
        known = 1 if number < 2 else now.doses if steady else min(2, now.doses)
        again = min(now.layers, before.layers) * known
        total += now.layers * now.doses * now.prompts - again * before.prompts
        before = now
    return total


def conditions_of_race(rounds: Sequence[Round]) -> int:
    """Conditions that a race measures where layers keep their best dose, inside the ladder: its neighbours are new."""
    beside = rounds[1].layers * (rounds[1].doses - 1) if len(rounds) > 1 else 0
    return rounds[0].layers * rounds[0].doses + beside


def resolved(search: str, n_texts: int, n_new: int, n_parameters: int) -> str:
    """The search that `auto` stands for: the grid, unless its texts take more than 10^13 operations.

    A token takes two operations a parameter, so that this is minutes of a processor.

    Args:
        search: `grid`, `adaptive` or `auto`.
        n_texts: that the grid writes.
        n_new: tokens of each.
        n_parameters: of the model.
    """
    large = 2.0 * n_parameters * n_new * n_texts > LARGE
    return search if search != AUTO else RACE if large else GRID


def coarse(doses: Sequence[float], reference: float) -> tuple[float, ...]:
    """Every other dose of a ladder, one of which is the reference, so that layers can be compared."""
    ladder = sorted(doses)
    return tuple(ladder[ladder.index(reference) % 2 :: 2])


def neighbours(dose: float, doses: Sequence[float]) -> tuple[float, ...]:
    """A dose with the next smaller and the next larger one of a ladder."""
    ladder = sorted(doses)
    place = ladder.index(dose)
    return tuple(ladder[max(0, place - 1) : place + 2])


def race(
    layers: Sequence[int],
    doses: Sequence[float],
    reference: float,
    rounds: Sequence[Round],
    measure: Callable[[list[Condition], int], None],
    scores: Callable[[int], Mapping[Condition, Score]],
) -> list[Condition]:
    """The conditions that are measured on all prompts, after the others have fallen behind.

    Args:
        layers: all that start.
        doses: the ladder, in natural units.
        reference: a dose at which every layer is measured.
        rounds: as `rounds_of` gives them.
        measure: measures conditions on the first so many prompts; what is there stays.
        scores: of each condition on its first so many prompts, the higher the better; NaN is worst. On few
            many are the same, and which of them goes on should not depend on its number.
    """
    alive = {layer: coarse(doses, reference) for layer in layers}
    for number, now in enumerate(rounds):
        running = [(layer, dose) for layer in sorted(alive) for dose in alive[layer]]
        measure(running, now.prompts)
        if number + 1 == len(rounds):
            return running
        found = scores(now.prompts)
        known = {at: tuple(map(_known, found.get(at, (math.nan,)))) for at in running}
        best = {layer: max((known[layer, dose], -dose) for dose in alive[layer]) for layer in alive}
        order = sorted(best, key=lambda layer: (best[layer][0], -layer), reverse=True)
        ahead = order[: rounds[number + 1].layers]
        alive = {layer: neighbours(-best[layer][1], doses) for layer in ahead}
    return []


def looks_of(n_prompts: int) -> Iterator[int]:
    """After how many prompts it is looked which nulls are clearly behind: 16, and twice as many each time."""
    first = BESIDE
    while first < n_prompts:
        yield first
        first *= 2


def run_race(
    plan: StudyPlan,
    directions: Mapping[int, Direction],
    rounds: Sequence[Round],
    into: tuple[Run, Effect],
    measure: Callable[[Sequence[Cell], int], None],
) -> None:
    """Race the layers and doses of a plan by their success on the select split.

    Success is the share of texts that show the effect and are undamaged, or the shift from plain. Where that
    is the same, the share of all that show it tells, then how much more likely the positive text of a pair is,
    where pairs were compared. A round looks at its own prompts alone, so that a race that was ended goes on as
    it was begun.
    """
    run, effect = into
    scope = Scope.parse(plan.scope)
    cells = {
        (layer, dose): dose_cells([direction], [Dose(dose)], scope)[0]
        for layer, direction in directions.items()
        for dose in plan.doses
    }

    def scores(first: int) -> dict[Condition, Score]:
        found = scores_of_round(run.table(), effect, first * plan.samples, groups_of(run))
        return {at: found[cell.key] for at, cell in cells.items() if cell.key in found}

    race(
        sorted(directions),
        plan.doses,
        plan.reference_dose,
        rounds,
        lambda running, first: measure([cells[at] for at in running], first),
        scores,
    )


def scores_of_round(
    table: pd.DataFrame, effect: Effect, n_texts: int, groups: Groups
) -> dict[str, Score]:
    """By condition what its first so many texts of the select split count for; none where they overflow.

    The share that shows the effect and is undamaged, the share that shows it, and the mean log-odds of the
    pairs, NaN where none were compared; of log-odds, all pairs.
    """
    stated = Stated(table, effect, "select", groups)
    asked = stated.success.notna()
    if effect.is_share:
        asked &= asked.cumsum(axis=1) <= n_texts
    told = (
        stated.success.where(asked),
        stated.values.fillna(0.0).where(asked),  # what could not be read does not show it
        per_prompt(table, PREFERENCE.metric, "select"),
    )
    means = pd.concat([values.mean(axis=1) for values in told], axis=1).reindex(stated.values.index)
    lost = [cell for cell, items in stated.lost.items() if asked.loc[cell, items].any()]
    return {str(cell): tuple(map(float, row)) for cell, row in means.drop(index=lost).iterrows()}


def tried_in(plan: Plan, table: pd.DataFrame) -> int | None:
    """The conditions that could have won a race; None for a grid."""
    if not isinstance(plan, StudyPlan) or not is_race(plan):
        return None
    mine = table[(table.split == "select") & (table.method == plan.method)]
    return int(mine.layer.nunique()) * len(plan.doses)


def _known(score: float) -> float:
    return -math.inf if math.isnan(score) else score

"""Kinds of runs that have tables and no page: each table and figure a pure function of the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from steerscope import figures
from steerscope.figures.files import Plate
from steerscope.judges.effects import UNDAMAGED
from steerscope.runs.results import Run
from steerscope.runs.tables import Column, Table, is_p
from steerscope.studies.benchmarks.findings import benchmark_items, benchmark_table, interference
from steerscope.studies.budgets.findings import budget_table
from steerscope.studies.carrying.findings import cosines_of_run, maps_of_run, vectors_of_run
from steerscope.studies.dilemmas.findings import answered_table, target_against, value_table
from steerscope.studies.features.stored import overflowed_at, steering_table
from steerscope.studies.lenses.findings import lens_table
from steerscope.studies.premise.findings import gap_summary, head_fits, parts_of, premise_summary
from steerscope.studies.routing.findings import arms_table, vectors_table
from steerscope.studies.steering.plan import effect_of

LENS_DOTS, FEATURES_PARETO = "lenses", "features_pareto"
Frames = Mapping[str, Callable[[Run], pd.DataFrame]]

BENCHMARKS: Frames = {
    "answers": lambda run: benchmark_table(benchmark_items(run)),
    "interference": lambda run: interference(benchmark_items(run), run.configuration["contexts"]),
}
DILEMMAS: Frames = {
    "values": value_table,
    "answered": answered_table,
    "compared": lambda run: target_against(run, run.configuration["techniques"][0]),
}
PREMISE: Frames = {
    "heads": lambda run: head_fits(parts_of(run.table()), seed=_seed(run)),
    "summary": lambda run: premise_summary(parts_of(run.table()), seed=_seed(run)),
    "gaps": lambda run: gap_summary(run.table(), seed=_seed(run)),
}
BUDGETS: Frames = {"budgets": budget_table}
LENSES: Frames = {"lenses": lens_table}
CARRIED: Frames = {
    "maps": maps_of_run,
    "cosines": cosines_of_run,
    "ranking": lambda run: vectors_of_run(run)["ranking"],
    "rivals": lambda run: vectors_of_run(run)["rivals"],
}
ROUTES: Frames = {"arms": arms_table, "vectors": vectors_table}
FEATURES: Frames = {"steering": steering_table}
FRAMES = {
    "BenchmarkPlan": BENCHMARKS,
    "DilemmaPlan": DILEMMAS,
    "PremisePlan": PREMISE,
    "BudgetPlan": BUDGETS,
    "LensPlan": LENSES,
    "RoutePlan": ROUTES,
    "CarryPlan": CARRIED,
    "FeaturePlan": FEATURES,
}


def frames_as_tables(run: Run) -> list[Table]:
    """Every table of a run of one of these kinds, all columns as they are."""
    found = {name: make(run) for name, make in FRAMES[run.configuration["kind"]].items()}
    return [_table(name, frame) for name, frame in found.items() if len(frame)]


def frames_as_plates(run: Run) -> list[Plate]:
    """Every figure of a run of one of these kinds."""
    draw = _PLATES.get(run.configuration["kind"])
    return [] if draw is None else [draw(run)]


def _lens_dots(run: Run) -> Plate:
    said = "Change from plain text of the same prompts with its 95 % interval, beside what a second plain sample does."
    return Plate(LENS_DOTS, figures.lens_dots(lens_table(run)), said)


def _features_pareto(run: Run) -> Plate:
    """What every way to steer gains, against what stays whole."""
    table, effect, c = steering_table(run), effect_of(run), run.configuration
    cost = next(metric for metric in _KEPT if metric in set(table.metric))
    words = (effect.words, _KEPT[cost])
    lost = {(kl, method) for kl in table.kl.unique() for method in overflowed_at(run, float(kl))}
    known = [key not in lost for key in zip(table.kl, table.method, strict=True)]
    drawn = figures.steering_pareto(table[known], effect=effect.metric, cost=cost, words=words)
    said = (
        f"Steering at {c['site']} by {c['k']} of {c['n_features']} features, by the mean difference and by "
        f"{c['n_nulls']} null directions of either kind, each at the dose that gives the KL on other prompts; what "
        "does not reach it is left out."
    )
    if lost:
        said += " So is what overflows there, if under one sign alone, since the other is half of its prompts."
    return Plate(FEATURES_PARETO, drawn, said)


_KEPT = {
    UNDAMAGED: "continuations within the spread of plain ones",
    "kept_topic": "continuations that keep the topic",
    "kept_mood": "continuations that keep the mood",  # of a topic
    "grammatical": "sentences that are grammatical",
}  # what should stay, by the first metric that the judge has
_PLATES: Mapping[str, Callable[[Run], Plate]] = {
    "LensPlan": _lens_dots,
    "FeaturePlan": _features_pareto,
}


def of_all_runs(
    made: Frames, runs: Sequence[Run], *, first: bool = False
) -> dict[str, pd.DataFrame]:
    """Each table of several runs in one, the name of the run in its last column, or in its first."""

    def with_name(make: Callable[[Run], pd.DataFrame], run: Run) -> pd.DataFrame:
        frame = make(run)
        frame.insert(0 if first else frame.shape[1], "run", run.path.name)
        return frame

    return {
        name: pd.concat([with_name(make, run) for run in runs], ignore_index=True)
        for name, make in made.items()
    }


_INTERVALS = "Intervals are 95 %."


def _table(name: str, frame: pd.DataFrame) -> Table:
    columns = (_column(c, is_float=pd.api.types.is_float_dtype(frame[c])) for c in frame.columns)
    return Table(
        name, frame, tuple(columns), _INTERVALS if {"low", "high"} <= set(frame.columns) else ""
    )


def _column(name: str, *, is_float: bool) -> Column:
    """A column as it is: a number has three digits, and a p those that count."""
    title = name.replace("_", " ")
    return Column(name, title, 3 if is_float else None, is_p=is_float and is_p(name))


def _seed(run: Run) -> int:
    return int(run.configuration["seed"])

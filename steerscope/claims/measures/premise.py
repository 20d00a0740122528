"""Numbers that decide claims about the premise of the eigengap; runs of `premise` and of `predictors`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from steerscope.claims.measures.measure import (
    Measured,
    measure,
    of_draws,
)
from steerscope.errors import BadValueError, RunError
from steerscope.experiments.jobs.predictors import layers_of_rows, without_layers
from steerscope.runs.results import Run
from steerscope.statistics import distinct_mean
from steerscope.studies.predictors.thresholds import judge_threshold
from steerscope.studies.premise.findings import known_gaps, parts_of, summary_draws


@measure
def ridge_r2(runs: Sequence[Run], *, kernel: str) -> Measured:
    """R² of kernel ridge regression at the median of the heads that are known, mean over models.

    The interval is over prompts that are drawn again, spread as for few.
    """
    found = [
        summary_draws(parts_of(run.table()), kernel, seed=run.configuration["seed"]) for run in runs
    ]
    known = [fit for fit in found if fit.n_lost < fit.n_heads]
    drawn = np.mean([fit.draws for fit in known or found], axis=0)
    value = float(np.mean([fit.value for fit in known or found]))
    n = sum(fit.n_prompts for fit in known)
    unknown = tuple(
        run.path.name
        if fit.n_lost == fit.n_heads
        else f"{fit.n_lost} of {fit.n_heads} heads of {run.path.name}"
        for run, fit in zip(runs, found, strict=True)
        if fit.n_lost
    )
    return replace(of_draws(value, drawn, n, "R²", "prompts"), unknown=unknown)


@measure
def mean_gap_of_attention(runs: Sequence[Run], *, gap: str) -> Measured:
    """Mean over heads of a gap of the attention probabilities or keys, over prompts.

    A prompt that several models read is one item, with their mean gap.

    Raises:
        BadValueError: runs of several seeds read one set of prompts, so that it is not known which they share.
        RunError: a run has no such gap.
    """
    found_of = [_gap_of_prompts(run, gap) for run in runs]
    by_prompt = pd.concat([items for items, _ in found_of], keys=_prompt_sets(runs)).dropna()
    values = by_prompt.groupby(level=[0, 1]).mean().to_numpy(float)
    unknown = [name for _, name in found_of if name]
    found = distinct_mean(values, np.arange(len(values)))
    return Measured(
        found.value, found.low, found.high, math.nan, found.n, "gap", "prompts",
        values=tuple(map(float, values)), unknown=tuple(unknown),
    )  # fmt: skip


def _gap_of_prompts(run: Run, gap: str) -> tuple[pd.Series, str]:
    """The mean gap of the heads that are known, by prompt; and the run, with how many heads are not."""
    table = run.table()
    mine = table[table.metric == gap]
    if mine.empty:
        raise RunError(f"{run.path} has no {gap}.")
    known, n_lost = known_gaps(mine)
    n_heads = len(mine.drop_duplicates(["layer", "head"]))
    part = "" if n_lost == n_heads else f"{n_lost} of {n_heads} heads of "
    return known.groupby("prompt").value.mean(), f"{part}{run.path.name}" if n_lost else ""


def _prompt_sets(runs: Sequence[Run]) -> list[str]:
    """Which prompts each run read; a template of the chat of its model makes no others of them."""
    asked = [
        f"{run.configuration.get('prompts')} of {run.configuration.get('contrasts')}"
        for run in runs
    ]
    seeds = [run.configuration.get("seed") for run in runs]
    if len(set(zip(asked, seeds, strict=True))) > len(set(asked)):
        raise BadValueError(
            "runs of several seeds read parts of one set of prompts, which may overlap; give runs of one seed."
        )
    return asked


@measure
def threshold_auc(runs: Sequence[Run], *, diagnostic: str, outcome: str, share: float) -> Measured:
    """How well small values of a diagnostic mark layers that reach a share of the best: AUC minus 1/2."""
    found = judge_threshold(
        layers_of_rows(runs), diagnostic=diagnostic, outcome=outcome, share=share
    )
    edges = (found.auc - 0.5, found.low - 0.5, found.high - 0.5)
    unknown = without_layers(runs, (diagnostic, outcome))
    return Measured(*edges, found.p, found.n, "AUC over chance", "layers", unknown=unknown)

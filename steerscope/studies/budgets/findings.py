"""From the rows of a trial to what each budget does, paired by prompt."""

from __future__ import annotations

import pandas as pd

from steerscope.runs.distinct import NO_GROUPS, Groups, groups_of
from steerscope.runs.results import Run
from steerscope.statistics import Estimate, holm, sign_flip_p

CUT, ASKED = "cut off", "asked to end"


def budget_table(run: Run) -> pd.DataFrame:
    """What each budget does against cutting the plain text off at it; see `budget_effects`.

    Raises:
        RunError: the run has no rows.
    """
    return budget_effects(run.table(), seed=int(run.configuration["seed"]), groups=groups_of(run))


def budget_effects(
    rows: pd.DataFrame, *, seed: int = 0, groups: Groups = NO_GROUPS
) -> pd.DataFrame:
    """Texts under a budget, beside the plain texts cut off at it, paired by prompt.

    Args:
        rows: of a run of budgets.
        seed: of resamples.
        groups: what of the prompts is distinct.

    Returns:
        One row per budget: budget, ended_cut and ended (shares of prompts with a text that is not empty and
        ends before it, cut off and under the budget) with the difference `gain`, low, high, p (sign flips), p_holm; forced (share that the
        budget itself ended, which is as good as cut off), empty (share of which nothing was written), tokens (mean length under the budget), nats_cut
        and nats (per token of the text and of its end if it has one, under the plain model) with the
        difference `cost`, cost_low, cost_high, over prompts with a token under both; n (distinct prompts).
    """
    found = []
    for budget, mine in rows.groupby("dose_absolute", sort=True):
        wide = mine.pivot(index="prompt", columns=["metric", "method"], values="value")
        found.append({"budget": int(budget), **_effect(wide, seed, groups)})
    table = pd.DataFrame(found)
    return table.assign(p_holm=holm(table.p.to_numpy(float)))


def _effect(wide: pd.DataFrame, seed: int, groups: Groups) -> dict[str, float]:
    """What a budget does, from one row a prompt and one column a metric and arm."""
    ended, nats = (wide[metric][ASKED] - wide[metric][CUT] for metric in ("ended", "nats"))
    gain = groups.difference(ended, "test", "ended", share=True, seed=seed)
    cost = groups.difference(nats, "test", "nats", seed=seed)
    return {
        "ended_cut": wide["ended"][CUT].mean(),
        "ended": wide["ended"][ASKED].mean(),
        **_named(gain, "gain", "low", "high"),
        "p": sign_flip_p(groups.distinct(ended, "test", "ended"), seed=seed),
        "forced": wide["forced"][ASKED].mean(),
        "empty": wide["empty"][ASKED].mean(),
        "tokens": wide["tokens"][ASKED].mean(),
        "nats_cut": wide["nats"][CUT].mean(),  # of those that are known
        "nats": wide["nats"][ASKED].mean(),
        **_named(cost, "cost", "cost_low", "cost_high"),
        "n": gain.n,
    }


def _named(found: Estimate, *names: str) -> dict[str, float]:
    return dict(zip(names, (found.value, found.low, found.high), strict=True))

"""How far the judge of a run agrees with the oracle, where both can read."""

from __future__ import annotations

import numpy as np

from steerscope.errors import SteerscopeError
from steerscope.judges import MicroworldJudge
from steerscope.judges.scoring import SHOWN
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run
from steerscope.statistics import Estimate
from steerscope.statistics.agreement import cohens_kappa
from steerscope.studies.steering.plan import effect_of, plan_of
from steerscope.texts.contrasts import load_contrasts

_KEY = ["split", "cell", "prompt"]


def oracle_agreement(run: Run) -> Estimate | None:
    """Cohen's kappa of a judge that gives scores with the oracle, over the stored texts.

    Texts in which either reads nothing do not count; those of one distinct prompt are drawn together, and n counts these. None for another judge, or where the oracle
    cannot read the contrast set.
    """
    if effect_of(run).metric != SHOWN:
        return None
    try:
        oracle = MicroworldJudge.for_contrasts(load_contrasts(plan_of(run).contrasts), ())
    except SteerscopeError:
        return None
    texts = run.texts()
    if oracle is None or texts.empty:
        return None
    table = run.table()
    shown = table[table.metric == SHOWN][[*_KEY, "value"]]
    both = texts.merge(shown, on=_KEY)
    truth = [oracle.side(text) for text in both.written]
    groups = groups_of(run)
    distinct = [
        f"{split} {groups.of(split, SHOWN, [prompt])[0]}"
        for split, prompt in zip(both.split, both.prompt, strict=True)
    ]
    return cohens_kappa(
        both.value.to_numpy(float), np.array(truth, dtype=float), np.array(distinct)
    )

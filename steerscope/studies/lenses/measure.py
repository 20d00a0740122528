"""Texts of a model with and without steering, seen through lenses."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pandas as pd

from steerscope.engine.generation import generate
from steerscope.engine.sampling import sampler_at
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.steering.interventions import Cell
from steerscope.studies.lenses.findings import drift_of_lenses
from steerscope.studies.lenses.plan import LensPlan
from steerscope.studies.lenses.vocabularies import Lens


def measure_drift(
    model: LensModel,
    lenses: Sequence[Lens],
    prompts: Sequence[str],
    cell: Cell,
    *,
    plan: LensPlan | None = None,
    progress: Track = silent,
) -> pd.DataFrame:
    """How far each lens moves under a condition, with thresholds from a second plain sample.

    Words are weighted by their rarity in the plain texts, and what is stated is per 100 words.

    Args:
        model: the model.
        lenses: vocabularies.
        prompts: continued twice plain and once steered, the steered text with the random numbers of the
            first plain one.
        cell: the condition.
        plan: how many texts, and how they are written.
        progress: shows the loop.

    Returns:
        As `drift_of_lenses`.

    Raises:
        BadValueError: fewer than two prompts, or two lenses of one name.
    """
    names = [lens.name for lens in lenses]
    if len(set(names)) < len(names) or not names:
        raise BadValueError("give lenses, each of its own name.")
    plan = plan or LensPlan()
    asked, sampler = list(prompts)[: plan.n_prompts], sampler_at(plan.temperature, plan.seed)
    write = partial(generate, model, asked, n_new=plan.n_new, sampler=sampler, progress=progress)
    [twice], [moved] = write(cells=Cell(), samples=2), write(cells=cell)
    plain, again = ([text.text for text in twice[i::2]] for i in (0, 1))
    steered = [text.text for text in moved]
    weighed = [lens.rarer([*plain, *again]) for lens in lenses]
    scores = {
        lens.name: [[lens.score(text) for text in texts] for texts in (plain, again, steered)]
        for lens in weighed
    }
    return drift_of_lenses(scores, seed=plan.seed)

"""From a model to the rows of its heads: squares left by kernel ridge regression, and gaps."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from steerscope.eigengaps.patterns import attention_gaps
from steerscope.eigengaps.ridge import ridge_parts
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.results import COLUMNS, NOT_FINITE
from steerscope.studies.premise.findings import GAPS, GIVEN, PARTS
from steerscope.studies.premise.plan import PremisePlan
from steerscope.texts.contrasts import PromptSet

_KEYS = ["layer", "head", "kernel", "ridge", "prompt"]


def premise_rows(
    model: LensModel,
    prompts: PromptSet,
    plan: PremisePlan,
    *,
    concept: str = "",
    progress: Track = silent,
) -> pd.DataFrame:
    """Rows of a run: for each head, kernel, λ and prompt the squares, for each head and prompt the gaps.

    Args:
        model: the model.
        prompts: the first of them are read.
        plan: how many, which λ, which layers.
        concept: said in the rows.
        progress: shows the loops.

    What is not known of a head has the status `not_finite`.

    Raises:
        BadValueError: no layer has queries, keys, values and outputs of heads, or too short a prompt.
    """
    texts = [p.text for p in prompts.prompts[: plan.n_prompts]]
    parts = ridge_parts(model, texts, layers=plan.layers, ridges=plan.ridges, progress=progress)
    layers = [int(layer) for layer in sorted(parts.layer.unique())]
    gaps = attention_gaps(model, texts, layers=layers, progress=progress)
    squares = parts.melt([*_KEYS, "finite"], PARTS, "metric")
    squares["unit"] = "squared activation units"
    wide = gaps.melt(["layer", "head", "prompt", "finite"], GAPS, "metric")
    wide = wide.assign(kernel=GIVEN, ridge=0.0, unit="ratio")
    return _as_rows(pd.concat([squares, wide], ignore_index=True), concept)


def _as_rows(table: pd.DataFrame, concept: str) -> pd.DataFrame:
    """The table with every column of a run's rows."""
    names = zip(table.layer, table["head"], table.kernel, table.ridge, strict=True)
    cells = [f"layer {i}; head {h}; {kernel}; {ridge:g}" for i, h, kernel, ridge in names]
    rest = {
        "concept": concept, "stream": "z", "operator": "", "scope": "", "dose_absolute": math.nan,
        "dose_relative": math.nan, "dose_natural": math.nan, "kl_nats": math.nan, "seed": -1,
    }  # fmt: skip
    split = ["test" if prompt % 2 else "select" for prompt in table.prompt]
    finite = table.groupby(["layer", "head"]).finite.transform("all")
    status = np.where(table.value.isna() & ~finite, NOT_FINITE, "ok")
    rows = table.assign(cell=cells, method=table.kernel, split=split, status=status, **rest)
    return rows[list(COLUMNS)]

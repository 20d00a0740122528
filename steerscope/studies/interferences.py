"""Interference of every pair of several steerings, measured in nats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError
from steerscope.models.lens_model import LensModel, TextOrIds
from steerscope.progress import Track, silent
from steerscope.steering.composition import Part, interference
from steerscope.steering.interventions import Cell, Steering


def interference_table(
    model: LensModel,
    parts: Mapping[str, Part],
    prompts: Sequence[TextOrIds],
    *,
    seed: int = 0,
    progress: Track = silent,
) -> pd.DataFrame:
    """How far the KL of two steerings together is from the sum of their KLs, for every pair.

    Args:
        model: the model.
        parts: directions at one site with their doses, by name; at least two.
        prompts: texts or token ids, teacher-forced.
        seed: of the bootstrap over prompts.
        progress: shows the loop.

    Returns:
        One row per unordered pair: first, second, cosine, measured with low and high (95 % bootstrap
        over prompts), predicted (what the overlap of the vectors alone would give), all in nats but
        the cosine, and n.

    Raises:
        BadValueError: fewer than two parts.
        VectorMismatchError: the directions are not at one site of one model.
    """
    if len(parts) < 2:
        raise BadValueError(f"interference is between two steerings or more, got {len(parts)}.")
    single = {name: Steering(direction, dose) for name, (direction, dose) in parts.items()}
    pairs = list(combinations(parts, 2))
    cells = [Cell((s,)) for s in single.values()]
    cells += [Cell((single[a], single[b])) for a, b in pairs]
    nats = kl_from_plain(model, prompts, cells, progress=progress).double().cpu().numpy()
    alone = dict(zip(parts, nats, strict=False))
    rows = []
    for (a, b), both in zip(pairs, nats[len(parts) :], strict=True):
        found = interference(
            parts[a],
            parts[b],
            plain=np.zeros_like(both),
            with_first=alone[a],
            with_second=alone[b],
            with_both=both,
            seed=seed,
        )
        m = found.measured
        row = {"first": a, "second": b, "cosine": found.cosine, "measured": m.value}
        rows.append(row | {"low": m.low, "high": m.high, "predicted": found.predicted, "n": m.n})
    return pd.DataFrame(rows)

"""Which texts of some conditions are such as the model writes without steering, of all that were written at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from steerscope.engine.continuations import Continuation
from steerscope.engine.written_nats import written_nats
from steerscope.errors import BadValueError
from steerscope.judges.damage import text_damage
from steerscope.judges.effects import (
    IMPLAUSIBLE,
    LIKELIHOODS,
    SHOWN,
    SHOWN_UNDAMAGED,
    UNDAMAGED,
    Effect,
)
from steerscope.judges.judges import text_metrics
from steerscope.models.lens_model import LensModel
from steerscope.studies.steering.success import PLAIN, undamaged

_FEWEST = 2  # plain texts that have a spread


def undamaged_texts(
    model: LensModel,
    prompts: Sequence[str],
    written: Mapping[str, Sequence[Continuation]],
    read: Mapping[str, Sequence[Mapping[str, float]]],
    effect: Effect,
    *,
    asked: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Whether each text is within the spread of the plain ones: likely, new in its pairs of tokens, whole.

    By the rule of a study, `undamaged`, with the limits of the judge's effect; the likelihood is that
    under the model without steering.

    Args:
        model: that wrote them.
        prompts: after which.
        written: for each condition, `plain` among them, the text after each prompt.
        read: what the judge read in each of them.
        effect: of the judge.
        asked: the prompts as the model saw them under the other conditions, where it was asked for what
            it wrote. From what it was shown it may not copy, and the likelihood is left out, since it need
            not write this unasked.

    Returns:
        True or False, one row a condition and one column a prompt, numbered from 0.

    Raises:
        BadValueError: fewer than two plain texts have a likelihood, so that none can be told from damage.
    """
    given = [tuple(model.tokens(p)) for p in prompts]
    shown = given if asked is None else [tuple(model.tokens(p)) for p in asked]
    tokens = {name: [text.tokens for text in texts] for name, texts in written.items()}
    nats = written_nats(model, prompts, [*tokens.values()])
    plain = nats[[*tokens].index(PLAIN)]
    if (n := int(np.isfinite(plain).sum())) < _FEWEST:
        raise BadValueError(
            f"of {len(prompts)} texts without steering {n} can be read; damage is told by the spread "
            f"of {_FEWEST} or more. Ask more prompts, or for longer texts."
        )
    found: dict[str, list[dict[str, float]]] = {
        name: [
            {**whole, **text_metrics(mine), "unread": _unread(reading, mine), **reading}
            | {IMPLAUSIBLE.metric: float(likely)}
            for whole, mine, reading, likely in zip(
                text_damage(given if name == PLAIN else shown, texts),
                texts,
                read[name],
                row,
                strict=True,
            )
        ]
        for (name, texts), row in zip(tokens.items(), nats, strict=True)
    }
    metrics = {metric for rows in found.values() for row in rows for metric in row}
    values = {
        metric: pd.DataFrame({name: [r[metric] for r in rows] for name, rows in found.items()}).T
        for metric in metrics
    }
    limits = [x for x in effect.held_to if asked is None or x.metric not in LIKELIHOODS]
    return undamaged(values, limits, PLAIN)


def add_damage(
    model: LensModel,
    prompts: Sequence[str],
    written: Mapping[str, Sequence[Continuation]],
    readings: Mapping[str, Sequence[dict[str, float]]],
    effect: Effect,
) -> None:
    """Enter beside what a judge that gives scores read whether each text is undamaged, and shows the concept so.

    The arguments are those of `undamaged_texts`; a text in which nothing can be read shows nothing.
    """
    whole = undamaged_texts(model, prompts, written, readings, effect)
    for name, rows in readings.items():
        for place, read in enumerate(rows):
            fine = float(whole.loc[name, place])
            read |= {UNDAMAGED: fine, SHOWN_UNDAMAGED: fine * float(read[SHOWN] == 1)}


def _unread(reading: Mapping[str, float], tokens: Sequence[int]) -> float:
    return float(bool(tokens) and any(map(math.isnan, reading.values())))

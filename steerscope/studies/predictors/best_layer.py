"""Which layer to steer, by a diagnostic and without a search."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from steerscope.diagnostics import as_table, layer_diagnostics, pair_stability
from steerscope.errors import MissingEvidenceError, check_name
from steerscope.extraction.activations import extract
from steerscope.models.lens_model import LensModel
from steerscope.models.prompts import Prompts
from steerscope.progress import Track, silent
from steerscope.sites import Site
from steerscope.studies.predictors.findings import EXPECTED_SIGNS
from steerscope.texts.contrasts import ContrastSet, load_contrasts
from steerscope.texts.given_pairs import PairsLike

STABILITY = "pair_stability"


@dataclass(frozen=True, eq=False)
class LayerChoice:
    """The layer that a diagnostic picks; nothing was steered to find it.

    Attributes:
        layer: 0-based.
        by: the diagnostic.
        value: of it there, with `low` and `high`, its 95 % interval.
        low: see there.
        high: see there.
        sure: whether no other layer's interval reaches the value.
        table: the diagnostic at every layer.
    """

    layer: int
    by: str
    value: float
    low: float
    high: float
    sure: bool
    table: pd.DataFrame

    def __int__(self) -> int:
        return self.layer

    def __index__(self) -> int:
        return self.layer

    def __str__(self) -> str:
        tied = "" if self.sure else "; other layers are not told from it"
        return (
            f"block {self.layer} by {self.by} ({self.value:.3g} [{self.low:.3g}, {self.high:.3g}])"
            f"{tied}; nothing was steered to find it, so measure it before you rely on it"
        )


def best_layer(
    model: LensModel,
    pairs: PairsLike,
    *,
    by: str = STABILITY,
    prompts: Prompts | None = None,
    seed: int = 0,
    progress: Track = silent,
) -> LayerChoice:
    """The layer with the largest value of a diagnostic, or the smallest where that was said to steer.

    The default is how far the differences of the pairs agree, the one diagnostic that told steerability at
    a matched KL on the bundled world after correction (`steerscope run eigengap_study`); the weakest
    eigengap did not. A search that steers is surer.

    Args:
        model: the model.
        pairs: a bundled name, a file or pairs; a contrast set is read on its fit split, and what is judged
            on other pairs on its select split.
        by: the diagnostic, one of `EXPECTED_SIGNS`.
        prompts: for the diagnostics that read prompts alone.
        seed: of the split and of resamples.
        progress: shows the loops.

    Raises:
        UnknownNameError: no such diagnostic.
        MissingEvidenceError: a diagnostic that the model or the arguments give nothing for.
    """
    check_name("diagnostic", by, tuple(EXPECTED_SIGNS))
    contrasts = load_contrasts(pairs)
    fit, other = _parts(contrasts, seed)
    if by == STABILITY:
        sites = [Site("resid_post", layer) for layer in range(model.shape.n_layers)]
        found = extract(model, fit, sites, progress=progress)
        table = as_table([pair_stability(c, seed=seed) for c in found.values()])
    else:
        texts = prompts or [p.positive for p in other.pairs[:16]]
        table = layer_diagnostics(model, fit, other, texts, seed=seed, progress=progress)
    mine = table[table.diagnostic == by].dropna(subset="value").sort_values("layer")
    if mine.empty:
        raise MissingEvidenceError(
            f"{model.name} has no {by}; take another diagnostic, such as {STABILITY}."
        )
    return choose_layer(mine.reset_index(drop=True))


def choose_layer(table: pd.DataFrame) -> LayerChoice:
    """The layer that one diagnostic picks out of its values at every layer."""
    by = str(table.diagnostic.iloc[0])
    sign = EXPECTED_SIGNS[by]
    best = table.loc[(sign * table.value).idxmax()]
    others = table[table.layer != best.layer]
    reach = sign * (others.high if sign > 0 else others.low)
    sure = bool((reach < sign * (best.low if sign > 0 else best.high)).all())
    numbers = (float(best.value), float(best.low), float(best.high))
    return LayerChoice(int(best.layer), by, *numbers, sure, table)


def _parts(contrasts: ContrastSet, seed: int) -> tuple[ContrastSet, ContrastSet]:
    split = contrasts.split(seed)
    return split.fit, split.select

"""What each layer is made of: how long its activations are, how far apart and how stably."""

from __future__ import annotations

import pandas as pd

from steerscope.diagnostics import half_agreement, residual_norms, separation
from steerscope.extraction.activations import extract
from steerscope.models.lens_model import LensModel
from steerscope.sites import Site
from steerscope.texts.contrasts import ContrastSet


def layer_anatomy(model: LensModel, pairs: ContrastSet) -> pd.DataFrame:
    """Length, separation and stability of the output of every block, with their intervals.

    norm is the mean length over the tokens but position 0, in activation units; separation the
    distance of the class means at the last token, in relative units; stability the cosine between
    the mean differences of random halves of the pairs.

    Args:
        model: the model.
        pairs: at least two.

    Returns:
        layer, n, and for each of the three the value with `_low` and `_high`.

    Raises:
        BadValueError: fewer than two pairs, or a text without a second token.
    """
    texts = [text for pair in pairs.pairs for text in (pair.positive, pair.negative)]
    found = [("norm", v) for v in residual_norms(model, texts) if v.diagnostic == "residual_norm"]
    sites = [Site("resid_post", layer) for layer in range(model.shape.n_layers)]
    for contrast in extract(model, pairs, sites).values():
        found += [("separation", separation(contrast)), ("stability", half_agreement(contrast))]
    rows: dict[int, dict[str, float]] = {}
    for name, v in found:
        row = rows.setdefault(v.layer, {"layer": v.layer, "n": len(pairs)})
        row |= {name: v.value, f"{name}_low": v.low, f"{name}_high": v.high}
    return pd.DataFrame([rows[layer] for layer in sorted(rows)])

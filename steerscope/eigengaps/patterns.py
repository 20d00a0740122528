"""Gaps of the attention probabilities themselves, beside those of the keys on the same prompts."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from steerscope.eigengaps.ridge import finite_heads
from steerscope.eigengaps.spectrum import gram_eigenvalues, spectral_gap
from steerscope.errors import BadValueError
from steerscope.models.attention_patterns import attention_patterns
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.sites import Site


@torch.no_grad()
def attention_gaps(
    model: LensModel,
    prompts: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    progress: Track = silent,
) -> pd.DataFrame:
    """(λ₁ - λ₂) / λ₁ of the Gram matrix of attention probabilities, and of keys, of every head and prompt.

    Rows of the matrix are the tokens after position 0, whose row of probabilities is 1 at itself. The
    probabilities of a row sum to 1, so that as they are they share one large direction; centred, that
    direction is out. Keys are centred, as the published gap has them.

    Args:
        model: the model.
        prompts: texts.
        layers: default all with keys.
        progress: shows the loop.

    Returns:
        One row per layer, head and prompt: layer, head, prompt, attention_gap, attention_gap_centred,
        key_gap, finite. Where a probability or a key is not, the head is not, and its gaps are NaN.

    Raises:
        BadValueError: no layer has keys, or a prompt of fewer than four tokens.
        UnsupportedSiteError: a layer that tells no attention probabilities.
    """
    asked = range(model.shape.n_layers) if layers is None else layers
    there = [i for i in asked if model.has(Site("k", i))]
    if not there:
        raise BadValueError(f"{model.name} has no layer with attention keys.")
    times = model.shape.n_heads // model.shape.n_key_value_heads
    parts = []
    for number, prompt in enumerate(progress(list(prompts), "gaps of attention")):
        tokens = torch.tensor(model.tokens(prompt), device=model.device)
        if len(tokens) < 4:
            raise BadValueError(
                f"the prompt {prompt!r:.40} is too short for a gap; give longer ones."
            )
        patterns = attention_patterns(model, tokens, there)
        keys = model.read(tokens[None], [Site("k", i) for i in there])
        for layer in there:
            rows = patterns[layer].double()[:, 1:]
            k = keys[Site("k", layer)][0].double().cpu()[1:]
            k = k.reshape(len(k), model.shape.n_key_value_heads, -1).transpose(0, 1)
            found = {
                "attention_gap": rows,
                "attention_gap_centred": rows - rows.mean(dim=1, keepdim=True),
                "key_gap": (k - k.mean(dim=1, keepdim=True)).repeat_interleave(times, dim=0),
            }
            gaps = {n: spectral_gap(gram_eigenvalues(x)).tolist() for n, x in found.items()}
            label = {"layer": layer, "head": range(len(rows)), "prompt": number}
            finite = finite_heads(rows, found["key_gap"])
            parts.append(pd.DataFrame({**label, **gaps, "finite": finite}))
    return pd.concat(parts, ignore_index=True)

"""How much of a direction the final norm and the unembedding can see."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from steerscope.diagnostics.separation import squared_length
from steerscope.diagnostics.table import LayerValue, bootstrap_weights, interval
from steerscope.directions import mean_diff
from steerscope.errors import BadValueError
from steerscope.extraction.activations import Contrast
from steerscope.models.lens_model import LensModel


@torch.no_grad()
def visible_subspace(model: LensModel, energy: float = 0.9) -> Float[Tensor, "rank d"]:
    """Orthonormal basis of the fewest directions that carry this share of the output's energy.

    The map M takes a residual stream through the gains of the final norm and the unembedding to
    logits, mean over the vocabulary removed. The directions are the first eigenvectors of M Mᵀ, and
    their eigenvalues the energy. The norm's division by the length is left out.

    Raises:
        BadValueError: a share outside 0..1.
    """
    if not 0 < energy <= 1:
        raise BadValueError(f"the share of energy {energy} is outside 0..1.")
    d = model.shape.d_model
    # Each axis alone is divided by the same length in the norm; the odd part is free of biases.
    axes = d**0.5 * torch.eye(d, device=model.device, dtype=model.dtype)
    plus, minus = (model.unembed(sign * axes, capped=False).float() for sign in (1, -1))
    logits = (plus - minus) / 2
    logits = logits - logits.mean(dim=-1, keepdim=True)
    eigenvalues, vectors = torch.linalg.eigh((logits @ logits.T).double().cpu())
    shares = eigenvalues.flip(0).clamp_min(0).cumsum(0) / eigenvalues.clamp_min(0).sum()
    rank = int((shares < energy - 1e-12).sum()) + 1
    return vectors.flip(1)[:, :rank].T.float()


def visible_share(
    contrast: Contrast, subspace: Float[Tensor, "rank d"], *, seed: int = 0
) -> LayerValue:
    """Share of the mean difference's squared length inside the subspace that the output sees.

    The interval resamples pairs, see `squared_length`. A random direction has rank / width. It is the direct path
    only: later blocks may turn what is invisible into something visible.
    """
    differences = contrast.differences.double()
    weights = bootstrap_weights(len(differences), seed=seed)
    weights = weights[(weights > 0).sum(dim=1) > 1]  # a single pair has no second one to compare
    seen = differences @ subspace.T.double()
    inside, whole = (squared_length(d @ d.T, weights) for d in (seen, differences))
    shares = (inside / whole.clamp_min(1e-30)).clamp_max(1.0)
    low, high = interval(shares) if len(shares) else (math.nan, math.nan)
    return LayerValue(
        diagnostic="visible_share",
        layer=contrast.site.layer,
        value=float(((subspace @ mean_diff(contrast).unit) ** 2).sum()),
        low=low,
        high=high,
        unit="share",
        n=len(contrast.positive),
        null=len(subspace) / subspace.shape[1],
    )

"""Directions of several kinds for one concept at an autoencoder's site, and their nulls."""

from __future__ import annotations

from steerscope.directions import Direction, mean_diff, random
from steerscope.extraction.activations import Contrast
from steerscope.models.lens_model import LensModel
from steerscope.sae.codes import firing_rates
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.reading import mean_code_difference
from steerscope.sae.scores import concept_scores, output_effects, output_target
from steerscope.sae.vectors import random_features, single, uniform, weighted
from steerscope.studies.features.findings import CONTRASTIVE, NULLS, null_name
from steerscope.texts.contrasts import ContrastSet


def candidates(
    model: LensModel,
    sae: SparseAutoencoder,
    contrast: Contrast,
    fit: ContrastSet,
    *,
    k: int,
    n_nulls: int = 1,
    seed: int = 0,
) -> dict[str, Direction]:
    """One direction of each kind: contrastive, by features in several ways, and two nulls.

    Features are chosen on the fit pairs alone: by the difference of mean codes (`features weighted`,
    `features uniform`, `feature single`), or by how well what their decoder rows say agrees with what
    the positive class makes likelier (`output score`). The nulls are a random direction and k random
    features that fire, with the weights of the weighted ones.

    Args:
        model: the model.
        sae: at the contrast's site.
        contrast: of the fit pairs.
        fit: the same pairs as texts.
        k: features.
        n_nulls: null directions of each kind.
        seed: of the nulls.

    Raises:
        AutoencoderMismatchError: autoencoder, contrast and model do not belong together.
        BadValueError: k exceeds the dictionary.
    """
    codes = mean_code_difference(sae, contrast)
    alive = firing_rates(model, sae, [t for p in fit.pairs for t in (p.positive, p.negative)])
    said = concept_scores(output_effects(model, sae), output_target(model, fit))
    scores = said * (alive > 0)  # a row that no code uses may say anything
    loudest = int(codes.abs().argmax())
    found = {
        CONTRASTIVE: mean_diff(contrast),
        "features weighted": weighted(sae, codes, contrast, k=k),
        "features uniform": uniform(sae, codes, contrast, k=k),
        "feature single": single(sae, loudest, contrast, sign=1 if codes[loudest] > 0 else -1),
        "output score": weighted(sae, scores, contrast, k=k, method="sae_output_score"),
    }
    of_directions, of_features = NULLS
    for number in range(n_nulls):
        drawn = seed + number
        found[null_name(of_features, number)] = random_features(
            sae, codes, contrast, k=k, alive=alive, seed=drawn
        )
        found[null_name(of_directions, number)] = random(contrast, seed=drawn)
    return found

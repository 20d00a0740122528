"""The features of a concept by every route that is in use: they need not be the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.errors import UnknownNameError
from steerscope.extraction.activations import extract
from steerscope.models.lens_model import LensModel
from steerscope.sae.codes import steering_change
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits
from steerscope.sae.reading import decoder_cosine, encoder_projection, mean_code_difference
from steerscope.sae.scores import concept_scores, output_effects, output_target
from steerscope.steering.interventions import Cell, Steering
from steerscope.studies.features.feature_sets import FeatureSet, largest
from steerscope.texts.contrasts import ContrastSet

SOURCES = {
    "codes": "codes differ most between the classes",
    "decoder": "decoder rows along the mean difference",
    "encoder": "encoder columns hear the mean difference",
    "output": "decoder rows say what the positive class makes likelier",
    "steered": "codes rise most under steering, one natural unit",
}


def concept_sets(
    model: LensModel,
    sae: SparseAutoencoder,
    contrasts: ContrastSet,
    k: int,
    *,
    sources: Sequence[str] = tuple(SOURCES),
) -> dict[str, FeatureSet]:
    """The k features of a concept by each route; most positive first, so that signs matter.

    `steered` reads the negative texts with and without the mean difference added at the
    autoencoder's site.

    Args:
        model: the model.
        sae: the autoencoder.
        contrasts: pairs of the concept.
        k: how many.
        sources: which routes, names of `SOURCES`.

    Raises:
        UnknownNameError: no such route.
        AutoencoderMismatchError: the autoencoder is for another model.
        BadValueError: k exceeds the dictionary.
    """
    for name in sources:
        check_source(name)
    check_fits(sae, model=model)
    contrast = extract(model, contrasts, [sae.site])[sae.site]
    direction = mean_diff(contrast)
    cell = Cell((Steering(direction, Dose(1.0)),))
    negative = [p.negative for p in contrasts.pairs]
    values = {
        "codes": lambda: mean_code_difference(sae, contrast),
        "decoder": lambda: decoder_cosine(sae, direction.unit),
        "encoder": lambda: encoder_projection(sae, direction.unit),
        "output": lambda: concept_scores(
            output_effects(model, sae), output_target(model, contrasts)
        ),
        "steered": lambda: steering_change(model, sae, negative, cell),
    }
    return {
        name: largest(f"{contrasts.concept}, {name}", values[name](), sae, k) for name in sources
    }


def check_source(name: str) -> None:
    """Refuse a route that there is not.

    Raises:
        UnknownNameError: no such route.
    """
    if name not in SOURCES:
        raise UnknownNameError("source of features", name, SOURCES)


def settings_within(
    sets: Mapping[str, FeatureSet], labels: Mapping[str, object]
) -> list[tuple[dict[str, object], FeatureSet, FeatureSet]]:
    """Every pair of feature sets as a setting of `overlap_table`, with a label that names the two."""
    return [
        ({**labels, "pair": f"{one} | {other}"}, sets[one], sets[other])
        for one, other in combinations(sets, 2)
    ]

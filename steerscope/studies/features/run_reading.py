"""A run's direction read through an autoencoder, stored beside the run's rows."""

from __future__ import annotations

from pathlib import Path

from steerscope.directions import load_directions
from steerscope.errors import AutoencoderMismatchError
from steerscope.extraction.activations import extract
from steerscope.extraction.reading import ReadToken
from steerscope.models.chat_templates import in_chat
from steerscope.models.lens_model import LensModel
from steerscope.runs.results import Run
from steerscope.runs.whole_files import write_json
from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits
from steerscope.sae.reading import read_direction
from steerscope.studies.steering.plan import plan_of
from steerscope.texts.contrasts import load_contrasts

FOLDER = "sae"  # of a run; the report looks there
_STRONGEST = 10
_FEATURES = 20


def read_run(
    run: Run, model: LensModel, sae: SparseAutoencoder, *, n_null: int = 99, seed: int = 0
) -> Path:
    """Write how the direction of a run at the autoencoder's site reads in its features.

    Args:
        run: a study or sweep that is finished.
        model: its model.
        sae: at a site that the run has steered.
        n_null: draws of each null.
        seed: of the nulls.

    Returns:
        A JSON file in the run's folder `sae`, with null for a number that is not finite.

    Raises:
        AutoencoderMismatchError: the autoencoder is for another model, or for a site at which the
            run has no direction.
    """
    check_fits(sae, model=model)
    plan = plan_of(run)
    found = load_directions(run.path / "directions.safetensors")
    mine = [d for d in found if d.site == sae.site and d.method == plan.method]
    if not mine:
        raise AutoencoderMismatchError(
            f"{run.path} has no {plan.method} direction at {sae.site}, where {sae.name} reads."
        )
    pairs = load_contrasts(plan.contrasts).split(plan.seed, plan.grouping).fit
    pairs = in_chat(model, pairs, plan.chat)
    contrast = extract(model, pairs, [sae.site], read=ReadToken.parse(plan.read))[sae.site]
    k = min(_FEATURES, sae.n_features)
    reading = read_direction(sae, contrast, direction=mine[0], k=k, n_null=n_null, seed=seed)
    content = {
        "sae": sae.name,
        "site": str(sae.site),
        "n_features": sae.n_features,
        "k": k,
        "n_null": n_null,
        "direction": mine[0].method,
        "statistics": reading.table().to_dict("records"),
        "curve": reading.curve.to_dict("records"),
        "strongest": reading.strongest("mean_codes", min(_STRONGEST, sae.n_features)),
    }
    path = place_of(run, sae)
    write_json(path, content)
    run.vouch(path)
    return path


def place_of(run: Run, sae: SparseAutoencoder) -> Path:
    """The file in which a run keeps its reading through an autoencoder of this site."""
    return run.path / FOLDER / f"{sae.site}.json"

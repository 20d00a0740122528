"""Directions: each method turns a contrast into a unit vector.

`METHODS` point to the positive class; `CONTROLS` are the null directions. `NEEDS` names what a
method uses beyond the activations, which `steerscope.gather` measures; `SEEDED` are those that draw
random numbers; `ALIASES` are second names of one and the same vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from steerscope.directions.controls import (
    covariance_matched_random,
    label_shuffled,
    other_concept,
    random,
)
from steerscope.directions.direction import Direction, class_separation, noise_share
from steerscope.directions.files import load_directions, save_directions
from steerscope.directions.gguf import export_gguf, fits_gguf, import_gguf
from steerscope.directions.gradient import (
    fisher_covariance,
    fisher_difference,
    fisher_empirical,
    fisher_ief,
    fisher_negative,
    fisher_positive,
    gradient_mean,
    gradient_svd,
)
from steerscope.directions.hub import from_pretrained, push_to_hub
from steerscope.directions.imports import import_directions
from steerscope.directions.mean_difference import mean_diff
from steerscope.directions.pca import pair_weights, pca_centred, pca_uncentred, pca_weighted
from steerscope.directions.probe import cross_validated_regularisation, logistic_probe
from steerscope.directions.repe import repe
from steerscope.directions.settings import USUAL, Settings
from steerscope.directions.sspace import (
    sspace_aggregate_then_project,
    sspace_basis,
    sspace_mean,
    sspace_project_then_aggregate,
)
from steerscope.directions.whitened import leave_one_out_shrinkage, whitened
from steerscope.errors import BadValueError, UnknownNameError
from steerscope.extraction.activations import Contrast, Moments
from steerscope.sites import Site

METHODS: dict[str, Callable[..., Direction]] = {
    "mean_diff": mean_diff,
    "pca_uncentred": pca_uncentred,
    "pca_centred": pca_centred,
    "pca_weighted": pca_weighted,
    "whitened": whitened,
    "logistic_probe": logistic_probe,
    "repe": repe,
    "sspace_mean": sspace_mean,
    "sspace_aggregate_then_project": sspace_aggregate_then_project,
    "sspace_project_then_aggregate": sspace_project_then_aggregate,
    "gradient_mean": gradient_mean,
    "gradient_svd": gradient_svd,
    "fisher_empirical": fisher_empirical,
    "fisher_ief": fisher_ief,
    "fisher_covariance": fisher_covariance,
    "fisher_positive": fisher_positive,
    "fisher_negative": fisher_negative,
    "fisher_difference": fisher_difference,
}
CONTROLS: dict[str, Callable[..., Direction]] = {
    "random": random,
    "covariance_matched_random": covariance_matched_random,
    "label_shuffled": label_shuffled,
    "other_concept": other_concept,
}
ALIASES: dict[str, str] = {"pca_pair_centred": "pca_uncentred"}
NEEDS: dict[str, tuple[str, ...]] = {
    "pca_weighted": ("log_likelihood",),
    "other_concept": ("other",),
    **{name: ("weight",) for name in METHODS if name.startswith("sspace_")},
    **{name: ("gradients",) for name in METHODS if name.startswith(("gradient_", "fisher_"))},
}
SEEDED = frozenset({"repe", "random", "covariance_matched_random", "label_shuffled"})


def check_method(name: str) -> str:
    """The method or control of that name, by its first name where it has two.

    Raises:
        UnknownNameError: there is none; the message lists the known ones.
    """
    name = ALIASES.get(name, name)
    if name not in METHODS and name not in CONTROLS:
        raise UnknownNameError("method", name, [*METHODS, *CONTROLS, *ALIASES])
    return name


def find_direction(
    method: str,
    contrast: Contrast | Mapping[Site, Contrast],
    *,
    seed: int = 0,
    settings: Settings = USUAL,
) -> Direction:
    """The direction that a method of that name finds.

    Args:
        method: such as `mean_diff`; `steerscope vectors --help` lists them.
        contrast: activations of the pairs; what `extract` found, where it holds one site.
        seed: of methods that draw.
        settings: damping and rank of the methods that have them; loss and target are of `gather`.

    Raises:
        BadValueError: several sites are given, what is no contrast, or a setting out of range.
        UnknownNameError: no such method; the message lists the known ones.
        MissingEvidenceError: the method needs more than the contrast holds.
        DegenerateDirectionError: the activations define no direction.
    """
    name, contrast = check_method(method), _one(contrast)
    find = METHODS[name] if name in METHODS else CONTROLS[name]
    drawn = {"seed": seed} if name in SEEDED else {}
    return find(contrast, **drawn, **settings.of(name))


def _one(given: Contrast | Mapping[Site, Contrast]) -> Contrast:
    """The contrast itself, or the only one of what was found."""
    if isinstance(given, Mapping):
        if len(given) == 1:
            return next(iter(given.values()))
        sites = ", ".join(map(str, given)) or "none"
        raise BadValueError(
            f"a direction is found at one site; of those that were read ({sites}) give one, such as "
            'found["resid_post.5"].'
        )
    if isinstance(given, Contrast | Moments):
        return given  # the difference of means needs no more than the moments
    raise BadValueError(
        f"cannot find a direction from {type(given).__name__} {given!r:.60}; read the pairs first: "
        'extract(model, pairs, "resid_post.5").'
    )


__all__ = [
    "ALIASES",
    "CONTROLS",
    "METHODS",
    "NEEDS",
    "SEEDED",
    "Direction",
    "Settings",
    "check_method",
    "class_separation",
    "export_gguf",
    "covariance_matched_random",
    "cross_validated_regularisation",
    "find_direction",
    "fisher_covariance",
    "fisher_difference",
    "fisher_empirical",
    "fisher_ief",
    "fisher_negative",
    "fisher_positive",
    "gradient_mean",
    "gradient_svd",
    "fits_gguf",
    "from_pretrained",
    "import_directions",
    "import_gguf",
    "label_shuffled",
    "leave_one_out_shrinkage",
    "load_directions",
    "logistic_probe",
    "mean_diff",
    "noise_share",
    "other_concept",
    "pair_weights",
    "pca_centred",
    "pca_uncentred",
    "push_to_hub",
    "pca_weighted",
    "random",
    "repe",
    "save_directions",
    "sspace_aggregate_then_project",
    "sspace_basis",
    "sspace_mean",
    "sspace_project_then_aggregate",
    "whitened",
]

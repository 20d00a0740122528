"""Directions: each method turns a contrast into a unit vector.

`METHODS` need only the contrast, with whatever evidence `NEEDS` names in its fields; `CONTROLS` are
the null directions and need a seed as well.
"""

from __future__ import annotations

from collections.abc import Callable

from steerscope.activations import Contrast
from steerscope.directions.controls import label_shuffled, random
from steerscope.directions.direction import Direction, class_separation
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
from steerscope.directions.pca import pca_centred, pca_uncentred
from steerscope.errors import UnknownNameError

METHODS: dict[str, Callable[[Contrast], Direction]] = {
    "mean_diff": mean_diff,
    "pca_uncentred": pca_uncentred,
    "pca_centred": pca_centred,
    "gradient_mean": gradient_mean,
    "gradient_svd": gradient_svd,
    "fisher_empirical": fisher_empirical,
    "fisher_ief": fisher_ief,
    "fisher_covariance": fisher_covariance,
    "fisher_positive": fisher_positive,
    "fisher_negative": fisher_negative,
    "fisher_difference": fisher_difference,
}
NEEDS: dict[str, tuple[str, ...]] = {
    "gradient_mean": ("gradients",),
    "gradient_svd": ("gradients",),
    "fisher_empirical": ("gradients",),
    "fisher_ief": ("gradients",),
    "fisher_covariance": ("gradients",),
    "fisher_positive": ("gradients",),
    "fisher_negative": ("gradients",),
    "fisher_difference": ("gradients",),
}
CONTROLS: dict[str, Callable[..., Direction]] = {
    "random": random,
    "label_shuffled": label_shuffled,
}


def find_direction(method: str, contrast: Contrast, *, seed: int = 0) -> Direction:
    """The direction that a method of that name finds.

    Raises:
        UnknownNameError: no such method; the message lists the known ones.
    """
    if method in METHODS:
        return METHODS[method](contrast)
    if method in CONTROLS:
        return CONTROLS[method](contrast, seed=seed)
    raise UnknownNameError("method", method, [*METHODS, *CONTROLS])


__all__ = [
    "CONTROLS",
    "METHODS",
    "NEEDS",
    "Direction",
    "class_separation",
    "export_gguf",
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
    "load_directions",
    "mean_diff",
    "pca_centred",
    "pca_uncentred",
    "push_to_hub",
    "random",
    "save_directions",
]

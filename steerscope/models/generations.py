"""Which of its two transformers TransformerLens has: up to version 3 both, from 4 the bridge alone."""

from __future__ import annotations

import warnings
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from steerscope.errors import ModelLoadError

HAS_HOOKED = find_spec("transformer_lens.HookedTransformer") is not None

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _names = import_module(
        f"transformer_lens.{'loading_from_pretrained' if HAS_HOOKED else 'supported_models'}"
    )

if TYPE_CHECKING:
    from steerscope.models.hooked import HookedLensModel


def official_name(name: str) -> str | None:
    """The hub name behind a name that TransformerLens knows, or None."""
    try:
        return str(_names.get_official_model_name(name))
    except ValueError:
        return None


def without_hooked() -> str:
    """Why HookedTransformer cannot run a model here, and what would have it; empty where it can."""
    if HAS_HOOKED:
        return ""
    return f'TransformerLens {version("transformer-lens")} has none, pip install "transformer-lens<4" does'


def hooked_lens_model() -> type[HookedLensModel]:
    """The class of models that HookedTransformer runs.

    Raises:
        ModelLoadError: TransformerLens is of a version that has none.
    """
    if not HAS_HOOKED:
        raise ModelLoadError(f"there is no HookedTransformer: {without_hooked()}.")
    from steerscope.models.hooked import HookedLensModel

    return HookedLensModel

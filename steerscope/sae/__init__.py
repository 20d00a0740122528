"""Sparse autoencoders: train, load, judge. The only door to sae-lens."""

from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits, load_sae, save_sae
from steerscope.sae.plan import SaePlan
from steerscope.sae.quality import SaeQuality, evaluate_sae, mean_codes
from steerscope.sae.stream import activations_of, token_rows
from steerscope.sae.telling import TellingFeature, telling_feature
from steerscope.sae.texts import load_texts
from steerscope.sae.training import train_on_activations, train_sae

__all__ = [
    "SaePlan",
    "SaeQuality",
    "SparseAutoencoder",
    "TellingFeature",
    "activations_of",
    "check_fits",
    "evaluate_sae",
    "load_sae",
    "load_texts",
    "mean_codes",
    "save_sae",
    "telling_feature",
    "token_rows",
    "train_on_activations",
    "train_sae",
]

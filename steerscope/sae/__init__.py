"""Sparse autoencoders: train, load, judge. The only door to sae-lens."""

from steerscope.sae.dictionary import SparseAutoencoder
from steerscope.sae.files import check_fits, load_sae, save_sae

__all__ = ["SparseAutoencoder", "check_fits", "load_sae", "save_sae"]

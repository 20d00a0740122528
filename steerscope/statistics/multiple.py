"""Corrections of p values for their number."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from statsmodels.stats.multitest import multipletests


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P values corrected for their number by Holm's step-down; NaN is no test and stays.

    Source: Holm 1979.
    """
    return _corrected(p, "holm")


def benjamini_hochberg(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """False discovery rate at which each test would be called; NaN is no test and stays.

    Source: Benjamini & Hochberg 1995.
    """
    return _corrected(p, "fdr_bh")


def _corrected(p: Float[np.ndarray, " test"], method: str) -> Float[np.ndarray, " test"]:
    result, there = np.full(len(p), math.nan), np.isfinite(p)
    if there.any():
        result[there] = multipletests(p[there], method=method)[1]
    return result

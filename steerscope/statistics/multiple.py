"""Corrections of p values for their number."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy.stats import false_discovery_control


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """P values corrected for their number by Holm's step-down; NaN is no test and stays.

    The k-th smallest of m becomes the largest of (m - j + 1) p_(j) over j <= k, at most 1. Written out
    since statsmodels' `multipletests` collects garbage at every call, which takes most of a second in
    a process that holds a model.

    Source: Holm 1979.
    """
    result, there = np.full(len(p), math.nan), np.isfinite(p)
    kept = p[there]
    order = np.argsort(kept, kind="stable")
    corrected = np.empty(len(kept))
    corrected[order] = np.maximum.accumulate(kept[order] * np.arange(len(kept), 0, -1)).clip(max=1)
    result[there] = corrected
    return result


def benjamini_hochberg(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """False discovery rate at which each test would be called; NaN is no test and stays.

    Source: Benjamini & Hochberg 1995.
    """
    result, there = np.full(len(p), math.nan), np.isfinite(p)
    if there.any():
        result[there] = false_discovery_control(p[there])
    return result

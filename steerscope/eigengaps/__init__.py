"""Spectra of the attention keys of every head."""

from __future__ import annotations

from steerscope.eigengaps.heads import (
    HeadSpectra,
    HeadStatistic,
    WeakestLink,
    eigengap,
    head_statistics,
)
from steerscope.eigengaps.keys import (
    LEGACY,
    VARIANTS,
    Keys,
    KeyView,
    arrange,
    check_variant,
    read_keys,
)
from steerscope.eigengaps.patterns import attention_gaps
from steerscope.eigengaps.ridge import attention_ridge, ridge_output
from steerscope.eigengaps.spectrum import (
    STATISTICS,
    absolute_gap,
    effective_rank,
    gram_eigenvalues,
    participation_ratio,
    spectral_entropy,
    spectral_gap,
)

__all__ = [
    "LEGACY",
    "STATISTICS",
    "VARIANTS",
    "HeadSpectra",
    "HeadStatistic",
    "KeyView",
    "Keys",
    "WeakestLink",
    "absolute_gap",
    "arrange",
    "attention_gaps",
    "attention_ridge",
    "check_variant",
    "effective_rank",
    "eigengap",
    "gram_eigenvalues",
    "head_statistics",
    "participation_ratio",
    "read_keys",
    "ridge_output",
    "spectral_entropy",
    "spectral_gap",
]

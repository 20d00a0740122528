"""Intervals of the gap and of the smallest gap hold the truth as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerscope.eigengaps.heads import resampled_eigenvalues
from steerscope.eigengaps.intervals import (
    LOG_OF_REST,
    LOGARITHM,
    PLAIN,
    Corrected,
    bias_corrected,
    resamples,
    smallest,
)
from steerscope.eigengaps.spectrum import spectral_gap
from steerscope.statistics import wilson


def spectrum(gap, d):
    """Eigenvalues that fall harmonically after the first."""
    return np.array([1.0, *((1 - gap) / np.arange(1, d))])


def corrected_gaps(gaps, *, d, n_prompts, seed):
    """Gaps of heads with planted spectra, on prompts whose tokens are correlated."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(3, 10, size=n_prompts)
    prompts = np.repeat(np.arange(n_prompts), counts)
    heads = []
    for gap in gaps:
        shared = rng.normal(size=(n_prompts, d))[prompts]
        drawn = np.sqrt(0.3) * shared + np.sqrt(0.7) * rng.normal(size=(len(prompts), d))
        heads.append(drawn * np.sqrt(spectrum(gap, d)))
    keys, which = torch.tensor(np.stack(heads)), torch.tensor(prompts)
    of = resamples(n_prompts, 200, torch.Generator().manual_seed(seed))
    weights = torch.cat([torch.ones(1, n_prompts).double(), of.weights])
    found = spectral_gap(resampled_eigenvalues(keys, which, weights, "centred"))
    return bias_corrected(found[0], found[1:], of, LOG_OF_REST)


def share_covered(gaps, *, d, n_prompts, n):
    """Share of repetitions in which the intervals hold each gap, and the smallest one."""
    truth = torch.tensor(gaps)
    each, least = [], []
    for seed in range(n):
        found = corrected_gaps(gaps, d=d, n_prompts=n_prompts, seed=seed)
        each.append(((found.low <= truth) & (truth <= found.high)).double().mean())
        low, high = smallest(found)
        least.append(float(low) <= min(gaps) <= float(high))
    return float(torch.stack(each).mean()), float(np.mean(least))


def test_the_interval_of_a_gap_near_others_covers_as_often_as_it_says():
    each, _ = share_covered([0.3, 0.3], d=8, n_prompts=60, n=120)
    assert wilson(round(240 * each), 240).low < 0.95 < wilson(round(240 * each), 240).high
    assert each >= 0.92


def test_the_interval_of_the_smallest_of_equal_gaps_is_not_misled_by_the_luckiest_error():
    each, least = share_covered([0.5] * 6, d=6, n_prompts=60, n=100)
    assert each >= 0.92
    assert least >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.15, 0.3, 0.6, 0.85])
@pytest.mark.parametrize("d", [8, 32])
@pytest.mark.parametrize("n_prompts", [30, 60, 150])
def test_the_interval_covers_the_gap_over_the_whole_grid(gap, d, n_prompts):
    each, _ = share_covered([gap] * 4, d=d, n_prompts=n_prompts, n=75)
    assert 0.92 <= each <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(
    "gaps", [[0.3, 0.8, 0.8, 0.8], [0.5] * 8, [0.5, 0.52, 0.55, 0.6], [0.4, 0.4, 0.9, 0.9]]
)
def test_the_interval_covers_the_smallest_gap_among_clear_near_and_equal_ones(gaps):
    _, least = share_covered(gaps, d=8, n_prompts=80, n=300)
    assert 0.93 <= least <= 0.99


def test_one_contender_has_its_own_interval_and_equals_have_a_higher_upper_end():
    draws = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    half = torch.full((3,), 0.2).double()
    clear = Corrected(torch.tensor([1.0, 3.0, 4.0]).double(), half, draws, PLAIN)
    low, high = smallest(clear)
    assert (float(low), float(high)) == (pytest.approx(0.8), pytest.approx(1.2))
    equal = Corrected(torch.ones(3).double(), half, draws, PLAIN)
    low, high = smallest(equal)
    # The largest of three normal errors is below 2.39 in 97.5 of 100: 0.975 ** (1 / 3).
    assert float(low) == pytest.approx(0.8)
    assert float(high) == pytest.approx(1 + 0.2 * 2.39 / 1.96, abs=0.01)


@pytest.mark.parametrize("scale", [PLAIN, LOGARITHM, LOG_OF_REST])
def test_scales_rise_and_come_back(scale):
    values = torch.tensor([0.05, 0.3, 0.9]).double()
    forward = scale.forward(values)
    assert bool((forward.diff() > 0).all())
    assert torch.allclose(scale.back(forward), values)

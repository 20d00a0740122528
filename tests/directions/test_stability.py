from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from steerscope.directions import METHODS, find_direction
from steerscope.directions.stability import (
    LearningCurve,
    jackknife,
    learning_curve,
    pairs_needed,
    split_half,
)
from steerscope.errors import BadValueError, DegenerateDirectionError
from steerscope.extraction.activations import Contrast
from steerscope.sites import Site
from tests.helpers import origin, planted_contrast, rounding, with_evidence

SITE = Site("resid_post", 1)


def noisy(n_pairs, *, d=400, length=2.0, noise=0.5, seed=0):
    """Differences of a known length with independent noise along all axes.

    The mean difference then has n₀ = d noise² / length².
    """
    generator = torch.Generator().manual_seed(seed)
    truth = torch.zeros(d)
    truth[0] = 1.0
    differences = length * truth + noise * torch.randn(n_pairs, d, generator=generator)
    contrast = Contrast(SITE, differences, torch.zeros(n_pairs, d), 10.0, origin())
    return contrast, truth


def test_split_halves_agree_as_their_noise_predicts():
    contrast, _ = noisy(100)  # n₀ = 400 / 4 * 0.25 = 25, so halves of 50 agree to 50 / 75
    found = split_half(contrast, "mean_diff")
    assert found.value == pytest.approx(50 / 75, abs=0.05)
    assert found.low < found.value < found.high
    assert found.n == 100
    assert found == split_half(contrast, "mean_diff")
    assert found != split_half(contrast, "mean_diff", seed=1)


def test_halves_are_disjoint():
    # Pair i points along axis i alone: directions of disjoint halves are orthogonal.
    contrast = Contrast(SITE, torch.eye(9), torch.zeros(9, 9), 1.0, origin())
    found = split_half(contrast, "mean_diff", n_splits=5)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    curve = learning_curve(contrast, "mean_diff", [2, 4])
    assert (curve.between == 0).all()


def test_pairs_without_noise_agree_fully():
    contrast, _ = noisy(12, noise=0.0)
    assert split_half(contrast, "mean_diff").value == pytest.approx(1.0)
    found = jackknife(contrast, "mean_diff")
    np.testing.assert_allclose(found.cosines, 1.0, rtol=rounding(32, 1.0))
    assert found.standard_error == pytest.approx(0.0, abs=rounding(32, 1.0))
    needed = pairs_needed(learning_curve(contrast, "mean_diff", [3, 6]))
    assert needed.pairs == pytest.approx(0.0, abs=1e-3)


def test_the_jackknife_by_hand():
    # Without one pair the mean is along (1, 1), (1, 0) or (0, 1): unit vectors at 45, 0, 90 degrees.
    differences = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    contrast = Contrast(SITE, differences, torch.zeros(3, 2), 0.1, origin())
    found = jackknife(contrast, "mean_diff")
    root = math.sqrt(0.5)
    np.testing.assert_allclose(found.cosines, [1.0, root, root], rtol=rounding(8, 1.0))
    units = np.array([[root, root], [1.0, 0.0], [0.0, 1.0]])
    spread = ((units - units.mean(axis=0)) ** 2).sum()
    assert found.standard_error == pytest.approx(math.sqrt(2 / 3 * spread), rel=rounding(8, 1.0))


def test_the_standard_error_is_the_error_that_other_pairs_show():
    estimates, units = [], []
    for seed in range(20):
        contrast, truth = noisy(40, d=50, noise=0.5, seed=seed)
        units.append(find_direction("mean_diff", contrast).unit)
        estimates.append(jackknife(contrast, "mean_diff").standard_error)
    spread = torch.stack(units) - torch.stack(units).mean(dim=0)
    measured = float((spread.square().sum() / 19).sqrt())
    assert np.mean(estimates) == pytest.approx(measured, rel=0.15)


def test_an_odd_pair_out_is_marked():
    contrast, _ = noisy(20, d=30, noise=0.1)
    positive = contrast.positive.clone()
    positive[7] = 0.0
    positive[7, 5] = 30.0
    odd = Contrast(SITE, positive, contrast.negative, 10.0, origin())
    assert int(jackknife(odd, "mean_diff").cosines.argmin()) == 7


def test_the_curve_rises_to_the_full_direction():
    contrast, _ = noisy(80)
    curve = learning_curve(contrast, "mean_diff", [5, 20, 40, 80], n_draws=20)
    medians = curve.medians()
    full = [to_full.value for _, to_full, _ in medians]
    assert full == sorted(full)
    assert full[-1] == pytest.approx(1.0, abs=rounding(32, 1.0))
    for size, _, between in medians[:3]:
        assert between.value == pytest.approx(size / (size + 25), abs=0.06)
        assert between.low <= between.value <= between.high
    assert np.isnan(curve.between[-1]).all()
    assert learning_curve(contrast, "mean_diff").sizes == (4, 8, 16, 32, 40)


def test_the_number_of_pairs_is_that_of_the_noise():
    contrast, _ = noisy(300)
    curve = learning_curve(contrast, "mean_diff", [10, 30, 75, 150], n_draws=20)
    found = pairs_needed(curve, cosine=0.9)
    assert found.pairs == pytest.approx(9 * 25, rel=0.1)
    assert found.low <= found.pairs <= found.high
    assert found.misfit < 0.03
    assert found.extrapolated
    assert "you need about" in str(found)
    assert "measured up to 150, so this is an extrapolation" in str(found)
    inside = pairs_needed(curve, cosine=0.8)
    assert not inside.extrapolated
    assert "extrapolation" not in str(inside)
    # What it says of 225 pairs is so: fresh ones agree to 0.9.
    one, other = (noisy(225, seed=s)[0] for s in (11, 12))
    units = [find_direction("mean_diff", c).unit for c in (one, other)]
    assert float(units[0] @ units[1]) == pytest.approx(0.9, abs=0.03)


def test_the_fit_by_hand():
    sizes = (2, 8)
    between = np.array([[2 / 6] * 3, [8 / 12] * 3])
    curve = LearningCurve("mean_diff", sizes, between, between)
    found = pairs_needed(curve, cosine=0.75)
    assert found.half == pytest.approx(4.0, rel=1e-5)
    assert (found.pairs, found.low, found.high) == pytest.approx((12.0, 12.0, 12.0), rel=1e-5)
    assert found.misfit == pytest.approx(0.0, abs=1e-6)


def test_fewer_pairs_than_were_measured_are_not_counted():
    clean = np.array([[0.999] * 3, [0.9995] * 3])
    found = pairs_needed(LearningCurve("mean_diff", (4, 8), clean, clean))
    assert 0 < found.high < 1
    wide = replace(found, high=6.0)
    assert "you need about 1 pair (1 to 6)" in str(wide)
    assert "you need no more than 4 pairs, the fewest measured, for a split-half" in str(found)
    fair = np.array([[4 / 5] * 3, [8 / 9] * 3])  # n / (n + 1)
    assert "you need about 9 pairs (9 to 9)" in str(
        pairs_needed(LearningCurve("mean_diff", (4, 8), fair, fair))
    )


def test_a_poor_fit_is_said():
    flat = np.array([[0.1] * 3, [0.9] * 3])
    found = pairs_needed(LearningCurve("repe", (4, 8), flat, flat))
    assert found.fits_poorly
    assert "rough guide at best" in str(found)
    fitting = np.array([[4 / 8] * 3, [8 / 12] * 3])
    assert "rough guide" not in str(pairs_needed(LearningCurve("repe", (4, 8), fitting, fitting)))


def test_where_nothing_agrees_no_number_is_made_up():
    curve = learning_curve(noisy(60, length=0.0)[0], "mean_diff", [5, 10, 20])
    contrary = LearningCurve("x", curve.sizes, curve.to_full, -np.abs(curve.between))
    found = pairs_needed(contrary)
    assert math.isinf(found.pairs)
    assert found.extrapolated
    assert "no number of pairs" in str(found)


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_can_be_asked(method):
    contrast, truth = planted_contrast(n_pairs=16, d=30)
    contrast = with_evidence(contrast, truth)
    assert -1 <= split_half(contrast, method, n_splits=2).value <= 1
    assert np.isfinite(jackknife(contrast.take(torch.arange(5)), method).cosines).all()


def test_too_few_pairs_are_named():
    contrast, _ = noisy(5)
    with pytest.raises(BadValueError, match="at least 2 pairs, got 1"):
        split_half(contrast.take(torch.tensor([0])), "mean_diff")
    with pytest.raises(BadValueError, match="at least 2 pairs, got 1"):
        jackknife(contrast.take(torch.tensor([0])), "mean_diff")
    with pytest.raises(DegenerateDirectionError, match="at least 3 pairs, got 2"):
        split_half(contrast, "whitened")
    for sizes in ([0, 2], [9], []):
        with pytest.raises(BadValueError, match="between 1 and the 5 pairs"):
            learning_curve(contrast, "mean_diff", sizes)
    with pytest.raises(BadValueError, match="at least 8 pairs"):
        learning_curve(contrast, "mean_diff")
    curve = learning_curve(contrast, "mean_diff", [4])
    with pytest.raises(BadValueError, match="no size has two disjoint draws"):
        pairs_needed(curve)
    with pytest.raises(BadValueError, match="must lie between 0 and 1"):
        pairs_needed(learning_curve(contrast, "mean_diff", [2]), cosine=1.0)

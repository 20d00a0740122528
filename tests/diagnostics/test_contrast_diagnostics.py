from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from steerscope.diagnostics import (
    explained_variance,
    half_agreement,
    pair_stability,
    probe_accuracy,
    separation,
    signal_to_noise,
    visible_share,
)
from steerscope.diagnostics.table import LayerValue, as_table, bootstrap_weights, interval
from steerscope.errors import DegenerateDirectionError
from steerscope.extraction.activations import Contrast
from steerscope.sites import Site
from tests.helpers import origin, planted_contrast


def contrast(positive, negative, relative=2.0):
    return Contrast(
        Site("resid_post", 1), torch.tensor(positive), torch.tensor(negative), relative, origin()
    )


BY_HAND = contrast([[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]])


def test_separation_noise_and_stability_by_hand():
    # The differences are (3, 0) and (0, 4), their mean (1.5, 2) of length 2.5.
    assert separation(BY_HAND).value == pytest.approx(2.5 / 2)
    # Both lie 2.5 from the mean.
    assert signal_to_noise(BY_HAND).value == pytest.approx(1.0)
    assert pair_stability(BY_HAND).value == pytest.approx(0.0)
    tilted = contrast([[1.0, 0.0], [1.0, 1.0], [2.0, 0.0]], [[0.0, 0.0]] * 3)
    assert pair_stability(tilted).value == pytest.approx((1 + 2 * math.sqrt(0.5)) / 3)


def test_explained_variance_by_hand():
    fit = contrast([[1.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]])
    found = explained_variance(fit, BY_HAND)
    assert found.value == pytest.approx(9 / 25)
    assert found.null == 0.5


def test_a_bootstrap_sample_is_the_statistic_of_the_drawn_pairs():
    """Of seven pairs drawn, with 6 parts of 7 from products of different pairs and one from their squares."""
    planted, _ = planted_contrast(n_pairs=7, d=5)
    gathered = []
    for weights in bootstrap_weights(7, seed=3):
        drawn = torch.arange(7).repeat_interleave(weights.long()).tolist()
        d = planted.differences.double()
        products = [float(d[i] @ d[j]) for i in drawn for j in drawn if i != j]
        if products:
            square = 6 / 7 * np.mean(products) + np.mean([float(d[i] @ d[i]) for i in drawn]) / 7
            gathered.append(max(0.0, square) ** 0.5 / planted.relative)
    low, high = interval(torch.tensor(gathered))
    found = separation(planted, seed=3)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(("n_pairs", "length"), [(40, 3.0), (20, 8.0)])
def test_the_interval_of_a_length_in_a_wide_space_holds_its_value_and_that_of_other_pairs(
    n_pairs, length
):
    """The noise of the pairs adds tr Σ / n to the squared length: once to the value, and no second time to a draw."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros(300)
    mean[[0, -1]] = length / math.sqrt(2)
    half = torch.eye(300)[:150]
    zeros = torch.zeros(n_pairs, 300)
    drawn = [mean + torch.randn(n_pairs, 300, generator=generator) for _ in range(40)]
    for measure in (separation, signal_to_noise, lambda c: visible_share(c, half)):
        found = [measure(Contrast(Site("resid_post", 1), d, zeros, 1.0, origin())) for d in drawn]
        expected = np.mean([v.value for v in found])
        assert all(v.low <= v.value <= v.high for v in found)
        assert np.mean([v.low <= expected <= v.high for v in found]) > 0.85


def test_repeated_pairs_do_not_count_as_stable():
    """A sample that draws a pair twice must not compare it with itself."""
    noise = torch.randn(12, 200, generator=torch.Generator().manual_seed(0))
    found = pair_stability(Contrast(Site("resid_post", 1), noise, 0 * noise, 1.0, origin()))
    assert found.high < 0.08  # a twelfth of the pairs compared with themselves adds as much


@pytest.mark.parametrize("measure", [separation, signal_to_noise, pair_stability])
def test_a_planted_difference_stands_above_its_null(measure):
    planted, _ = planted_contrast(length=3.0, noise=0.2)
    found = measure(planted)
    assert found.low <= found.value <= found.high
    assert found.low > found.null + 0.1
    assert (found.layer, found.n) == (1, 60)
    nothing, _ = planted_contrast(length=0.0, noise=1.0)
    empty = measure(nothing)
    assert empty.value == pytest.approx(empty.null, rel=0.3, abs=0.02)


def test_a_probe_finds_a_planted_class_on_pairs_that_it_has_not_seen():
    fit, _ = planted_contrast(length=6.0, seed=0)
    held_out, truth = planted_contrast(length=6.0, seed=0, n_pairs=60)
    found = probe_accuracy(fit, held_out)
    assert found.value > 0.98
    assert 0.45 < found.null < 0.75
    # By hand: threshold halfway between the class means of `fit`, at 1.
    one = contrast([[2.0], [2.0]], [[0.0], [0.0]])
    other = contrast([[1.5], [0.5], [3.0]], [[0.5], [0.0], [1.2]])
    assert probe_accuracy(one, other).value == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert probe_accuracy(one, other).n == 3


def test_what_does_not_differ_is_refused():
    with pytest.raises(DegenerateDirectionError, match="at least 2 pairs"):
        separation(contrast([[1.0]], [[0.0]]))
    with pytest.raises(DegenerateDirectionError, match="pairs that differ"):
        pair_stability(contrast([[1.0], [1.0]], [[1.0], [1.0]]))


def test_a_table_has_one_row_per_value_and_its_unit():
    table = as_table([LayerValue("separation", 2, 1.0, 0.5, 1.5, "relative units", 9)])
    assert list(table.columns) == [
        "diagnostic", "layer", "value", "low", "high", "unit", "n", "null",
    ]  # fmt: skip
    assert table.iloc[0].unit == "relative units"
    assert np.isnan(table.iloc[0].null)
    assert list(as_table([]).columns) == list(table.columns)


def test_halves_of_a_planted_contrast_agree_and_those_of_noise_do_not():
    planted, _ = planted_contrast(n_pairs=40)
    assert half_agreement(planted).value > 0.95
    noise = torch.randn(2, 40, 100, generator=torch.Generator().manual_seed(0)).tolist()
    found = half_agreement(contrast(*noise))
    assert abs(found.value) < 0.15
    assert found.null == 0.0


def test_the_logistic_probe_is_judged_on_other_pairs_under_its_own_name():
    fit, held_out = (planted_contrast(n_pairs=40, length=4.0, seed=0)[0].take(torch.arange(*part))
                     for part in ((0, 20), (20, 40)))  # fmt: skip
    found = probe_accuracy(fit, held_out, method="logistic_probe")
    assert found.diagnostic == "logistic_probe_accuracy"
    assert found.value > 0.85
    assert found.null < 0.75

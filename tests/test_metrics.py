from __future__ import annotations

import math

import pytest
import torch

from steerscope.metrics import (
    change_rate,
    distinct_n,
    is_degenerate,
    kl_divergence,
    longest_run,
    repetition,
)


def test_kl_is_that_of_torch_and_zero_for_equal_logits():
    generator = torch.Generator().manual_seed(0)
    steered, plain = torch.randn(2, 2, 3, 7, generator=generator)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=steered),
        torch.distributions.Categorical(logits=plain),
    )
    torch.testing.assert_close(kl_divergence(steered, plain), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(kl_divergence(plain, plain), torch.zeros(2, 3))


def test_kl_by_hand_and_its_direction():
    steered, plain = torch.log(torch.tensor([0.5, 0.5])), torch.log(torch.tensor([0.9, 0.1]))
    assert float(kl_divergence(steered, plain)) == pytest.approx(
        0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1), rel=1e-5
    )


def test_kl_stays_finite_where_a_softmax_would_underflow():
    steered, plain = torch.tensor([1000.0, 0.0]), torch.tensor([0.0, 1000.0])
    assert float(kl_divergence(steered, plain)) == pytest.approx(1000.0)


def test_change_rate_by_hand():
    assert change_rate([[1, 2], [3]], [[1, 2], [4]]) == 0.5
    assert math.isnan(change_rate([], []))


def test_distinct_n_and_repetition_by_hand():
    assert distinct_n([1, 2, 1, 2], 2) == pytest.approx(2 / 3)  # 12 21 12
    assert repetition([1, 2, 3, 1, 2, 3, 1], 3) == pytest.approx(1 - 3 / 5)
    assert math.isnan(distinct_n([1], 2))


def test_runs_of_short_units_are_found():
    assert longest_run([1, 2, 3, 4]) == 1
    assert longest_run([9, 5, 5, 5, 5, 1]) == 4
    assert longest_run([9, 1, 2, 1, 2, 1, 2, 7]) == 6
    assert longest_run([]) == 0


@pytest.mark.parametrize(
    ("tokens", "collapsed"),
    [
        ([7] * 12, True),
        ([1, 2, 3] * 6, True),
        (list(range(20)), False),
        ([1, 2, 3, 4, 5, 6, 7, 8] * 3, True),  # 13 of 21 4-grams again
        ([*range(30), 1, 2, 3, 4, 5], False),
        ([7] * 7, False),  # too short to tell
    ],
)
def test_collapse_is_recognised(tokens, collapsed):
    assert is_degenerate(tokens) is collapsed

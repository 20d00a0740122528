from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Categorical
from torch.distributions import kl_divergence as torch_kl

from steerscope.metrics import (
    change_rate,
    distinct_across,
    distinct_n,
    divergences_from_log_q,
    is_degenerate,
    kl_divergence,
    longest_run,
    repetition,
    self_bleu,
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


def test_diversity_across_texts_counts_their_n_grams_together():
    # bigrams: 12 23, 12 24 -> 3 different of 4
    assert distinct_across([[1, 2, 3], [1, 2, 4]], 2) == pytest.approx(3 / 4)
    assert math.isnan(distinct_across([[1]], 2))


def test_self_bleu_is_one_for_the_same_text_and_what_the_formula_gives_by_hand():
    assert self_bleu([[1, 2, 3, 4, 5]] * 3) == pytest.approx(1.0)
    # of 1 2 3 4 against 1 2 3 5: precisions 3/4, 2/3, 1/2 and 0.1/1, no penalty, both ways alike
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 0.1) ** (1 / 4)
    assert self_bleu([[1, 2, 3, 4], [1, 2, 3, 5]]) == pytest.approx(expected)
    # 1 2 against 1 2 3: precisions 1 and 1, penalty exp(1 - 3/2); back: 2/3, 1/2, 0.1/1
    there, back = math.exp(-0.5), (2 / 3 * 1 / 2 * 0.1) ** (1 / 3)
    assert self_bleu([[1, 2], [1, 2, 3]]) == pytest.approx((there + back) / 2)
    assert math.isnan(self_bleu([[1, 2], []]))


def test_divergences_are_those_of_torch_and_jensen_shannon_is_bounded():
    generator = torch.Generator().manual_seed(0)
    steered = 4 * torch.randn(3, 5, 11, generator=generator)
    plain = 4 * torch.randn(2, 5, 11, generator=generator)
    which = torch.tensor([0, 1, 1])
    found = divergences_from_log_q(steered, plain.log_softmax(-1), which)
    p, q = Categorical(logits=steered), Categorical(logits=plain[which])
    m = Categorical(probs=(p.probs + q.probs) / 2)
    js = (torch_kl(p, m) + torch_kl(q, m)) / 2
    for mine, theirs in zip(found, (torch_kl(p, q), torch_kl(q, p), js), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    assert (found[2] < math.log(2)).all()
    same = divergences_from_log_q(plain, plain.log_softmax(-1), torch.arange(2))
    for values in same:
        torch.testing.assert_close(values, torch.zeros_like(values), atol=1e-6, rtol=0)

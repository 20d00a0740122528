"""Attention as kernel ridge regression: the formula by hand, a head that is one, and real heads."""

from __future__ import annotations

import pytest
import torch

from steerscope.eigengaps.ridge import attention_ridge, best_fit, fit_of, ridge_output
from steerscope.errors import BadValueError, UnknownNameError


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_one_token_by_hand():
    q, k, v = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0]])
    found = ridge_output(q, k, v, kernel="linear", ridge=0.5)
    assert float(found) == pytest.approx((2 / 2) / (1 + 0.5) * 3)  # k(q, k) = 1, k(k, k) = 1


@pytest.mark.parametrize("kernel", ["linear", "exponential"])
def test_each_position_knows_only_what_came_before(kernel):
    q, k, v = numbers(6, 4), numbers(6, 4, seed=1), numbers(6, 3, seed=2)
    whole = ridge_output(q, k, v, kernel=kernel, ridge=0.1)
    part = ridge_output(q[:4], k[:4], v[:4], kernel=kernel, ridge=0.1)
    torch.testing.assert_close(whole[:4], part, rtol=1e-6, atol=1e-8)


def test_at_a_key_that_was_seen_little_ridge_gives_its_value_back():
    k, v = numbers(4, 8, seed=1), numbers(4, 3, seed=2)
    k = 3 * k / k.norm(dim=1, keepdim=True)
    found = ridge_output(k, k, v, kernel="exponential", ridge=1e-9)
    torch.testing.assert_close(found, v.double(), rtol=1e-4, atol=1e-4)


def test_a_fit_is_one_for_the_output_itself_and_zero_for_its_mean():
    output = numbers(9, 3)
    assert fit_of(output, output.double()) == (1.0, 0.0)
    mean = output.double().mean(dim=0).expand(9, 3)
    assert fit_of(output, mean)[0] == pytest.approx(0.0, abs=1e-6)


def test_real_heads_have_a_row_for_every_kernel_and_ridge(microworld):
    prompts = ["One day, Clara was happy and went to the garden.", "Tom was sad."]
    table = attention_ridge(microworld, prompts, layers=[3], ridges=[0.1, 1.0])
    assert len(table) == microworld.shape.n_heads * 2 * 2
    best = best_fit(table)
    assert len(best) == microworld.shape.n_heads
    assert (best.r2 >= table.groupby("head").r2.max().to_numpy() - 1e-12).all()
    assert table.r2.max() <= 1
    assert table.r2_mean.notna().all()


def test_what_has_no_meaning_is_refused(microworld):
    q = numbers(2, 4)
    with pytest.raises(UnknownNameError, match="kernel"):
        ridge_output(q, q, q, kernel="cubic", ridge=1.0)
    with pytest.raises(BadValueError, match="above 0"):
        ridge_output(q, q, q, kernel="linear", ridge=0.0)

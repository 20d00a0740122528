from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from steerscope.eigengaps import (
    absolute_gap,
    effective_rank,
    gram_eigenvalues,
    participation_ratio,
    spectral_entropy,
    spectral_gap,
)
from steerscope.eigengaps.nulls import permuted_keys, random_keys
from tests.helpers import rounding


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_covariance(variances, n_tokens=4000, seed=0):
    """Keys whose covariance has these eigenvalues along axes that are not the components."""
    d = len(variances)
    turn = torch.linalg.qr(drawn(d, d, seed=seed + 1)).Q
    return drawn(n_tokens, d, seed=seed) * torch.tensor(variances).sqrt() @ turn


@pytest.mark.parametrize("shape", [(2, 3, 8), (2, 9, 4)])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_keys_that_are_not_finite_have_eigenvalues_that_are_not_known(shape, value):
    keys = drawn(*shape)
    whole = gram_eigenvalues(keys, ridge=0.1)
    keys[0, 1, 2] = value
    found = gram_eigenvalues(keys, ridge=0.1)
    assert found[0].isnan().all()
    assert spectral_gap(found[0]).isnan()
    torch.testing.assert_close(found[1], whole[1])


@pytest.mark.parametrize("n_tokens", [3, 7, 8, 30])
@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_the_smaller_side_has_the_eigenvalues_of_the_whole_gram_matrix(n_tokens, ridge):
    keys = drawn(2, 3, n_tokens, 8)
    found = gram_eigenvalues(keys, ridge=ridge)
    for layer in range(2):
        for head in range(3):
            k = keys[layer, head].double().numpy()
            whole = np.linalg.eigvalsh(k @ k.T / 8 + ridge * np.eye(n_tokens))
            wanted = whole if ridge else whole[-min(n_tokens, 8) :]
            assert found[layer, head].numpy() == pytest.approx(
                wanted, abs=rounding(8 * n_tokens, float(wanted[-1]), found.dtype)
            )


def test_a_planted_spectrum_is_recovered():
    variances = [9.0, 3.0, 1.0, 1.0, 1.0, 1.0]
    eigenvalues = gram_eigenvalues(with_covariance(variances))
    assert float(spectral_gap(eigenvalues)) == pytest.approx(6 / 9, abs=0.03)
    assert float(participation_ratio(eigenvalues)) == pytest.approx(16**2 / 94, rel=0.05)
    assert float(absolute_gap(eigenvalues)) == pytest.approx(4000 * 6 / 6, rel=0.07)


def test_both_nulls_destroy_a_planted_gap_and_keep_what_they_promise():
    keys = with_covariance([25.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], n_tokens=2000)
    generator = torch.Generator().manual_seed(3)
    assert float(spectral_gap(gram_eigenvalues(keys))) > 0.9
    turned, permuted = random_keys(keys, generator), permuted_keys(keys, generator)
    assert float(spectral_gap(gram_eigenvalues(turned))) < 0.2
    components = (keys**2).sum(dim=0).sort().values / 8  # what is left: the axes' own variances
    left = (components[-1] - components[-2]) / components[-1]
    assert float(spectral_gap(gram_eigenvalues(permuted))) == pytest.approx(float(left), abs=0.15)
    assert float(left) < 0.6
    assert torch.allclose(turned.norm(dim=-1), keys.norm(dim=-1), rtol=1e-4)
    assert torch.equal(permuted.sort(dim=0).values, keys.sort(dim=0).values)


def test_statistics_of_a_spectrum_by_hand():
    values = torch.tensor([1.0, 1.0, 2.0])
    assert float(spectral_gap(values)) == 0.5
    assert float(absolute_gap(values)) == 1.0
    assert float(spectral_gap(values, guard=2.0)) == 0.25
    assert float(participation_ratio(values)) == pytest.approx(16 / 6)
    assert float(participation_ratio(torch.ones(5))) == pytest.approx(5.0)
    assert float(spectral_entropy(values)) == pytest.approx(1.5 * math.log(2))
    assert float(effective_rank(torch.ones(5))) == pytest.approx(5.0)
    assert float(effective_rank(torch.tensor([0.0, 0.0, 3.0]))) == pytest.approx(1.0)
    assert float(spectral_gap(torch.tensor([3.0]))) == 1.0

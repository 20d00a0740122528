from __future__ import annotations

import numpy as np
import pytest
import torch

from steerscope.errors import BadValueError
from steerscope.sites import Site
from steerscope.spectra import effective_rank, eigengap, participation_ratio, spectral_gap

PROMPTS = [[1, 5, 9, 30, 31], [1, 7, 20, 33, 41, 42, 43], [1, 8, 30], [1, 50, 51, 52]]


def keys_of(model, layer, head, first):
    rows = []
    for prompt in PROMPTS:
        site = Site("k", layer, head)
        with torch.no_grad():
            rows.append(model.read(torch.tensor([prompt]), [site])[site][0, first:])
    return torch.cat(rows).double().numpy()


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("include_first", [True, False])
def test_the_gap_is_that_of_the_gram_matrix(tiny, centred, include_first):
    found = eigengap(tiny, PROMPTS, centred=centred, include_first=include_first, n_bootstrap=5)
    assert found.gap.shape == (3, 2)  # two key-value heads serve four query heads
    for layer in range(3):
        for head in range(2):
            keys = keys_of(tiny, layer, head, 0 if include_first else 1)
            keys = keys - keys.mean(axis=0) if centred else keys
            values = np.sort(np.linalg.eigvalsh(keys @ keys.T / tiny.shape.d_head))[::-1]
            gap = (values[0] - values[1]) / values[0]
            assert float(found.gap[layer, head]) == pytest.approx(gap, abs=1e-4)
            positive = values[values > 1e-9 * values[0]]
            ratio = positive.sum() ** 2 / (positive**2).sum()
            assert float(found.participation_ratio[layer, head]) == pytest.approx(ratio, rel=1e-3)
    assert found.n_tokens == sum(len(p) for p in PROMPTS) - (0 if include_first else len(PROMPTS))


def test_the_weakest_link_is_the_smallest_gap_of_the_layer(tiny):
    found = eigengap(tiny, PROMPTS, n_bootstrap=5)
    gaps, heads = found.weakest_link()
    for layer in range(3):
        assert float(gaps[layer]) == float(found.gap[layer].min())
        assert int(heads[layer]) == int(found.gap[layer].argmin())


def test_intervals_hold_the_gap_of_most_heads_and_shrink_with_prompts(microworld):
    texts = [
        f"{n} was at the {p} late."
        for n in ("Mia", "Tom", "Ivy")
        for p in ("pier", "garden", "shop")
    ]
    found = eigengap(microworld, texts, n_bootstrap=100)
    inside = (found.low <= found.gap) & (found.gap <= found.high)
    assert float(inside.float().mean()) > 0.7
    assert bool((found.low < found.high).all())
    assert bool((found.null_gap < found.gap.max()).all())


def test_statistics_of_a_spectrum_by_hand():
    values = torch.tensor([1.0, 1.0, 2.0])
    assert float(spectral_gap(values)) == 0.5
    assert float(participation_ratio(values)) == pytest.approx(16 / 6)
    assert float(participation_ratio(torch.ones(5))) == pytest.approx(5.0)
    assert float(effective_rank(torch.ones(5))) == pytest.approx(5.0)
    assert float(effective_rank(torch.tensor([0.0, 0.0, 3.0]))) == pytest.approx(1.0)


def test_one_prompt_has_no_interval(tiny):
    with pytest.raises(BadValueError, match="at least 2 prompts"):
        eigengap(tiny, PROMPTS[:1])

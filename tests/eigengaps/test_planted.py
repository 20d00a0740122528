"""A transformer whose key covariance is known by construction, so that its eigengap is too."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerscope.eigengaps import KeyView, eigengap
from steerscope.models.loading import load_model
from steerscope.statistics import wilson

LAYER, HEAD = 1, 1
N_PROMPTS, LENGTH, FIRST_ID, N_IDS = 30, 12, 10, 64


@pytest.fixture
def planted(tiny_folder):
    """A tiny Llama that gives head 1 of layer 1 keys of covariance diag(spectrum).

    Embeddings are rows of a Hadamard matrix without its constant column: under uniform tokens their
    mean is 0 and their covariance I, and all have the same length, so that the norm leaves them as
    they are. Nothing is written to the residual stream before the head.
    """
    model = load_model(tiny_folder("llama"), backbone="hooked")
    net = model.transformer
    hadamard = np.ones((1, 1))
    while len(hadamard) < N_IDS:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])

    def plant(spectrum):
        turned = np.linalg.qr(np.random.default_rng(0).normal(size=(32, 8)))[0]
        with torch.no_grad():
            net.embed.W_E[FIRST_ID : FIRST_ID + N_IDS] = torch.tensor(hadamard[:, 1:33]).float()
            for block in net.blocks:
                block.attn.W_O.zero_()
                block.mlp.W_out.zero_()
                block.ln1.w.fill_(1.0)
            weight = net.blocks[LAYER].attn._W_K  # one matrix per key-value head
            weight[HEAD] = torch.tensor(turned * np.sqrt(spectrum)).float()
        return model

    return plant


def prompts_of(seed):
    """Prompts whose tokens repeat the one before with probability 0.3 and are uniform otherwise."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(FIRST_ID, FIRST_ID + N_IDS, size=(N_PROMPTS, LENGTH))
    repeats = rng.random((N_PROMPTS, LENGTH)) < 0.3
    for t in range(1, LENGTH):
        drawn[:, t] = np.where(repeats[:, t], drawn[:, t - 1], drawn[:, t])
    return [[1, *map(int, row)] for row in drawn]


def n_covered(model, gap, n):
    """In how many repetitions the interval of the planted head covers its gap."""
    found = 0
    for seed in range(n):
        spectra = eigengap(model, prompts_of(seed), KeyView(), n_bootstrap=200, seed=seed)
        found += float(spectra.low[LAYER, HEAD]) <= gap <= float(spectra.high[LAYER, HEAD])
    return found


def test_the_planted_covariance_is_that_of_the_keys(planted):
    model = planted(np.array([1.0, *(0.4 / np.arange(1, 8))]))
    everything = [[1, i] for i in range(FIRST_ID, FIRST_ID + N_IDS)]
    found = eigengap(model, everything, n_bootstrap=5)
    assert float(found.gap[LAYER, HEAD]) == pytest.approx(0.6, abs=1e-3)


def test_permuted_keys_keep_a_gap_of_unequal_components_that_random_ones_lose(planted):
    model = planted(np.array([1.0, *(0.4 / np.arange(1, 8))]))
    nulls = eigengap(model, prompts_of(0), n_bootstrap=5).nulls
    assert float(nulls["permuted"][LAYER, HEAD]) == pytest.approx(0.6, abs=0.15)
    assert float(nulls["random"][LAYER, HEAD]) < 0.3


def test_the_interval_covers_a_planted_gap(planted):
    model = planted(np.array([1.0, *(0.4 / np.arange(1, 8))]))
    assert n_covered(model, 0.6, 10) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.3, 0.6, 0.85])
def test_the_interval_covers_a_planted_gap_in_93_of_100_repetitions(planted, gap):
    model = planted(np.array([1.0, *((1 - gap) / np.arange(1, 8))]))
    assert n_covered(model, gap, 100) >= 93
    assert wilson(93, 100).low < 0.95

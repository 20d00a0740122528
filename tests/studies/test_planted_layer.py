"""A transformer of which one layer can be steered by construction, found with an interval that covers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerscope.directions import find_direction
from steerscope.engine.matched_kl import Matching
from steerscope.extraction.activations import extract
from steerscope.models.loading import load_model
from steerscope.sites import Site
from steerscope.studies.predictors.measure import measure_steerability
from steerscope.texts.contrasts import ContrastPair, ContrastSet

LAYER = 1
WORDS = range(10, 74)  # half of them of each class
YES, NO = "w90", "w91"
CONSTANT, CLASS, SEEN = 0, 1, 2  # axes of the residual stream
DOSE = 0.1
SITES = [Site("resid_post", layer) for layer in range(3)]


@pytest.fixture
def planted(tiny_folder):
    """A tiny Llama of which the output of block 1 is the place to steer.

    A word carries its class on one axis, and the last norm and unembedding look at another. Block 1
    writes the class there, but as a step: a nudge before it is lost. Block 2 makes what it finds
    there three times as large: a nudge after it is too late for that.
    """
    model = load_model(tiny_folder("llama"), backbone="hooked")
    net = model.transformer
    hadamard = np.ones((1, 1))
    while len(hadamard) < len(WORDS):
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    words = torch.tensor(hadamard[:, 1:33]).float()
    words[:, CONSTANT], words[:, SEEN] = 1.0, 0.0
    words[:, CLASS] = torch.where(torch.arange(len(WORDS)) < len(WORDS) // 2, 1.0, -1.0)
    with torch.no_grad():
        net.embed.W_E[WORDS.start : WORDS.stop] = words
        net.unembed.W_U.zero_()
        net.unembed.W_U[SEEN, 90], net.unembed.W_U[SEEN, 91] = 2.0, -2.0
        for block in net.blocks:
            block.attn.W_O.zero_()
            for weight in (block.mlp.W_gate, block.mlp.W_in, block.mlp.W_out):
                weight.zero_()
            block.ln2.w.fill_(1.0)
        net.ln_final.w.fill_(1.0)
        steep = 40.0
        step, gain = net.blocks[1].mlp, net.blocks[2].mlp
        for neuron, (threshold, sign) in enumerate(((-0.3, 1.0), (0.3, -1.0))):
            step.W_gate[CLASS, neuron], step.W_gate[CONSTANT, neuron] = steep, -threshold * steep
            step.W_in[CONSTANT, neuron] = 1.0
            step.W_out[neuron, SEEN] = sign / steep / 0.6
        gain.W_gate[CONSTANT, 0] = gain.W_in[SEEN, 0] = 1.0
        gain.W_out[0, SEEN] = 2.0 / float(torch.nn.functional.silu(torch.tensor(1.0)))
    return model


def directions_of(model):
    half = len(WORDS) // 2
    pairs = [ContrastPair(f"w{i}", f"w{i + half}", "class") for i in WORDS[:half]]
    found = extract(model, ContrastSet("words", tuple(pairs)), SITES)
    return [find_direction("mean_diff", found[site]) for site in SITES]


def steerability(model, directions, words):
    pairs = [(f"w{i} {YES}", f"w{i} {NO}") for i in words]
    matching = Matching(doses=(DOSE / 2, DOSE), relative=DOSE)
    return measure_steerability(model, pairs, [f"w{WORDS[0]}"], directions, matching=matching)


def repetitions(model, n):
    """How often the planted layer comes out first, and how often its interval covers the truth."""
    directions = directions_of(model)
    truth = steerability(model, directions, WORDS).effect_relative[LAYER]
    first, covered = 0, 0
    for seed in range(n):
        words = np.random.default_rng(seed).choice(WORDS, 100)
        table = steerability(model, directions, words.tolist())
        first += int(table.effect_relative.idxmax() == LAYER)
        low, high = table.effect_relative_low[LAYER], table.effect_relative_high[LAYER]
        covered += int(low <= truth <= high)
    return first, covered


def test_the_planted_layer_can_be_steered_and_its_neighbours_less(planted):
    before, at, after = steerability(planted, directions_of(planted), WORDS).effect_relative
    assert before < 0.1 * at  # below 0: a longer activation makes the norm shrink what is seen
    assert 0 < after < 0.9 * at


def test_the_planted_layer_is_found_and_the_interval_covers(planted):
    first, covered = repetitions(planted, 10)
    assert first == 10
    assert covered >= 8


@pytest.mark.slow
def test_the_interval_covers_the_planted_effect_in_93_of_100_repetitions(planted):
    first, covered = repetitions(planted, 100)
    assert first == 100
    assert covered >= 93

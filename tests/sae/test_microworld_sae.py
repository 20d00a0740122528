"""The autoencoder that ships: as sparse, faithful and telling as its card says."""

from __future__ import annotations

import json
from random import Random

import numpy as np
import pytest
import torch
from sae_lens import SAE

from steerscope.microworld.oracle import sample_story
from steerscope.microworld.rules import VARIABLES
from steerscope.sae import evaluate_sae, load_sae, mean_codes, telling_feature
from steerscope.sae.files import WEIGHTS
from steerscope.sites import Site
from steerscope.texts.bundled import bundled_autoencoders

FOLDER = bundled_autoencoders()["microworld"]


def stories(use, n, *, seed=0):
    rng = Random(f"autoencoder {use} {seed}")
    return [sample_story(rng) for _ in range(n)]


def test_the_bundled_autoencoder_is_small_and_sae_lens_loads_it(microworld):
    assert sum(f.stat().st_size for f in FOLDER.iterdir()) <= 3e6
    assert (FOLDER / WEIGHTS).is_file()
    ours = load_sae("microworld", model=microworld, site=Site("resid_post", 3))
    x = torch.randn(20, ours.d, generator=torch.Generator().manual_seed(0)) * 7
    with torch.no_grad():
        theirs = SAE.load_from_disk(FOLDER)(x)
    torch.testing.assert_close(ours.reconstruct(x), theirs, rtol=1e-3, atol=1e-3)
    assert json.loads((FOLDER / "training.json").read_text())["text"]["rows"] == 10_000


def test_the_bundled_autoencoder_is_good_on_text_it_has_not_seen(microworld):
    texts = [story.text for story in stories("held out", 60, seed=1)]
    quality = evaluate_sae(microworld, load_sae("microworld"), texts)
    assert quality.fvu.high < 0.15
    assert quality.l0.high < 40
    assert quality.recovered.low > 0.95
    assert quality.dead.value < 0.20  # in so few tokens rare features look dead


@pytest.mark.slow
def test_few_features_are_dead_on_enough_text(microworld):
    texts = [story.text for story in stories("held out", 300)]
    assert evaluate_sae(microworld, load_sae("microworld"), texts).dead.value < 0.10


def test_features_tell_mood_and_topic_though_training_saw_no_labels(microworld):
    told = stories("held out", 160, seed=2)
    codes = mean_codes(microworld, load_sae("microworld"), [s.text for s in told]).numpy()
    for mood in VARIABLES["mood"]:
        found = telling_feature(codes, np.array([s.hidden["mood"] == mood for s in told]))
        assert found.auroc.value > 0.95, mood
    topics = [
        telling_feature(codes, np.array([s.hidden["topic"] == topic for s in told])).auroc.value
        for topic in VARIABLES["topic"]
    ]
    assert sum(value > 0.95 for value in topics) >= 6


@pytest.mark.slow
def test_a_topic_of_every_kind_and_both_moods_are_told_with_confidence(microworld):
    told = stories("held out", 600)
    codes = mean_codes(microworld, load_sae("microworld"), [s.text for s in told]).numpy()
    for variable in ("mood", "topic"):
        for value in VARIABLES[variable]:
            label = np.array([s.hidden[variable] == value for s in told])
            assert telling_feature(codes, label).auroc.low > 0.95, (variable, value)

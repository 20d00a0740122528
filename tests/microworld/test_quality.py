"""The bundled model knows the microworld, as its card says."""

from __future__ import annotations

import json

import pytest

from steerscope.microworld.evaluate import evaluate
from steerscope.texts.bundled import bundled_models

FOLDER = bundled_models()["microworld"]


def test_the_bundled_model_is_near_the_entropy_of_the_grammar():
    quality = evaluate(FOLDER, n_stories=60, n_prompts=20, seed=7)
    assert -0.01 < quality.excess < 0.05
    assert quality.grammatical.value > 0.9
    assert quality.kept["topic"].value > 0.8


@pytest.mark.slow
def test_the_card_states_what_is_measured():
    stated = json.loads((FOLDER / "quality.json").read_text())
    quality = evaluate(FOLDER, n_stories=1000, n_prompts=500, seed=2)
    assert quality.excess == pytest.approx(stated["excess"], abs=0.005)
    assert quality.excess < 0.05
    assert quality.grammatical.high > 0.97
    for variable, kept in quality.kept.items():
        assert kept.high > 0.95, variable

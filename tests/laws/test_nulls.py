"""Directions without meaning have no effect within their interval, at a dose where a real one does."""

from __future__ import annotations

import numpy as np
import pytest

from steerscope.directions import CONTROLS, mean_diff
from steerscope.doses import Dose
from steerscope.engine.score import preferences
from steerscope.extraction.activations import extract
from steerscope.sites import Site
from steerscope.statistics import bootstrap_mean
from steerscope.steering.interventions import Cell, Steering
from steerscope.texts.contrasts import load_contrasts

SITE, DOSE = Site("resid_post", 4), Dose(1.0)


@pytest.fixture(scope="module")
def effect(microworld):
    """The contrast of `mood` at the site, and the mean gain in preference that directions give."""
    split = load_contrasts("mood").split(seed=0)
    pairs = [(p.positive, p.negative) for p in split.test.pairs[:16]]

    def gains(directions):
        cells = [Cell((Steering(direction, DOSE),)) for direction in directions]
        plain, *steered = preferences(microworld, pairs, [Cell(), *cells])
        return np.array([float((s - plain).mean()) for s in steered])

    return extract(microworld, split.fit, [SITE])[SITE], gains


@pytest.mark.parametrize("control", ["random", "label_shuffled"])
def test_a_null_direction_has_no_effect_within_its_interval(effect, control):
    contrast, gains = effect
    directions = [CONTROLS[control](contrast, seed=seed) for seed in range(12)]
    real, *nulls = gains([mean_diff(contrast), *directions])
    found = bootstrap_mean(np.array(nulls), seed=0)
    assert found.low < 0 < found.high, found
    assert real > np.abs(nulls).max() > 0, (real, nulls)

"""The card and the corrected share of real judges where the truth is known, in the bundled world."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from steerscope.judges.labelled import from_pairs
from steerscope.judges.registry import Means, make_judge
from steerscope.texts.contrasts import load_contrasts, prompts_for

SCRIPT = Path(__file__).parents[2] / "analyses" / "how_good_are_judges.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("how_good_are_judges", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def texts(script, microworld):
    contrasts = load_contrasts("mood")
    prompts = prompts_for(contrasts, None).prompts[:80]
    rows, _ = script.written(microworld, contrasts, prompts, 24, 2.0)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "words", "sentiment"])
def test_the_corrected_share_covers_that_of_the_oracle_in_93_of_100_draws(
    name, script, texts, microworld, tmp_path
):
    contrasts = load_contrasts("mood")
    words = tmp_path / "words.yaml"
    words.write_text(script.WORDS)
    means = Means(from_pairs(contrasts.split(0)), contrasts.concept, microworld)
    judge = make_judge(f"words:{words}" if name == "words" else name, means, "mood").judge
    truth = np.array([t.positive for t in texts])
    groups = np.array([t.group for t in texts])
    scores = np.array(judge.scores([t.prompt for t in texts], [t.text for t in texts]))
    there = ~np.isnan(scores)
    said = judge.sign * scores > judge.sign * judge.threshold
    draws = [
        script.resampled(said[there], truth[there], groups[there], seed) for seed in range(100)
    ]
    assert sum(low <= share <= high for share, _, low, high in draws) >= 93

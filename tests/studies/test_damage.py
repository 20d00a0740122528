"""Which texts are damaged: by repeating themselves, by hand-made numbers, and of a model, by planted damage."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from steerscope.engine.continuations import Continuation
from steerscope.engine.generation import attempt
from steerscope.engine.sampling import Sample
from steerscope.errors import BadValueError
from steerscope.judges.effects import PREFERENCE, REPEATED, TEXT_LIMITS, Effect
from steerscope.metrics import distinct_n
from steerscope.studies.damage import undamaged_texts
from steerscope.studies.steering.success import PLAIN, allowed, undamaged
from steerscope.texts.contrasts import load_prompts


def whole(plain, steered):
    """Whether each steered text is undamaged."""
    rows = pd.DataFrame([plain, steered], index=[PLAIN, "steered"])
    return undamaged({"distinct_2": rows}, [REPEATED], PLAIN).loc["steered"].tolist()


def test_a_text_that_repeats_pairs_of_tokens_more_than_plain_ones_is_damaged():
    assert whole([1.0] * 4, [1.0, 0.91, 0.89, 0.4]) == [True, True, False, False]
    spread = [1.0, 0.8, 1.0, 0.8]  # mean 0.9, standard deviation 0.115
    assert whole(spread, [0.6, 0.5, 0.9, 1.0]) == [True, False, True, True]


def test_a_text_of_one_token_repeats_nothing():
    assert math.isnan(distinct_n([7], 2))
    assert whole([1.0] * 4, [math.nan, 1.0, 0.5, math.nan]) == [True, True, False, True]


def test_a_little_repetition_is_allowed_on_the_mean_however_alike_the_plain_texts_are():
    assert allowed(pd.Series([1.0] * 8), REPEATED) == pytest.approx(0.05)
    assert allowed(pd.Series([1.0, 0.2] * 4), REPEATED) == pytest.approx(0.05)


def test_any_text_is_held_to_it_once():
    for limits in (PREFERENCE.held_to, (*TEXT_LIMITS, REPEATED)):
        assert [limit.metric for limit in limits].count("distinct_2") == 1


def test_of_texts_of_a_model_those_with_planted_damage_are_told_and_few_of_its_own(microworld):
    prompts = [p.text for p in load_prompts("mood").split(0).test.prompts[:24]]
    written = [
        attempt(microworld, prompts, n_new=16, sampler=Sample(0.7, seed))[0] for seed in (0, 1)
    ]

    def changed(change):
        texts = [list(text.tokens) for text in written[1]]
        return [Continuation(tuple(t), "a text", ended=False) for t in map(change, texts)]

    conditions = {
        PLAIN: written[0],
        "again": written[1],
        "loops": changed(lambda t: (t[:2] * len(t))[: len(t)]),
        "shuffled": changed(lambda t: t[::-1]),
        "short": changed(lambda t: t[:3]),
        "empty": changed(lambda t: []),
        "canned": changed(lambda t: list(written[1][0].tokens)),
    }
    read = {name: [{"shown": 1.0}] * len(prompts) for name in conditions}
    whole = undamaged_texts(microworld, prompts, conditions, read, Effect.of_scores("a", "b"))
    shares = whole.mean(axis=1)
    assert list(whole.columns) == list(range(len(prompts)))
    assert shares[[PLAIN, "again"]].min() > 0.8
    assert shares["shuffled"] < 0.2
    assert shares[["loops", "short", "empty", "canned"]].max() == 0
    read["again"] = [{"shown": math.nan}] * len(prompts)  # what could not be read is not whole
    whole = undamaged_texts(microworld, prompts, conditions, read, Effect.of_scores("a", "b"))
    assert not whole.loc["again"].any()


def test_without_two_plain_texts_nothing_is_said_of_damage(microworld):
    prompts = [p.text for p in load_prompts("mood").split(0).test.prompts[:3]]
    [written] = attempt(microworld, prompts, n_new=12, sampler=Sample(0.7, 0))
    empty = Continuation((), "", ended=True)
    read = {PLAIN: [{"shown": 1.0}] * 3, "steered": [{"shown": 1.0}] * 3}
    conditions = {PLAIN: [written[0], empty, empty], "steered": written}
    with pytest.raises(BadValueError, match="of 3 texts without steering 1 can be read"):
        undamaged_texts(microworld, prompts, conditions, read, Effect.of_scores("a", "b"))

"""What the oracle reads in a continuation, and which judge a contrast set gets."""

from __future__ import annotations

import math

import pytest

from steerscope.engine.continuations import Continuation
from steerscope.judges import MicroworldJudge, TextJudge, choose_judge
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt


def story(mood, text):
    return Prompt(text, {"mood": mood, "topic": "sea", "register": "terse", "protagonist": "Mia"})


JUDGE = MicroworldJudge("mood", "joyful", "gloomy")
GLOOMY = story("gloomy", "Mia was at the pier late. She wept.")


def said(text):
    return Continuation(tuple(range(len(text.split()))), text, True)


@pytest.mark.parametrize(
    ("text", "flipped", "topic", "grammatical"),
    [
        ("She laughed. The boat was bright.", 1.0, 1.0, 1.0),
        ("She sighed. The boat was grey.", 0.0, 1.0, 1.0),
        ("She laughed. The rose was bright.", 1.0, 0.0, 1.0),
        ("She laughed laughed. The boat was bright.", 1.0, 1.0, 0.5),
        ("So the day ended.", 0.0, 0.0, 1.0),
    ],
)
def test_the_oracle_judges_what_flipped_and_what_broke(text, flipped, topic, grammatical):
    found = JUDGE.read(GLOOMY, said(text))
    assert (found["flipped"], found["kept_topic"]) == (flipped, topic)
    assert found["grammatical"] == grammatical


def test_an_empty_continuation_tells_nothing():
    assert all(math.isnan(v) for v in JUDGE.read(GLOOMY, said("")).values())


def test_a_dose_is_tried_on_prompts_that_have_room_for_it():
    joyful = story("joyful", "Mia was at the pier late. She laughed.")
    assert [JUDGE.applies(GLOOMY, s) for s in (1, -1, 0)] == [True, False, True]
    assert [JUDGE.applies(joyful, s) for s in (1, -1, 0)] == [False, True, True]


def test_the_judge_is_chosen_by_what_the_oracle_can_read():
    moody = ContrastSet("m", (ContrastPair("She laughed.", "She wept.", "mood"),))
    other = ContrastSet("w", (ContrastPair("w10 w6 w7", "w10 w8 w9", "c"),))
    assert choose_judge(moody, [GLOOMY]) == JUDGE
    assert choose_judge(moody, [Prompt("Once upon a time")]) == TextJudge()
    assert choose_judge(other, [Prompt("w20 w21 w5")]) == TextJudge()

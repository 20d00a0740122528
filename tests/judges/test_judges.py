"""What the oracle reads in a continuation, and which judge a contrast set gets."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from steerscope.cli.options import Judged
from steerscope.engine.continuations import Continuation
from steerscope.figures import preference_scatter
from steerscope.figures.files import drawn as table_of
from steerscope.judges import MicroworldJudge, TextJudge, choose_judge
from steerscope.judges.effects import Effect
from steerscope.judges.registry import judge_of
from steerscope.statistics import rank_correlation
from steerscope.studies.steering.cheap_number import CheapNumber
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


def test_a_command_takes_the_judge_that_the_set_names_unless_another_is_named(tmp_path):
    assert Judged().settings("weather")["judge"].startswith("regex:")
    assert Judged(judge="preference").settings("weather")["judge"] == "preference"
    for without in ("mood", "style:terse"):  # whose judge is the oracle, and which names none
        assert Judged().settings(without)["judge"] is None
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"positive": "a", "negative": "b"}\n')
    assert judge_of(pairs) is None
    (tmp_path / "pairs.about.json").write_text('{"judge": "length"}')
    assert Judged().settings(str(pairs))["judge"] == "length"


def test_an_axis_names_what_is_counted_and_not_the_path_or_pattern_of_the_judge():
    for name in ("words:/a/long/path.yaml", "regex:by x by y", "length"):
        effect = Effect.of_scores("joy by day", name)
        assert effect.words == f"continuations that show joy by day by {name}"
        assert (effect.short, effect.judge) == ("continuations that show joy by day", name)
    flipped = Effect("flipped", "share", "continuations whose mood is flipped by it")
    assert (flipped.short, flipped.judge) == (flipped.words, "")


def test_a_figure_of_few_conditions_or_of_equal_ones_claims_no_correlation():
    for n in (1, 3, 6):
        table = pd.DataFrame({"method": "mean_diff", "preference": range(n), "effect": 0.5})
        x, y = table.preference.to_numpy(float), table.effect.to_numpy(float)
        drawn = preference_scatter(
            CheapNumber(table, rank_correlation(x, y)), Effect.of_scores("joy", "length")
        )
        said = "condition" if n == 1 else "conditions"
        assert drawn.layout.title.text.endswith(f"no rank correlation of {n} {said}")
        assert set(table_of(drawn).y_title) == {
            "continuations that show joy, change from plain (points)"
        }

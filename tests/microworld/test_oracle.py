from __future__ import annotations

import math
from collections import Counter
from itertools import product
from random import Random

import numpy as np
import pytest

from steerscope.microworld import lexicon
from steerscope.microworld.datasets import contrast_pairs, in_other_mood, prompts
from steerscope.microworld.grammar import Grammar, option, to_text, to_words
from steerscope.microworld.oracle import (
    body_length_probabilities,
    is_grammatical,
    log_joint,
    log_probability,
    posterior,
    read,
    sample_story,
    split_sentences,
)
from steerscope.microworld.rules import VARIABLES, microworld_grammar

TOY = Grammar(
    {"mood": ("up", "down"), "place": ("sea", "hill")},
    {
        "s": (option("{who} {does} at the {place} ."), option("{who} {does} .", weight=3.0)),
        "who": (option("Ann"), option("Ann Lee", weight=1.0)),
        "does": (
            option("sings", weight=4.0, when={"mood": "up"}),
            option("weeps", weight=1.0, when={"mood": "up"}),
            option("weeps", weight=1.0, when={"mood": "down"}),
        ),
        "place": (option("sea", when={"place": "sea"}), option("hill", when={"place": "hill"})),
    },
)


def test_probabilities_by_hand():
    up_sea = TOY.index({"mood": "up", "place": "sea"})
    down_sea = TOY.index({"mood": "down", "place": "sea"})
    found = TOY.inside("s", ["Ann", "sings", "at", "the", "sea", "."])
    assert found[up_sea] == pytest.approx(0.25 * 0.5 * 0.8)
    assert found[down_sea] == 0.0
    assert TOY.inside("s", ["Ann", "Lee", "weeps", "."])[down_sea] == pytest.approx(0.75 * 0.5)
    assert not TOY.inside("s", ["Ann", "sings", "at", "the"]).any()
    assert not TOY.inside("s", ["Ann", "sings", ".", "."]).any()


def test_the_probabilities_of_all_sentences_add_up_to_one():
    sentences = {
        f"{who} {does}{where} ."
        for who, does, where in product(
            ("Ann", "Ann Lee"), ("sings", "weeps"), ("", " at the sea", " at the hill")
        )
    }
    total = sum(TOY.inside("s", s.split()) for s in sentences)
    np.testing.assert_allclose(total, 1.0)


def test_samples_come_as_often_as_their_probability_says():
    hidden = TOY.index({"mood": "up", "place": "hill"})
    rng = Random(0)
    counts = Counter(" ".join(TOY.sample("s", hidden, rng)) for _ in range(8000))
    for sentence, count in counts.items():
        p = TOY.inside("s", sentence.split())[hidden]
        assert count / 8000 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 8000))


@pytest.mark.parametrize("rule", ["open", "body", "close"])
def test_every_sampled_sentence_is_possible_under_its_hidden_value(rule):
    grammar, rng = microworld_grammar(), Random(1)
    for _ in range(150):
        hidden = rng.randrange(len(grammar.hidden))
        words = grammar.sample(rule, hidden, rng)
        assert grammar.inside(rule, words)[hidden] > 0
        assert to_words(to_text(words)) == words
        assert is_grammatical(to_text(words))


def test_the_entropy_of_the_grammar_is_the_mean_surprise_of_its_samples():
    # Σ p log p over sampled sentences estimates the same number as exact enumeration of one slot.
    grammar = microworld_grammar()
    hidden = 0
    feeling = [
        o for o in grammar.rules["feeling"] if grammar.inside("feeling", o.symbols)[hidden] > 0
    ]
    exact = 0.0
    for words in {o.symbols for o in feeling}:
        p = grammar.inside("feeling", words)[hidden]
        exact -= p * math.log(p)
    rng = Random(2)
    drawn = [
        grammar.inside("feeling", grammar.sample("feeling", hidden, rng))[hidden]
        for _ in range(6000)
    ]
    assert -np.mean(np.log(drawn)) == pytest.approx(exact, rel=0.03)


@pytest.mark.parametrize("seed", range(6))
def test_a_story_is_read_back_as_what_it_was_made_of(seed):
    story = sample_story(Random(seed))
    joint = log_joint(story.text)
    grammar = microworld_grammar()
    assert np.isfinite(joint[grammar.index(story.hidden)])
    assert log_probability(story.text) >= joint.max()
    reading = read(story.text)
    assert reading.grammatical == 1.0
    assert reading.n_sentences == len(story.sentences)
    for variable in ("topic", "register", "protagonist"):
        assert reading.value(variable) == story.hidden[variable]


def test_the_probability_of_a_story_is_its_sentences_lengths_and_hidden_values():
    story = sample_story(Random(3))
    grammar, hidden = microworld_grammar(), story.hidden
    at = grammar.index(hidden)
    kinds = ["open", *["body"] * (len(story.sentences) - 2), "close"]
    expected = -math.log(len(grammar.hidden))
    expected += math.log(body_length_probabilities(hidden["register"])[len(kinds) - 2])
    for kind, sentence in zip(kinds, story.sentences, strict=True):
        expected += math.log(grammar.inside(kind, to_words(sentence))[at])
    assert log_joint(story.text)[at] == pytest.approx(expected)


def test_a_beginning_is_as_likely_as_all_its_continuations():
    story = sample_story(Random(4), {"register": "terse"})
    opening = " ".join(story.sentences[:3])
    assert log_probability(opening, complete=False) > log_probability(story.text)
    assert log_probability(story.sentences[0], complete=False) > log_probability(
        opening, complete=False
    )
    assert log_probability("Mia sat", complete=False) == -math.inf
    lengths = body_length_probabilities("terse")
    assert sum(lengths.values()) == pytest.approx(1.0)


def test_the_posterior_is_bayes_rule_over_the_sampled_stories():
    rng = Random(5)
    hits, expected = 0, 0.0
    for _ in range(150):
        story = sample_story(rng)
        told = posterior(" ".join(story.sentences[:2]), "mood")
        assert sum(told.values()) == pytest.approx(1.0)
        best = max(told, key=told.__getitem__)
        hits += best == story.hidden["mood"]
        expected += told[best]
    assert hits == pytest.approx(expected, abs=4 * (150 * 0.1) ** 0.5)
    assert set(posterior("Nobody wrote this.", "mood").values()) == {0.0}


def test_what_cannot_be_said_is_not_grammatical():
    good = "The boat was bright."
    assert is_grammatical(good)
    for bad in (
        "The boat bright was.", "the boat was bright.", "The boat was  bright.", "The boat was",
        "The boat and the rose were big.", "Mia mended his net.", "",
    ):  # fmt: skip
        assert not is_grammatical(bad), bad


def test_readings_count_votes_and_admit_ignorance():
    assert read("She laughed. She laughed. She wept.").mood == "joyful"
    assert read("She laughed. She wept.").mood is None
    assert read("She stopped. She nodded.").topic is None
    assert read("").grammatical != read("").grammatical  # NaN
    assert read("and and and " * 30).grammatical == 0.0
    assert read("She laughed. She lau").n_sentences == 1


def test_sentences_are_split_at_full_stops():
    assert split_sentences("A b. C d. E") == (["A b.", "C d."], "E")


def test_moods_swap_word_by_word_and_back():
    text = 'Mia felt happy. "What luck!" said Mia. She was full of joy. She went home with a smile.'
    other = in_other_mood(text)
    assert (
        other
        == 'Mia felt sad. "What a pity!" said Mia. She was full of sorrow. She went home in tears.'
    )
    assert in_other_mood(other) == text


@pytest.mark.parametrize("variable", ["mood", "register", "topic"])
def test_contrast_pairs_differ_in_their_variable(variable):
    for pair in contrast_pairs(variable, 12, seed=5):
        high, low = read(pair["positive"]), read(pair["negative"])
        assert high.value(variable) != low.value(variable)
        assert high.protagonist == low.protagonist
        if variable != "topic":
            assert high.topic == low.topic or None in (high.topic, low.topic)


def test_prompts_show_what_they_say_and_come_equally_often():
    found = prompts("mood", 40)
    for row in found:
        reading = read(row["prompt"])
        assert {v: reading.value(v) for v in VARIABLES} == row["facts"]
    assert Counter(r["facts"]["mood"] for r in found) == {"joyful": 20, "gloomy": 20}


def test_an_unknown_hidden_value_is_named():
    with pytest.raises(ValueError, match="no hidden variable mood='angry'"):
        sample_story(Random(0), {"mood": "angry"})


def test_the_world_is_rich_enough():
    words = set()
    for part in (*lexicon.MOODS.values(), *lexicon.TOPICS.values()):
        for entries in vars(part).values():
            words.update(w for entry in entries for w in entry.split())
    assert len(words) >= 150
    moods = [vars(m) for m in lexicon.MOODS.values()]
    assert all(len(moods[0][k]) == len(moods[1][k]) for k in moods[0])
    assert not {w for v in moods[0].values() for w in v} & {w for v in moods[1].values() for w in v}

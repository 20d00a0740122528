"""Cards: hand arithmetic, a judge that cannot tell, and shares corrected for what it gets wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steerscope.judges.card import Card, measure_card, unless_it_cannot_tell
from steerscope.judges.labelled import LabelledText, from_pairs, from_replies
from steerscope.judges.scorers.length import Length
from steerscope.judges.scoring import ScoreJudge
from steerscope.models.chat_templates import ChatText
from steerscope.statistics import Estimate, wilson
from steerscope.statistics.misclassification import corrected_difference, corrected_share
from steerscope.texts.chats import Message, as_conversation
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Split, style_contrasts
from steerscope.texts.styles import Style

JUDGE = ScoreJudge("length", Length(), 2.5, 1, "long")


def texts_of(lengths, positive, start=0):
    return [LabelledText("w " * n, positive, start + i) for i, n in enumerate(lengths)]


def test_a_card_counts_what_the_judge_gets_right_of_either_class():
    texts = texts_of([3, 3, 4, 1], True) + texts_of([1, 2, 1, 5, 1], False, 10)
    card = measure_card(JUDGE, texts, "by hand")
    assert card.sensitivity.value == 3 / 4
    assert card.specificity.value == pytest.approx(4 / 5)
    # Pairs of a long and a short text that are in the right order; ties count half.
    assert card.auc.value == pytest.approx((3 * 4 + 0.5 * 3 + 0.0) / 20)
    assert Card.from_stored(card.stored()) == card
    assert not card.tells
    assert "the judge cannot tell" in str(card)


def test_a_judge_that_tells_has_a_card_that_says_so():
    card = measure_card(JUDGE, texts_of([3] * 20, True) + texts_of([1] * 20, False, 50), "by hand")
    assert card.tells
    assert "cannot tell" not in str(card)


def test_a_judge_that_was_right_about_one_thing_said_often_cannot_tell():
    texts = [LabelledText("w " * n, n == 3, 0 if n == 3 else 1) for n in [3] * 20 + [1] * 20]
    card = measure_card(JUDGE, texts, "by hand")
    assert card.auc.value == card.sensitivity.value == card.specificity.value == 1.0
    assert card.auc.low == pytest.approx(0.025)  # of one thing each nothing is known but that
    assert not card.tells
    assert "so few distinct texts" in str(card)


def test_six_texts_a_side_without_a_mistake_tell_as_those_with_one_do():
    perfect = texts_of([3] * 6, True) + texts_of([1] * 6, False, 50)
    card = measure_card(JUDGE, perfect, "by hand")
    assert card.auc.low == pytest.approx(0.025 ** (1 / 6))
    assert card.tells
    few = measure_card(JUDGE, perfect[:3] + perfect[6:9], "by hand")
    assert "so few distinct texts" in str(few)


def test_nothing_is_stated_on_what_a_judge_counts_that_cannot_tell():
    perfect, half = Estimate(1.0, 0.95, 1.0, 60), Estimate(0.5, 0.4, 0.6, 60)
    tells, guesses = (Card(e, e, e, 0, "by hand") for e in (perfect, half))
    for card in (None, tells):
        assert unless_it_cannot_tell(card, ["it leads there"]) == ["it leads there"]
    [line] = unless_it_cannot_tell(guesses, ["it leads there", "by much"])
    assert line.startswith("Not shown: the judge cannot tell (AUC not above 0.7)")
    assert "0.50 [0.40, 0.60]" in line


def test_a_perfect_judge_is_corrected_by_nothing():
    said, perfect = wilson(30, 100), wilson(10**7, 10**7)
    found = corrected_share(said, perfect, perfect)
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(said.low, abs=0.01)
    assert found.high == pytest.approx(said.high, abs=0.01)
    gain = corrected_difference(Estimate(0.2, 0.1, 0.3, 50), perfect, perfect)
    assert (gain.low, gain.value, gain.high) == pytest.approx((0.1, 0.2, 0.3), abs=1e-6)


def test_a_judge_at_chance_corrects_to_nothing_known():
    half = wilson(10, 20)
    assert math.isnan(corrected_share(wilson(5, 20), half, half).value)
    assert math.isnan(corrected_difference(Estimate(0.2, 0.1, 0.3, 50), half, half).low)


@pytest.mark.parametrize("truth", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.8), (0.7, 0.95)])
def test_the_interval_of_a_corrected_share_covers_the_truth(truth, sensitivity, specificity):
    rng = np.random.default_rng(0)
    covered, runs = 0, 400
    for _ in range(runs):
        shown = truth * sensitivity + (1 - truth) * (1 - specificity)
        found = corrected_share(
            wilson(int(rng.binomial(80, shown)), 80),
            wilson(int(rng.binomial(60, sensitivity)), 60),
            wilson(int(rng.binomial(60, specificity)), 60),
        )
        covered += found.low <= truth <= found.high
    assert covered / runs >= 0.93


@pytest.mark.parametrize(("could", "truth"), [(0.5, 0.1), (0.2, 0.1)])
def test_where_few_texts_could_count_the_interval_covers_the_truth_and_no_more(could, truth):
    """A well counted share and a card of 20 texts, whose specificity errs on those that could count alone."""
    rng = np.random.default_rng(0)
    se, sp, runs = 0.9, 0.8, 400
    found = [
        corrected_share(
            wilson(int(rng.binomial(400, truth * se + (could - truth) * (1 - sp))), 400),
            wilson(int(rng.binomial(20, se)), 20),
            wilson(int(rng.binomial(20, sp)), 20),
            could,
        )
        for _ in range(runs)
    ]
    assert 0.92 <= np.mean([f.low <= truth <= f.high for f in found]) <= 0.98


def test_the_interval_of_a_corrected_gain_covers_the_truth():
    rng = np.random.default_rng(1)
    covered, runs, se, sp = 0, 400, 0.85, 0.8
    for _ in range(runs):
        shares = [t * se + (1 - t) * (1 - sp) for t in (0.2, 0.6)]
        before, after = (rng.random(100) < s for s in shares)
        d = after.astype(float) - before
        half = 1.96 * d.std(ddof=1) / 10
        gain = Estimate(d.mean(), d.mean() - half, d.mean() + half, 100)
        rates = [wilson(int(rng.binomial(60, r)), 60) for r in (se, sp)]
        found = corrected_difference(gain, *rates)
        covered += found.low <= 0.4 <= found.high
    assert covered / runs >= 0.93


def test_what_a_judge_takes_for_shown_by_mistake_falls_where_fewer_texts_can_count():
    """Steered texts all show it and a fifth of them are undamaged; plain ones are whole and never do."""
    rng = np.random.default_rng(2)
    covered, runs, se, sp, n = 0, 400, 0.8, 0.7, 100
    for _ in range(runs):
        whole = rng.random(n) < 0.2
        after, before = whole * (rng.random(n) < se), rng.random(n) < 1 - sp
        gaps = (after.astype(float) - before, whole.astype(float) - 1.0)
        gain, fewer = (
            Estimate(d.mean(), d.mean() - half, d.mean() + half, n)
            for d, half in ((d, 1.96 * d.std(ddof=1) / np.sqrt(n)) for d in gaps)
        )
        rates = [wilson(int(rng.binomial(60, r)), 60) for r in (se, sp)]
        found = corrected_difference(gain, *rates, fewer)
        covered += found.low <= 0.2 <= found.high
    assert covered / runs >= 0.93
    by_hand = corrected_difference(
        Estimate(-0.14, -0.2, -0.1, n), *(wilson(int(1e6 * r), 10**6) for r in (se, sp)),
        Estimate(-0.8, -0.8, -0.8, n),
    )  # fmt: skip
    assert by_hand.value == pytest.approx(0.2, abs=1e-6)


def test_a_gain_without_an_interval_stays_without_one():
    gain = Estimate(0.8, float("nan"), float("nan"), 1)
    found = corrected_difference(gain, wilson(90, 100), wilson(90, 100))
    assert found.value == pytest.approx(1.0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_a_corrected_gain_is_a_difference_of_shares():
    gain = corrected_difference(Estimate(-0.35, -0.8, 0.1, 6), wilson(67, 100), wilson(44, 100))
    assert (gain.value, gain.low, gain.high) == (-1.0, -1.0, 1.0)


def fitted_and_held_out(said):
    """What a judge reads of six pairs of texts, each put by `said` as a model is asked."""

    def part(start):
        pairs = (
            ContrastPair(said(f"w{i}"), said(f"w{i} b c"), "short") for i in (start, start + 1)
        )
        return ContrastSet("s", tuple(pairs), "t")

    texts = from_pairs(Split(part(0), part(2), part(4)))
    return [t.text for t in texts.fit], {t.text for t in texts.held_out}


def answered(text):
    turns = [Message("user", f"What of {text}?"), Message("assistant", text)]
    return ChatText(f"<u>What of {text}?<a>{text}<end>", turns, template=None)


def asked(text):
    return ChatText(f"<system>Be kind.<u>{text}<a>", [Message("user", text)], template=None)


def spoken(text):
    return as_conversation(f"What of {text}?").then(text)


@pytest.mark.parametrize("said", [answered, asked, spoken])
def test_of_a_conversation_a_judge_is_fitted_on_what_was_said_last_alone(said):
    fit, held_out = fitted_and_held_out(said)
    assert fit == ["w0", "w0 b c", "w1", "w1 b c"]
    assert held_out == {x for i in (2, 3, 4, 5) for x in (f"w{i}", f"w{i} b c")}


@pytest.mark.parametrize("said", [answered, spoken])
def test_a_labelled_answer_knows_its_question_in_either_part(said):
    pairs = [ContrastPair(said(f"w{i}"), said(f"w{i} b"), "short") for i in range(3)]
    texts = from_pairs(Split(*(ContrastSet("s", (pair,), "t") for pair in pairs)))
    for text in (*texts.fit, *texts.held_out):
        assert text.prompt == f"What of {text.text}?"


def test_a_labelled_reply_knows_its_message_without_instruction_or_template(load):
    model = load("llama")
    messages = tuple(f"w{i} w{i + 1}" for i in range(4, 16))
    style = style_contrasts(Style("s", "w1", "w2"), messages).split(0)
    texts = from_replies(model, style, n_new=4, seed=0)
    assert {t.prompt for t in (*texts.fit, *texts.held_out)} == set(messages)

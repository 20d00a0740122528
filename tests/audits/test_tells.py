"""What tells texts apart without a model: planted confounds, chance, and variants of a template."""

from __future__ import annotations

import random

import pytest

from steerscope.audits.tells import tell, variants
from steerscope.audits.texts import lengths_apart
from steerscope.texts.contrasts import ContrastPair

WORDS = [f"w{i}" for i in range(60)]


def pairs_with(positive, negative, n=60):
    """Pairs of random words, each side changed by a function of its words."""
    drawn = random.Random(0)
    found = []
    for _ in range(n):
        sides = [[*drawn.choices(WORDS, k=8)] for _ in range(2)]
        texts = [" ".join(change(w)) for change, w in zip((positive, negative), sides, strict=True)]
        found.append(ContrastPair(*texts, "made up"))
    return found


def test_ten_pairs_without_a_mistake_are_a_warning_though_not_sure():
    pairs = pairs_with(lambda w: [*w, *w[:3]], same, n=10)
    assert tell(pairs, "length").value == 1
    assert tell(pairs, "length").low == pytest.approx(0.025**0.1)
    assert "tells the classes with an AUC of 1.00" in lengths_apart(pairs, "here")[0].what


def same(words):
    return words


@pytest.mark.parametrize(
    ("kind", "positive", "negative"),
    [
        ("first word", lambda w: ["yes", *w], lambda w: ["no", *w]),
        ("last word", lambda w: [*w, "!"], lambda w: [*w, "."]),
        ("length", lambda w: [*w, *w[:3]], same),
        ("words", lambda w: [*w[:4], "good", *w[4:]], lambda w: [*w[:4], "bad", *w[4:]]),
    ],
)
def test_a_planted_confound_is_told_and_the_other_ends_are_not(kind, positive, negative):
    pairs = pairs_with(positive, negative)
    assert tell(pairs, kind).value > 0.95
    assert tell(pairs, kind).low > 0.9
    for other in {"first word", "last word"} - {kind}:
        assert tell(pairs, other).low < 0.6


@pytest.mark.parametrize("kind", ["words", "first word", "last word", "length"])
def test_texts_without_a_tell_are_at_chance(kind):
    found = tell(pairs_with(same, same, n=150), kind)
    assert 0.35 < found.value < 0.65


def test_pairs_that_a_classifier_cannot_be_tried_on_have_no_auc():
    found = tell(pairs_with(same, same, n=9), "words")
    assert found.value != found.value  # noqa: PLR0124 - NaN


def test_variants_differ_by_one_word_wherever_it_stands_and_by_no_more():
    groups = variants(
        [
            ("Mia sang. Mia slept.", "Mia wept. Mia slept."),
            ("Tom sang. Tom slept.", "Tom wept. Tom slept."),
            ("Tom sang. Tom left.", "Tom wept. Tom left."),  # of the second, by another word
            ("Tom ran. Ann left.", "Tom fell. Ann left."),
            ("Tom ran. Ann left.", "Tom fell. Ann left."),
        ]
    )
    assert len(set(groups)) == 2
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4]

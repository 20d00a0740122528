"""Which words of two texts differ."""

from __future__ import annotations

from random import Random

import pytest

from steerscope.texts.changes import changed_words, pieces


def cut(before, after):
    """Both texts cut into pieces, those that differ in capitals."""
    sides = zip((before, after), changed_words(before, after), strict=True)
    return ["".join(p.upper() if marked else p for p, marked in pieces(*s)) for s in sides]


def test_what_differs_is_marked_and_what_moved_on_is_not():
    before, after = (
        "the sun was warm. anna smiled, and ran",
        "today the sun was cold. anna wept and ran",
    )
    assert cut(before, after) == [
        "the sun was WARM. anna SMILED, and ran",
        "TODAY the sun was COLD. anna WEPT and ran",
    ]


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("", "", ([], [])),
        ("a b", "a b", ([], [])),
        ("a  b", "a\nb", ([], [])),  # spaces are no words
        ("", "a b", ([], [(0, 3)])),
        ("a b", "c d e", ([(0, 3)], [(0, 5)])),
        ("a b c d", "a c d", ([(2, 3)], [])),
        ("她很高兴", "她很悲伤", ([(2, 4)], [(2, 4)])),  # letters are words here
        ("good 🙂 day", "good 🙁 day", ([(5, 6)], [(5, 6)])),
    ],
)
def test_stretches_are_places_of_letters(before, after, marked):
    assert changed_words(before, after) == marked


@pytest.mark.parametrize("length", [5, 40, 400])  # from 200 on the common words are no anchors
def test_what_is_not_marked_is_the_same_on_both_sides(length):
    rng = Random(length)
    for _ in range(5):
        before = [rng.choice("abcdefgh") for _ in range(length)]
        after = [w if rng.random() < 0.8 else rng.choice("abcxyz") for w in before]
        texts = " ".join(before), " ".join(after)
        sides = [pieces(t, s) for t, s in zip(texts, changed_words(*texts), strict=True)]
        left, right = (
            "".join(piece for piece, marked in side if not marked).split() for side in sides
        )
        assert left == right
        assert ["".join(piece for piece, _ in side) for side in sides] == list(texts)
    assert changed_words("a " * length, "a " * length) == ([], [])

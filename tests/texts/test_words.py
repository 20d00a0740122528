"""What a word is, in any script."""

from __future__ import annotations

import pytest

from steerscope.texts.words import between_blanks, count_words, parts_in, words_and_signs, words_in


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop, Tom!", ["Don't", "stop", "Tom"]),
        ("ein schöner Tag", ["ein", "schöner", "Tag"]),
        ("मैं बहुत खुश हूँ।", ["मैं", "बहुत", "खुश", "हूँ"]),  # vowels stay with their letters
        ("한국어 문장", ["한국어", "문장"]),
        ("她很高兴。", ["她", "很", "高", "兴"]),
        ("ラーメン", ["ラ", "ー", "メ", "ン"]),
        ("ดีใจที่", ["ดี", "ใ", "จ", "ที่"]),
        ("ខ្ញុំ", ["ខ្ញុំ"]),
        ("我love你 2024", ["我", "love", "你", "2024"]),
        ("👩‍👧 ❤️ ...", []),
    ],
)
def test_words_are_letters_where_a_script_has_no_spaces(text, words):
    assert words_in(text) == words


def test_every_letter_that_is_no_blank_is_in_a_word_or_a_sign():
    text = "Don't, она — 她很高兴！ ខ្ញុំ ❤️ 👩‍👧 e\u0301 x²"
    bare = "".join(text.split())
    for find in (words_and_signs, between_blanks):
        found = find(text)
        assert "".join(match[0] for match in found) == bare
        assert all(text[m.start() : m.end()] == m[0] for m in found)


def test_the_mark_that_makes_an_emoji_of_a_sign_stands_alone_as_it_did():
    assert [match[0] for match in words_and_signs("I ❤\ufe0f it")] == ["I", "❤", "\ufe0f", "it"]


def test_texts_of_scripts_with_spaces_are_counted_between_them():
    for text in ("two words", "", "Don't stop -- please.", "एक दो तीन।"):
        assert count_words(text) == len(text.split()) == len(between_blanks(text))
    assert count_words("她很高兴。") == 4
    assert count_words("我 love 你！") == 3
    assert parts_in("don't") == ["don", "t"]

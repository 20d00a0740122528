"""How tokenizers cut texts, by hand on tokenizers whose cuts are known."""

from __future__ import annotations

import json
import math

from steerscope.texts.fertility import KINDS, fertility, parity


def by_character(text):
    return [ord(c) for c in text]


def text_of(ids):
    return "".join(map(chr, ids))


def test_a_tokenizer_of_characters_by_hand():
    found = fertility(by_character, text_of, "numbers", ["12 345", "6"])
    assert (found.tokens, found.characters, found.words) == (7, 7, 3)
    assert found.tokens_per_word == 7 / 3
    assert found.characters_per_token == 1
    assert found.lossless
    assert found.units == 3
    assert found.unit_tokens == (3 + 4 + 2) / 3  # each with its space
    assert found.unit_single == 0


def test_a_tokenizer_of_words_keeps_units_whole_and_loses_spaces():
    words = ["2024-02-29", "08:05"]

    def encode(text):
        return [words.index(w) for w in text.split()]

    def decode(ids):
        return " ".join(words[i] for i in ids)

    found = fertility(encode, decode, "timestamps", ["08:05"])
    assert (found.units, found.unit_single) == (1, 1)
    assert fertility(encode, decode, "dates", ["2024-02-29  2024-02-29"]).lossless is False
    assert math.isnan(fertility(encode, decode, "english", ["08:05"]).unit_tokens)


def test_languages_are_compared_by_texts_that_say_the_same():
    found = [fertility(by_character, text_of, k, KINDS[k]) for k in ("english", "german")]
    assert parity(found)["english"] == 1
    assert parity(found)["german"] == found[1].tokens / found[0].tokens
    assert math.isnan(parity(found[1:])["german"])


def test_every_language_says_the_same_number_of_sentences():
    assert {len(KINDS[k]) for k in ("english", "french", "german", "chinese", "arabic")} == {3}


def test_the_command_compares_tokenizers_and_draws_them(run_cli, tiny_folder, tmp_path):
    code, out, err = run_cli(
        "tokenizers", "microworld", tiny_folder("llama"), "--out", tmp_path / "drawn", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert {row["tokenizer"] for row in found["table"]} == {"microworld", "llama"}
    lossless = {r["tokenizer"]: r["lossless"] for r in found["table"] if r["kind"] == "english"}
    assert lossless == {"microworld": True, "llama": False}  # the second knows 93 made-up words
    assert len(list((tmp_path / "drawn").glob("*.html"))) == 4

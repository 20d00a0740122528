"""What scores texts: hand arithmetic for each judge, and one line for each bad one."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from steerscope.engine.continuations import Continuation
from steerscope.errors import JudgeError, UnknownNameError
from steerscope.judges.card import measure_card
from steerscope.judges.labelled import LabelledText, LabelledTexts, from_file, from_pairs
from steerscope.judges.registry import (
    NAMES,
    Means,
    as_stored,
    check_judge,
    make_judge,
    read_judge,
)
from steerscope.judges.scorers import hub, searching
from steerscope.judges.scorers.functions import UserFunction
from steerscope.judges.scorers.hub import HubClassifier
from steerscope.judges.scorers.language import _identifier, find_language
from steerscope.judges.scorers.length import Length
from steerscope.judges.scorers.patterns import read_pattern, read_schema
from steerscope.judges.scorers.sentiment import find_sentiment
from steerscope.judges.scorers.words import WordCounts, read_words
from steerscope.judges.scoring import SCORE, SHOWN, ScoreJudge
from steerscope.models.chat_templates import ChatText
from steerscope.texts.chats import Message, as_conversation
from steerscope.texts.contrasts import ContrastPair, ContrastSet, Prompt, Split
from tests.conftest import word_tokenizer


def texts_of(*rows):
    return tuple(LabelledText(text, positive, n) for n, (text, positive) in enumerate(rows))


HAPPY = texts_of(
    ("what joy, we laughed", True),
    ("a happy day of joy", True),
    ("she cried, so sad", False),
    ("a sad and cold day", False),
)
TEXTS = LabelledTexts("by hand", HAPPY, HAPPY)


def test_words_are_weighed_and_counted_per_100_words(tmp_path):
    file = tmp_path / "w.yaml"
    file.write_text("positive: {joy: 2, 'smil\\w*': 1}\nnegative: [sad]\nthreshold: 1.5\n")
    counts = read_words(file)
    # Of 8 words: joy (2), Smiles (1), sad (-1); joyful is another word.
    assert counts.scores([""], ["Joy and Smiles, joyful or sad, all day"]) == [100 * 2 / 8]
    assert math.isnan(counts.scores([""], ["..."])[0])
    assert counts.threshold == 1.5
    file.write_text("positive: [joy]\nscope: last_sentence\n")
    assert read_words(file).scores(["", ""], ["joy. No.", "No. A joy."]) == [0.0, 50.0]


@pytest.mark.parametrize(
    ("word", "text", "n_words"),
    [
        ("高兴", "他今天非常高兴。", 7),
        ("幸せ", "母はとても幸せだ。", 8),
        ("ดี", "วันนี้ฉันดี", 6),
        ("खुश", "वह बहुत खुश है।", 4),
        ("радость", "Вот это радость!", 3),
        ("기쁨", "큰 기쁨 이다.", 3),
        ("love", "我love你", 3),
    ],
)
def test_words_are_found_and_counted_in_every_script(word, text, n_words, tmp_path):
    for content in (f"positive: [{word}]\n", f"{word}\n"):
        (tmp_path / "w.yaml").write_text(content, encoding="utf-8")
        assert read_words(tmp_path / "w.yaml").scores([""], [text]) == [100 / n_words]


@pytest.mark.parametrize("word", ["खुश", "glad", "рад", "ก"])
def test_a_word_is_not_found_inside_another_of_a_script_with_spaces(word, tmp_path):
    (tmp_path / "w.yaml").write_text(f"positive: [{word}]\n", encoding="utf-8")
    inside = ["खुशी हुई", "gladly", "ради", "กัน"]
    assert read_words(tmp_path / "w.yaml").scores([""] * 4, inside) == [0.0] * 4


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("Joy is here. No. Why?", "Joy is here.", "Why?"),
        ("“Joy.” Then no.", "“Joy.”", "Then no."),
        ("“Joy!” she said. No.", "“Joy!” she said.", "No."),
        ("“Joy!”\n\n  she said. No.", "“Joy!”\n\n  she said.", "No."),
        ("खुश हूँ। बस।", "खुश हूँ।", "बस।"),
        ("他高兴。为什么？！", "他高兴。", "为什么？！"),
        ("「高兴。」她走了。", "「高兴。」", "她走了。"),
    ],
)
def test_a_sentence_ends_at_the_stops_of_its_script(text, first, last):
    def score(scope, read):
        counts = WordCounts({".*": 1.0}, {}, scope)
        return counts.scores([""], [read])

    for scope, alone in (("first_sentence", first), ("last_sentence", last)):
        assert score(scope, text) == score("text", alone)


def test_length_is_in_words_of_the_script():
    texts = ["two words", "他很高兴。", "वह बहुत खुश है।", "", "I said -- no."]
    assert Length().scores([""] * 5, texts) == [2, 4, 4, 0, 4]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("good: [a]\n", "line 1: unknown key 'good'; known: negative, positive, scope, threshold"),
        ("scope: text\n", "needs a list of patterns"),
        ("positive: ['(']\n", "does not compile"),
        ("positive: {a: .nan}\n", "must be a finite number"),
        ("positive: 3\n", "must be a list of patterns"),
        ("positive: [a]\nscope: all\n", "unknown scope 'all'; known: text"),
        ("positive: [yes]\n", "True is no word; write it in quotes"),
        ("positive: [a, null]\n", "None is no word"),
        ("positive: []\nnegative: []\n", "needs a list of patterns"),
        ("negative: [a]\n", "no text has more than 0 matches"),
        ("positive: &x [*x]\n", "repeats another part"),
        ("a: [\n", "this is not YAML"),
    ],
)
def test_a_bad_file_of_words_gets_one_line(content, said, tmp_path):
    (tmp_path / "w.yaml").write_text(content)
    with pytest.raises(JudgeError) as caught:
        read_words(tmp_path / "w.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_length_pattern_schema_and_sentiment_by_hand(tmp_path):
    assert Length().scores(["", ""], ["two words", ""]) == [2.0, 0.0]
    assert read_pattern(r"\?\s*$").scores(["", ""], ["Why?", "Why? So."]) == [1.0, 0.0]
    schema = tmp_path / "s.json"
    schema.write_text(json.dumps({"type": "object", "required": ["a"]}))
    fits = read_schema(schema)
    assert fits.scores([""] * 4, ['So: {"a": 1} end', '{"b": 1}', "{", "[1]"]) == [1, 0, 0, 0]
    good, bad = find_sentiment().scores(["", ""], ["I love this, great!", "I hate this."])
    assert bad < -0.05 < 0.05 < good


def test_a_language_is_not_taken_for_its_neighbours():
    said = {
        "fr": "Il faut attendre un peu, la pluie va cesser dans une heure.",
        "es": "Hay que esperar un poco, la lluvia va a parar en una hora de la tarde.",
        "it": "Bisogna aspettare un poco, la pioggia smette tra un'ora.",
        "en": "One has to wait a while; the rain will stop within the hour.",
    }
    for code in ("fr", "es"):
        judge = find_language(code)
        scores = dict(zip(said, judge.scores([""] * len(said), list(said.values())), strict=True))
        assert {name for name, score in scores.items() if score > judge.threshold} == {code}
    for wrong in ("french", "zxx", "", "FR"):
        with pytest.raises(UnknownNameError, match="language of the judge language:CODE"):
            find_language(wrong)
    with pytest.raises(JudgeError, match="language:CODE"):
        check_judge("language")


def test_a_judge_whose_library_is_missing_says_how_to_get_it(monkeypatch):
    for name, find in (("py3langid.langid", lambda: find_language("fr")),):
        _identifier.cache_clear()
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(JudgeError, match=r"pip install steerscope\[judges\]"):
            find()
    _identifier.cache_clear()


SLOW, HARD = "(a{1,1000}){1,1000}$", "a" * 2000 + "b"


def test_a_pattern_that_never_ends_is_given_up_on_in_every_judge_that_has_one(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(searching, "_SECONDS", 0.1)
    words, schema, named = (tmp_path / name for name in ("w.yaml", "s.json", "n.json"))
    words.write_text(f"positive: ['{SLOW}']\n")
    schema.write_text(json.dumps({"items": {"pattern": SLOW}}))
    named.write_text(json.dumps({"patternProperties": {SLOW: {}}}))
    for judge, text in (
        (read_pattern(SLOW), HARD),
        (read_words(words), HARD),
        (read_schema(schema), json.dumps([HARD])),
        (read_schema(named), json.dumps({HARD: 1})),
    ):
        with pytest.raises(JudgeError, match="takes more than 0.1 seconds on one text") as caught:
            judge.scores([""], [text])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "http://127.0.0.1:9/s.json"}, "nothing is fetched"),
        ({"items": {"anyOf": [{"$ref": "other.json"}]}}, "'other.json' is not in the file"),
        ({"items": {"$ref": "#/$defs/no"}}, "is not in the file"),
        ({"$ref": "#"}, "refers to itself without end"),
        (None, "a schema is an object"),
        ({"type": "thing"}, "is no JSON schema"),
    ],
)
def test_a_schema_is_read_from_its_file_alone(schema, said, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(schema))
    with pytest.raises(JudgeError) as caught:
        read_schema(tmp_path / "s.json").scores([""], ["[1]"])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schema_may_refer_to_its_own_parts_and_nesting_ends_somewhere(tmp_path):
    own = {
        "items": {"$ref": "#/$defs/n"},
        "$defs": {"n": {"type": "number"}},
        "examples": [{"$ref": "x"}],
    }
    (tmp_path / "s.json").write_text(json.dumps(own))
    fits = read_schema(tmp_path / "s.json")
    assert fits.scores([""] * 3, ["[1]", '["a"]', "[" * 10**5]) == [1.0, 0.0, 0.0]


def test_a_function_of_the_users_is_asked_with_text_or_prompt_and_text():
    assert UserFunction("builtins:len").scores([""], ["four"]) == [4.0]
    place = f"{__name__}:shared"
    assert UserFunction(place).scores(["ab"], ["abc"]) == [2.0]
    assert math.isnan(UserFunction(f"{__name__}:silent").scores([""], ["x"])[0])
    for name, said in (
        ("broken", "raised on 'x' (ZeroDivisionError: division by zero"),
        ("talkative", "returned 'much' for 'x', no number"),
        ("nowhere", "cannot import"),
        ("leaving", "it left the program: 3"),
        ("endless", "RecursionError"),
        ("many", "returned '[1.0]' for 'x', no number"),
        ("opaque", "returned something of class Opaque for 'x', no number"),
    ):
        with pytest.raises(JudgeError, match=name) as caught:
            UserFunction(f"{__name__}:{name}").scores([""], ["x"])
        assert said in str(caught.value)


def test_a_function_gets_what_the_user_said_whether_it_is_fitted_on_pairs_or_reads_a_run():
    place = f"{__name__}:words_of_the_prompt"
    asks = "tell me of joy"
    pair = ContrastPair(*(as_conversation(asks).then(a) for a in ("yes", "no")), "joy")
    fitted = from_pairs(Split(*[ContrastSet("s", (pair,))] * 3)).fit[0]
    turns = [Message("system", "Be kind."), *as_conversation(asks).messages]
    in_a_run = ChatText(f"<system>Be kind.<user>{asks}<assistant>", turns, template=None)
    prompts = [fitted.prompt, in_a_run, asks]
    assert UserFunction(place).scores(prompts, ["yes"] * 3) == [4.0] * 3


def words_of_the_prompt(prompt, text):
    return len(prompt.split())


def shared(prompt, text):
    return len(set(prompt) & set(text))


def silent(text):
    return None


def broken(text):
    return 1 / 0


def talkative(text):
    return "much"


def leaving(text):
    sys.exit(3)


def endless(text):
    return endless(text)


def many(text):
    return [1.0]


class Opaque:
    def __str__(self):
        raise ValueError


def opaque(text):
    return Opaque()


def test_a_function_in_the_working_directory_is_found_and_prints_where_no_program_reads(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "judge_of_mine.py").write_text("def f(text):\n    print('hello')\n    return 2\n")
    before = list(sys.path)
    assert UserFunction("judge_of_mine:f").scores([""], ["x"]) == [2.0]
    assert sys.path == before
    assert capsys.readouterr() == ("", "hello\n")


@pytest.mark.parametrize("name", ["words", "regex", "json", "hf", "python"])
def test_a_judge_that_needs_something_after_its_colon_says_what(name):
    with pytest.raises(JudgeError, match=f"is written {name}:"):
        check_judge(name)


def test_an_unknown_judge_lists_the_known_and_nothing_follows_one_that_takes_nothing():
    with pytest.raises(UnknownNameError) as caught:
        check_judge("oracel")
    assert all(name in str(caught.value) for name in NAMES)
    for name in ("length:3", "oracle:x", "preference:"):
        with pytest.raises(JudgeError, match="takes nothing after it"):
            check_judge(name)


def test_a_threshold_is_fitted_where_the_judge_has_none_and_finds_the_side():
    short = LabelledTexts(
        "by hand", *[texts_of(("a", True), ("b b", True), ("c " * 9, False), ("d " * 7, False))] * 2
    )
    known = make_judge("length", Means(short, "terse"), "terse")
    assert (known.judge.threshold, known.judge.sign) == (4.5, -1)
    assert (known.card.sensitivity.value, known.card.specificity.value) == (1.0, 1.0)
    readings = known.judge.read_all([Prompt("p")] * 2, [Continuation((1,), "x x", ended=True)] * 2)
    assert readings == [{SHOWN: 1.0, SCORE: 2.0}] * 2


def test_an_empty_text_has_no_score_and_the_scorer_is_not_asked():
    judge = ScoreJudge("length", Length(), 4.5, -1, "terse")
    read = judge.read(Prompt("p"), Continuation((), " ", ended=True))
    assert all(map(math.isnan, read.values()))


@pytest.mark.parametrize("name", ["classifier", "length", "regex:joy"])
def test_a_judge_is_stored_and_had_again_with_the_same_scores(name, tmp_path):
    known = make_judge(name, Means(TEXTS, "joy"), "joy")
    (tmp_path / "judge.json").write_text(as_stored(known))
    again = read_judge(tmp_path / "judge.json")
    assert again.card == known.card
    texts = ["full of joy", "cold and sad", ""]
    there, here = again.judge.scores([""] * 3, texts), known.judge.scores([""] * 3, texts)
    assert there == pytest.approx(here, nan_ok=True)
    assert there[0] > again.judge.threshold or name == "length"


def test_a_text_without_a_word_that_a_classifier_knows_is_not_read(tmp_path):
    known = make_judge("classifier", Means(TEXTS, "joy"), "joy")
    strange = ["Die Katze schlief!", "кот, кот", "a9f0 77de, 0xff", "???"]
    assert np.isnan(known.judge.scores([""] * 4, strange)).all()
    read = known.judge.read(Prompt("p"), Continuation((1,), strange[0], ended=True))
    assert all(map(math.isnan, read.values()))
    assert not np.isnan(known.judge.scores([""] * 2, ["Katze und joy", "so sad!"])).any()
    marked = (*texts_of(("f(x); g(y);", True), ("h(z);", True)), *HAPPY[2:])  # by marks alone
    code = make_judge("classifier", Means(LabelledTexts("by hand", marked, marked), "c"), "c")
    unknown = code.judge.scores([""] * 2, ["foo(bar);", "foo? bar"])
    assert unknown[0] > 0
    assert math.isnan(unknown[1])
    card = measure_card(known.judge, (*HAPPY, *texts_of(("Katze", True))), "by hand")
    assert card.unread == 1
    # A run from before read them, and is verified as it was made.
    stored = json.loads(as_stored(known))
    (tmp_path / "judge.json").write_text(json.dumps(stored))
    assert math.isnan(read_judge(tmp_path / "judge.json").judge.scores([""], strange[:1])[0])
    del stored["reads_strange"]
    (tmp_path / "judge.json").write_text(json.dumps(stored))
    before = read_judge(tmp_path / "judge.json").judge.scores([""] * 4, strange)
    assert [math.isnan(x) for x in before] == [False, False, False, True]


def test_a_damaged_judge_is_named(tmp_path):
    path = tmp_path / "judge.json"
    for content in ("{", "[]", '{"name": "length"}', '{"name": "length", "texts": 3}'):
        path.write_text(content)
        with pytest.raises(JudgeError, match=r"judge\.json"):
            read_judge(path)


def test_labelled_texts_are_read_from_csv_and_json_and_split_without_overlap(tmp_path):
    rows = [(f"text {i}", i % 2) for i in range(20)] * 2
    table = tmp_path / "l.csv"
    table.write_text("text,label\n" + "".join(f"{t},{v}\n" for t, v in rows))
    lines = tmp_path / "l.jsonl"
    lines.write_text("".join(json.dumps({"text": t, "label": bool(v)}) + "\n" for t, v in rows))
    for found in (from_file(table), from_file(lines)):
        assert len(found.fit) + len(found.held_out) == 40
        assert not {t.text for t in found.fit} & {t.text for t in found.held_out}
        assert all(t.positive == (int(t.text.split()[1]) % 2 == 1) for t in found.fit)


def labelled_file(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return from_file(path)


def test_labelled_texts_that_are_the_same_but_for_names_are_one_in_the_card(tmp_path):
    names = [f"N{chr(97 + i)}" for i in range(20)]
    moods = {
        "happy": 1,
        "glad": 1,
        "merry": 1,
        "cheerful": 1,
        "sad": 0,
        "low": 0,
        "grim": 0,
        "sour": 0,
    }
    rows = [{"text": f"{n} was {m}.", "label": v} for m, v in moods.items() for n in names]
    found = labelled_file(tmp_path / "many.jsonl", rows)
    sides = [{t.text.split()[-1] for t in part} for part in (found.fit, found.held_out)]
    assert not sides[0] & sides[1]
    assert len({t.group for t in found.held_out}) == 4
    # Of one sentence for each class nothing is left to halve, and the card says how few it is.
    few = [row for row in rows if row["text"].endswith((" happy.", " sad."))]
    found = labelled_file(tmp_path / "few.jsonl", few)
    assert {t.text for t in found.fit}.isdisjoint({t.text for t in found.held_out})
    card = make_judge("classifier", Means(found, "joy"), "joy").card
    assert (card.sensitivity.n, card.specificity.n, card.tells) == (1, 1, False)


def test_labelled_texts_to_one_prompt_stay_in_one_half_where_there_are_enough(tmp_path):
    words = "abcdefghijklmnopqrstuvwxyz"
    rows = [
        {"text": f"x{words[i]} y{words[j]}", "label": j % 2, "prompt": f"p{words[i]}"}
        for i in range(12)
        for j in range(4)
    ]
    found = labelled_file(tmp_path / "l.jsonl", rows)
    assert {t.prompt for t in found.fit}.isdisjoint({t.prompt for t in found.held_out})
    assert len({t.group for t in (*found.fit, *found.held_out)}) == 12
    one = labelled_file(tmp_path / "one.jsonl", [row | {"prompt": "p"} for row in rows])
    assert len({t.group for t in (*one.fit, *one.held_out)}) == 48


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("label,text\n1,a\n1,so, and so on\n", "row 2: has 3 cells where the first line names 2"),
        ("text,label\na,1\nb,1\nc,1\nd,1\n", "0 negative texts"),
        ("text,label\na,maybe\n", "row 1: needs a text and a label"),
        ("word,label\na,1\n", "needs the columns label and text"),
        ("text,label\na,1\nb,1\nc,0\nd,0\n", "1 positive and 1 negative texts"),
    ],
)
def test_a_bad_file_of_labels_gets_one_line(content, said, tmp_path):
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(JudgeError) as caught:
        from_file(tmp_path / "l.csv")
    assert said in str(caught.value)


def test_a_text_classifier_of_transformers_is_read_by_its_label(tmp_path):
    tokenizer = word_tokenizer()
    tokenizer.pad_token = "</s>"
    shape = {"vocab_size": 96, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BertConfig(
        **shape, intermediate_size=8, id2label={0: "bad", 1: "good"}, pad_token_id=2
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    texts = LabelledTexts(
        "by hand", *[texts_of(("w3", True), ("w4", True), ("w5", False), ("w6 w7", False))] * 2
    )
    good = make_judge(f"hf:{tmp_path / 'bert'}", Means(texts, "good"), "good").judge
    bad = make_judge(f"hf:{tmp_path / 'bert'}=bad", Means(texts, "bad"), "bad").judge
    for g, b in zip(
        good.scores(["", ""], ["w3 w4", "w9"]), bad.scores(["", ""], ["w3 w4", "w9"]), strict=True
    ):
        assert g + b == pytest.approx(1.0)
    (longest,) = good.scores([""], ["w3 " * 1000])  # cut, where its tokenizer knows no limit
    assert 0 < longest < 1
    with pytest.raises(JudgeError, match="no label 'fine'; it has bad, good"):
        make_judge(f"hf:{tmp_path / 'bert'}=fine", Means(texts, "fine"), "fine")
    with pytest.raises(JudgeError, match="cannot load the text classifier"):
        make_judge(f"hf:{tmp_path / 'none'}", Means(texts, "good"), "good")


@pytest.mark.parametrize("pads", [True, False])
def test_a_text_classifier_reads_each_text_alone_where_it_has_no_padding(pads, tmp_path):
    shape = {"vocab_size": 96, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 16}
    torch.manual_seed(0)
    model = GPT2ForSequenceClassification(GPT2Config(**shape, pad_token_id=0 if pads else None))
    model.save_pretrained(tmp_path / "m")
    word_tokenizer().save_pretrained(tmp_path / "m")  # which has no token for padding
    texts = ["w3", "w4 w5 w6", "w7 " * 40]
    judge = HubClassifier(str(tmp_path / "m"))
    together = judge.scores([""] * 3, texts)
    assert together == [judge.scores([""], [text])[0] for text in texts]


def test_a_text_classifier_that_fails_on_a_text_gets_one_line(monkeypatch):
    class Broken:
        labels = ("bad", "good")

        def probabilities(self, texts):
            raise RuntimeError("index out of range")

    monkeypatch.setattr(hub, "_loaded", lambda _: Broken())
    with pytest.raises(JudgeError, match="m cannot read 'w3' .*index out of range"):
        HubClassifier("m").scores(["", ""], ["w3", "w4"])

"""The bundled sets for chat models: varied, matched, described, and as their script writes them."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

from steerscope.audits.lint import lint
from steerscope.audits.tells import variants
from steerscope.judges.scorers.language import find_language
from steerscope.studies.judging import find_judge, question_of
from steerscope.texts.about import About, about
from steerscope.texts.bundled import bundled_contrasts, bundled_prompts, data_folder
from steerscope.texts.contrasts import EVERYDAY, load_contrasts, load_prompts, split_prompts_for

FOLDER = data_folder() / "contrasts"
CHAT_SETS = (
    "code", "confident", "facts", "first_person", "formal", "french", "honesty", "questions",
    "refusal", "sentiment", "sycophancy", "terse", "weather",
)  # fmt: skip


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_chat_sets", FOLDER / "make_chat_sets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_writes_the_files_that_are_bundled(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "HERE", tmp_path)
    script.main()
    written = sorted(path.name for path in tmp_path.iterdir())
    kinds = ("jsonl", "prompts.jsonl", "about.json")
    named = [f"{name}.{kind}" for name in CHAT_SETS for kind in kinds]
    assert written == sorted([*named, f"{EVERYDAY}.prompts.jsonl"])
    for name in written:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


@pytest.mark.parametrize("name", CHAT_SETS)
def test_a_set_has_many_distinct_contrasts_and_prompts_of_its_own(name):
    contrasts, prompts = load_contrasts(name), load_prompts(name)
    assert 60 <= len(contrasts) <= 200
    assert len(set(contrasts.groups)) >= 40
    asked = {pair.positive.messages[0].content for pair in contrasts.pairs}
    assert len(asked) >= 40
    texts = [prompt.text for prompt in prompts.prompts]
    assert (
        len(set(prompts.groups)) == len(set(variants([(t,) for t in texts]))) == len(texts) >= 150
    )
    assert not asked & set(texts)


@pytest.mark.parametrize("name", CHAT_SETS)
def test_a_set_is_clean_but_for_what_is_inherent_and_said_so(name):
    found, known = lint(name), about(name)
    assert [f.severity for f in found] == ["note"] * len(found), [str(f) for f in found]
    assert {f.check for f in found} == set(known.inherent)
    for finding in found:
        assert known.inherent[finding.check] in finding.remedy


def test_every_bundled_set_is_described_and_has_prompts():
    assert {*bundled_contrasts(), EVERYDAY} == set(bundled_prompts())
    assert set(bundled_contrasts()) >= {*CHAT_SETS, "mood", "happy_sad"}
    for name in bundled_contrasts():
        known = about(name)
        assert known.positive, name
        assert known.negative, name
        assert known.judge, name
        assert known.made_by, name
        assert known.licence == "MIT", name


@pytest.mark.parametrize("name", ["code", "first_person", "questions", "weather"])
def test_a_pattern_that_is_suggested_as_judge_tells_the_sides_of_its_set(name):
    kind, _, pattern = about(name).judge.partition(":")
    assert kind == "regex"
    said = [pair.said for pair in load_contrasts(name).pairs]
    shares = [
        sum(bool(re.search(pattern, pair[side])) for pair in said) / len(said) for side in (0, 1)
    ]
    assert shares[0] >= 0.95
    assert shares[1] <= 0.05


def test_the_french_answers_are_french_and_the_others_are_not():
    kind, _, code = about("french").judge.partition(":")
    assert kind == "language"
    french, english = zip(*(pair.said for pair in load_contrasts("french").pairs), strict=True)
    judge = find_language(code)
    for texts, low, high in ((french, 0.95, 1.0), (english, 0.0, 0.05)):
        scores = judge.scores([""] * len(texts), texts)
        assert low <= sum(score > judge.threshold for score in scores) / len(texts) <= high


def test_a_terse_answer_is_the_shorter_one():
    assert about("terse").judge == "length"
    for pair in load_contrasts("terse").pairs:
        positive, negative = (len(text.split()) for text in pair.said)
        assert positive < negative


def test_every_answer_to_a_fact_is_right_once_and_wrong_once():
    """So that a model which only likes one answer better gets half of them right."""
    right, wrong = (
        sorted(pair.said[side].rstrip(".").split()[-1] for pair in load_contrasts("facts").pairs)
        for side in (0, 1)
    )
    assert right == wrong


def test_what_is_not_described_is_empty(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"positive": "a", "negative": "b", "concept": "c"}) + "\n")
    assert about(path) == about("style:terse") == About()


@pytest.mark.parametrize("name", ["weather", "french", "terse"])
def test_the_judge_that_a_set_names_can_be_had_and_tells_its_held_out_answers_apart(
    name, microworld, tmp_path
):
    contrasts = load_contrasts(name)
    prompts = split_prompts_for(contrasts, None, 0, max_select=4, max_test=4)
    judge = about(name).judge  # for the weather a pattern that is longer than a file name may be
    question = question_of({"judge": judge}, contrasts, prompts, n_new=20, seed=0)
    found = find_judge(question, microworld, tmp_path / "run")
    assert found.known.card.tells
    assert found.judge.effect.positive == contrasts.concept

"""Asking in words as the rival of steering: which prompts, and what the sentence says of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from steerscope.audits.damage import missing_rows
from steerscope.audits.evidence import Evidence
from steerscope.judges.card import Card
from steerscope.judges.effects import KL_WRITTEN
from steerscope.statistics import Estimate
from steerscope.steering.prompting import BOTH, EXAMPLES, INSTRUCTION, METHODS, Prompting
from steerscope.studies.steering import asking
from steerscope.studies.steering.asking import asking_cells
from steerscope.studies.steering.asking_words import compared
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.measure import run_study
from steerscope.studies.steering.plan import StudyPlan
from steerscope.studies.steering.texts import Texts
from steerscope.studies.steering.verdict import Cost
from steerscope.studies.steering.wording import answer, verdict
from steerscope.texts.contrasts import (
    ContrastPair,
    ContrastSet,
    Prompt,
    PromptSet,
    Split,
    style_contrasts,
)
from steerscope.texts.styles import find_style
from tests.helpers import steered_rows
from tests.studies.test_findings import finished, held_out_rows, sweep_rows

PAIRS = ContrastSet(
    "words", tuple(ContrastPair(f"w{i} w6 w7", f"w{i} w8 w9", "c") for i in range(10, 22))
)


def asked_of(plan, model, pairs, *prompts):
    texts = Texts(pairs, Split(pairs, pairs, pairs), Split(*(PromptSet("p", prompts),) * 3))
    return [c.interventions[0] for c in asking_cells(plan, model, texts, judged=True)]


def asked_rows(share, method=INSTRUCTION, split="test", nats=0.4):
    rows = [
        replace(r, layer=-1, dose_absolute=math.nan, dose_relative=math.nan, dose_natural=math.nan)
        for r in steered_rows(-1, 0.0, share, method=method, split=split, kl=math.nan)
    ]
    written = [
        replace(r, metric=KL_WRITTEN, value=nats, unit="nats")
        for r in rows
        if r.metric == "flipped"
    ]
    return rows + written


def of(path, *asked):
    run = finished(path, sweep_rows() + held_out_rows(effect=0.7) + [r for a in asked for r in a])
    found = find(run)
    [line] = [line for line in answer(found) if line.startswith("Asking")]
    return found, line, verdict(found)


def test_asking_that_does_better_is_said_in_the_sentence_with_its_interval(tmp_path):
    found, line, sentence = of(tmp_path / "r", asked_rows(0.95))
    [rival] = found.rivals
    assert rival.ahead.value == pytest.approx(0.25)
    assert rival.ahead.low > 0
    assert line.startswith("Asking does better: 95.0 % [")
    assert "against 70.0 % [" in line
    assert "difference +25.0 points [" in line
    assert "at 0.40 against unknown nats per token written" in line
    assert sentence.startswith("Yes")
    assert "; asking for it by an instruction does better, by +25.0 points [" in sentence


def test_a_judge_that_cannot_tell_does_not_tell_how_asking_does(tmp_path):
    found, _, _ = of(tmp_path / "r", asked_rows(0.95))
    blind = replace(found, card=Card(*[Estimate(0.5, 0.4, 0.6, 40)] * 3, unread=0, source="pairs"))
    assert not blind.card.tells
    assert "asking" not in verdict(blind)
    [line] = [line for line in answer(blind) if line.startswith("Asking")]
    assert line.startswith("Asking is not told apart (the judge cannot tell): 95.0 % [")


@pytest.mark.parametrize(("unread", "told"), [(0.05, "does better"), (0.5, "is not told apart")])
def test_steered_texts_without_a_score_may_do_as_well_as_asking(tmp_path, unread, told):
    found, _, _ = of(tmp_path / "r", asked_rows(0.95))
    [rival] = found.rivals
    assert rival.ahead.low > 0.05
    shown = replace(found.effect, metric="shown")
    share = Estimate(unread, unread, unread, 60)
    cost = Cost("unread", "unread", share, share, is_share=True, worse=share, limit=0.05)
    assert compared(replace(found, effect=shown, costs=(cost,)), rival) == told


def test_asking_that_does_worse_or_is_not_told_apart_is_not_in_the_sentence(tmp_path):
    _, line, sentence = of(tmp_path / "worse", asked_rows(0.3))
    assert line.startswith("Asking does worse: 30.0 %")
    assert "asking" not in sentence
    _, line, sentence = of(tmp_path / "near", asked_rows(0.75))
    assert line.startswith("Asking is not told apart: 75.0 %")
    assert "asking" not in sentence


def test_what_was_not_asked_is_unknown(tmp_path):
    found, line, sentence = of(tmp_path / "r")
    assert found.rivals == ()
    assert line.startswith("Asking: not measured")
    assert "asking" not in sentence


def test_of_several_ways_the_one_that_did_best_on_other_texts_is_compared(tmp_path):
    found, line, _ = of(
        tmp_path / "r",
        asked_rows(0.9, INSTRUCTION),
        asked_rows(0.5, EXAMPLES),
        asked_rows(0.2, INSTRUCTION, "select"),
        asked_rows(0.6, EXAMPLES, "select"),
    )
    assert [r.method for r in found.rivals] == [EXAMPLES, INSTRUCTION]
    assert line.startswith("Asking does worse: 50.0 %")
    assert "Also asked: by an instruction 90.0 % [" in line
    assert not set(METHODS) & set(found.summary.method)  # they have neither layer nor dose


def test_what_asks_is_of_the_prompts_of_a_positive_dose_for_the_audit(tmp_path):
    run = finished(tmp_path / "r", sweep_rows() + held_out_rows() + asked_rows(0.9))
    assert missing_rows(Evidence(run)) == []
    lacking = [r for r in asked_rows(0.9) if r.prompt]
    run = finished(tmp_path / "lacking", sweep_rows() + held_out_rows() + lacking)
    assert missing_rows(Evidence(run))


def test_a_style_is_asked_for_in_its_own_words_and_a_set_by_its_positive_texts(load):
    model, prompts = load("llama"), (Prompt("w40 w41"), Prompt("w42"))
    style = find_style("terse")
    terse, pairs = StudyPlan(contrasts="style:terse"), style_contrasts(style)
    assert asked_of(terse, model, pairs, *prompts) == [Prompting(style.wanted)]
    texts = Texts(pairs, Split(pairs, pairs, pairs), Split(*(PromptSet("p", prompts),) * 3))
    assert asking_cells(terse, model, texts, judged=False) == []
    plan = StudyPlan(contrasts="words", instruction="w50 w51", examples=2, n_new=4)
    said, shown, both = asked_of(plan, model, PAIRS, *prompts)
    assert [p.method for p in (said, shown, both)] == [INSTRUCTION, EXAMPLES, BOTH]
    assert said.instruction == "w50 w51"
    assert len(shown.examples) == 2
    assert set(shown.examples) <= {p.positive for p in PAIRS.pairs}
    assert both == Prompting("w50 w51", shown.examples)
    assert asked_of(replace(plan, instruction=None, examples=0), model, PAIRS, *prompts) == []


def test_no_more_examples_are_shown_than_the_context_holds(load):
    model = load("llama")
    plan = StudyPlan(contrasts="words", n_new=model.shape.n_context - 8)
    [shown] = asked_of(
        plan, model, PAIRS, Prompt("w40 w41")
    )  # <s>, two words, one example of three
    assert len(shown.examples) == 1
    assert asked_of(replace(plan, n_new=plan.n_new + 4), model, PAIRS, Prompt("w40 w41")) == []


def test_how_many_examples_there_is_room_for_is_said_once(load, caplog):
    model = load("llama")
    plan = StudyPlan(contrasts="words", n_new=model.shape.n_context - 11)
    asking._say_held.cache_clear()
    with caplog.at_level("INFO", "steerscope"):
        for _ in range(3):
            asked_of(plan, model, PAIRS, Prompt("w40 w41"))
    assert len([r for r in caplog.records if "of 4 examples" in r.getMessage()]) == 1


def test_the_pairs_that_are_compared_have_room_after_the_examples_as_well(load):
    model = load("llama")
    room = model.shape.n_context
    long = ContrastPair(
        f"w10 {'w6 ' * (room - 8)}w7", "w10 w8", "c"
    )  # room for an example of three
    pairs = replace(PAIRS, pairs=(*PAIRS.pairs, long))
    test = Split(PAIRS, PAIRS, pairs)
    texts = Texts(PAIRS, test, Split(*(PromptSet("p", (Prompt("w40 w41"),)),) * 3))
    plan = StudyPlan(contrasts="words", n_new=1)
    asked = [asking_cells(plan, model, texts, judged=True, paired=p) for p in (True, False)]
    paired, alone = [len(cells[0].interventions[0].examples) for cells in asked]
    assert (paired, alone) == (1, plan.examples)
    assert len(model.tokens(asked[0][0].interventions[0].seen(long.positive))) <= room


def test_a_study_asks_on_the_prompts_that_it_steers_on(tiny_folder, tmp_path):
    pairs = tmp_path / "words.jsonl"
    pairs.write_text(
        "".join(
            f'{{"positive": "{p.positive}", "negative": "{p.negative}", "concept": "c"}}\n'
            for p in PAIRS.pairs
        )
    )
    plan = StudyPlan(
        model=str(tiny_folder("llama")),
        contrasts=str(pairs),
        layers=(1,),
        doses=(1.0,),
        reference_dose=1.0,
        nulls=0,
        n_controls=1,
        n_new=4,
        instruction="w50 w51",
        examples=2,
        judge="length",
    )
    run = run_study(plan, tmp_path / "run")
    table = run.table()
    for split in ("select", "test"):
        here = table[table.split == split]
        assert set(METHODS) <= set(here.method)
        steered = here[(here.method == "mean_diff") & (here.dose_natural == 1.0)]
        for method in METHODS:
            mine = here[here.method == method]
            assert set(mine.prompt) == set(steered.prompt)
            assert mine.kl_nats.isna().all()
            assert set(mine.metric) == {*steered.metric, "nll_asked"}
    assert (table[table.method.isin(METHODS) & (table.metric == KL_WRITTEN)].value > 0).any()
    before = len(table)
    assert len(run_study(plan, tmp_path / "run").table()) == before
    assert {r.method for r in find(run).rivals} == set(METHODS)

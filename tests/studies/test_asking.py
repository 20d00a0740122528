"""Asking in words as the rival of steering: which prompts, and what the sentence says of them."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from steerscope.audits.damage import missing_rows
from steerscope.audits.evidence import Evidence
from steerscope.judges.card import Card
from steerscope.judges.effects import IMPLAUSIBLE, IMPLAUSIBLE_WHEN_ASKED, KL_WRITTEN
from steerscope.runs.distinct import groups_of
from steerscope.statistics import Estimate
from steerscope.steering.prompting import BOTH, EXAMPLES, INSTRUCTION, METHODS, Prompting
from steerscope.studies.steering import asking
from steerscope.studies.steering.asking import asking_cells
from steerscope.studies.steering.asking_words import compared
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.likelihood import likely_as
from steerscope.studies.steering.measure import run_study
from steerscope.studies.steering.plan import StudyPlan
from steerscope.studies.steering.success import PLAIN, undamaged
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


def with_likelihoods(rows, nats, metric="nll_plain"):
    """The rows, and how unlikely the texts of each method are under the plain model."""
    likelihoods = [
        replace(r, metric=metric, unit="nats", value=nats[r.method] + 0.1 * (-1) ** r.prompt)
        for r in rows
        if r.metric == "flipped" and r.split == "test" and r.method in nats
    ]
    return rows + likelihoods


@pytest.mark.parametrize(
    ("effect", "asked", "steered", "answer_is", "joint"),
    [
        (0.7, 3.3, 3.3, "Not shown: ", 0.7),
        (0.7, 3.3, 6.0, "No: ", 0.0),
        (0.7, 2.0, 3.3, "No: ", 0.0),
        (0.0, 3.3, 3.3, "No: ", 0.0),
    ],
    ids=["as what is asked for", "far from that", "asking is likely", "nothing shown"],
)
def test_a_text_may_be_as_unlikely_as_one_that_the_model_is_asked_for(
    tmp_path, effect, asked, steered, answer_is, joint
):
    rows = [*sweep_rows(), *held_out_rows(effect=effect), *asked_rows(0.95)]
    nats = {"plain": 2.0, "mean_diff": steered, INSTRUCTION: asked}
    found = find(finished(tmp_path / "r", with_likelihoods(rows, nats)))
    assert found.joint is not None
    assert found.joint.value == pytest.approx(joint, abs=0.01)
    assert verdict(found).startswith(answer_is)
    told = "as likely under the plain model as what it writes when asked by an instruction (3.30"
    said = " ".join(answer(found))
    assert (told in said) == (asked > 3.0)
    [line] = [line for line in answer(found) if line.startswith("Asking")]
    assert line.startswith("Asking does better: 95.0 %")
    assert ("nats per token under the plain model worse by 1.30" in line) == (asked > 3.0)
    [cost] = [c for c in found.costs if c.metric == "nll_plain"]
    assert cost.worse.value == pytest.approx(steered - 2.0)  # the price is told from plain texts


def test_texts_less_likely_than_those_that_are_asked_for_are_no_yes(tmp_path):
    rows = [*sweep_rows(), *held_out_rows(effect=0.7), *asked_rows(0.95)]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": 3.3, INSTRUCTION: 3.3})
    worse = [
        replace(r, value=6.0)
        if r.metric == "nll_plain" and r.method == "mean_diff" and r.prompt % 5 < 2
        else r
        for r in rows
    ]
    as_unlikely = verdict(find(finished(tmp_path / "as", rows)))
    assert as_unlikely.startswith("Not shown: ")
    assert "which does not tell fluent texts from broken ones" in as_unlikely
    found = find(finished(tmp_path / "worse", worse))
    assert found.gain.low > 0.1  # two in five texts are far off, and the others are shown alone
    sentence = verdict(found)
    assert sentence.startswith("Not shown: ")
    assert "its texts may be less likely than what is written when asked" in sentence


@pytest.mark.parametrize(
    ("plain", "steered", "answer_is", "joint"),
    [
        (3.3, 1.9, "Yes, at a price: ", 0.7),
        (3.3, 3.0, "No: ", 0.0),  # fluent to the plain model, and nothing that was asked for
        (6.0, 1.9, "No: ", 0.0),
    ],
    ids=["as what is asked for", "unlikely when asked", "unlikely unasked"],
)
def test_what_is_as_likely_as_what_is_asked_for_also_to_the_model_that_is_asked_may_be_a_yes(
    tmp_path, plain, steered, answer_is, joint
):
    rows = [*sweep_rows(), *held_out_rows(effect=0.7), *asked_rows(0.95)]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": plain, INSTRUCTION: 3.3})
    asked = {"plain": 2.5, "mean_diff": steered, INSTRUCTION: 1.8}
    found = find(finished(tmp_path / "r", with_likelihoods(rows, asked, "nll_asked")))
    assert found.joint is not None
    assert found.joint.value == pytest.approx(joint, abs=0.01)
    assert verdict(found).startswith(answer_is)
    said = " ".join(answer(found))
    assert f"and after the same words (1.80; steered {steered:.2f})" in said
    assert "nll_asked" not in {c.metric for c in found.costs}  # no cost against plain texts


def test_that_two_in_five_texts_are_nothing_that_is_asked_for_is_no_yes(tmp_path):
    rows = [*sweep_rows(), *held_out_rows(effect=0.7), *asked_rows(0.95)]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": 3.3, INSTRUCTION: 3.3})
    asked = {"plain": 2.5, "mean_diff": 1.8, INSTRUCTION: 1.8}
    rows = [
        replace(r, value=3.0)
        if r.metric == "nll_asked" and r.method == "mean_diff" and r.prompt % 5 < 2
        else r
        for r in with_likelihoods(rows, asked, "nll_asked")
    ]
    found = find(finished(tmp_path / "r", rows))
    assert found.gain.low > 0.1
    assert verdict(found).startswith("Not shown: ")
    assert (
        "its texts may be less likely than what is written when asked (nats per token under the model "
        "that is asked)"
    ) in verdict(found)


def test_a_plain_text_that_shows_the_concept_counts_whatever_a_model_that_is_asked_thinks_of_it(
    tmp_path,
):
    plain = with_plain_that_show_it(held_out_rows(effect=0.7), one_in=20)
    rows = [*sweep_rows(), *plain, *asked_rows(0.95)]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": 3.3, INSTRUCTION: 3.3})
    asked = {"mean_diff": 1.9, INSTRUCTION: 1.8}
    without, unlikely = (
        find(finished(tmp_path / str(n), with_likelihoods(rows, asked | more, "nll_asked")))
        for n, more in enumerate(({}, {"plain": 9.0}))
    )
    for found in (without, unlikely):
        assert found.gain.value == pytest.approx(0.65, abs=0.01)
        assert found.less_likely


def with_plain_that_show_it(rows, one_in):
    """The rows, and the concept in every so manieth text without steering."""
    return [
        replace(r, value=float(r.prompt % one_in == 0))
        if r.method == "plain" and r.metric == "flipped"
        else r
        for r in rows
    ]


@pytest.mark.parametrize(("one_in", "held_to"), [(3, None), (30, INSTRUCTION)])
def test_what_the_model_writes_by_itself_is_not_held_to_what_it_is_asked_for(
    tmp_path, one_in, held_to
):
    plain = with_plain_that_show_it(held_out_rows(effect=0.7), one_in)
    rows = [*sweep_rows(), *plain, *asked_rows(0.95)]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": 3.3, INSTRUCTION: 3.3})
    asked = {"plain": 2.5, "mean_diff": 1.9, INSTRUCTION: 1.8}
    found = find(finished(tmp_path / "r", with_likelihoods(rows, asked, "nll_asked")))
    assert found.likely_as == held_to
    assert verdict(found).startswith("Yes, at a price: ") == (held_to is not None)


@pytest.mark.parametrize("damage", ["empty", "canned", "copied", "degenerate"])
def test_texts_that_are_likely_when_asked_and_damaged_otherwise_are_not_a_yes(tmp_path, damage):
    rows = [*sweep_rows(), *held_out_rows(effect=0.7), *asked_rows(0.95)]
    rows = [r for r in rows if r.metric != damage]
    rows += [
        replace(r, metric=damage, unit="share", value=float(r.method == "mean_diff"))
        for r in rows
        if r.metric == "flipped"
    ]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": 3.3, INSTRUCTION: 3.3})
    rows = with_likelihoods(rows, {"mean_diff": 1.9, INSTRUCTION: 1.8}, "nll_asked")
    found = find(finished(tmp_path / "r", rows))
    assert found.joint.value == 0.0
    assert verdict(found).startswith(("No: ", "Not shown: "))


def test_texts_from_before_that_were_not_read_under_the_model_that_is_asked_are_no_no(tmp_path):
    rows = [*sweep_rows(), *held_out_rows(effect=0.7), *asked_rows(0.95)]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": 3.3, INSTRUCTION: 3.3})
    rows = with_likelihoods(rows, {"plain": 2.5, INSTRUCTION: 1.8}, "nll_asked")
    sentence = verdict(find(finished(tmp_path / "r", rows)))
    assert sentence.startswith("Not shown: ")
    assert "under the model that is asked was not measured" in sentence


def test_what_a_plain_model_finds_likely_is_not_held_to_what_is_asked_for(tmp_path):
    rows = [*sweep_rows(), *held_out_rows(effect=0.7), *asked_rows(0.95)]
    rows = with_likelihoods(rows, {"plain": 2.0, "mean_diff": 2.0, INSTRUCTION: 2.0})
    rows = with_likelihoods(rows, {INSTRUCTION: 1.0}, "nll_asked")  # of what was asked for alone
    found = find(finished(tmp_path / "r", rows))
    assert verdict(found).startswith("Yes")
    assert found.likely_as is None
    assert "after the same words" not in " ".join(answer(found))


def test_of_two_ways_of_asking_the_one_that_shows_most_says_how_unlikely_a_text_may_be(tmp_path):
    ways = [*asked_rows(0.95), *asked_rows(0.6, EXAMPLES)]
    rows = [*sweep_rows(), *held_out_rows(effect=0.7), *ways]
    nats = {"plain": 2.0, "mean_diff": 3.3, INSTRUCTION: 3.4, EXAMPLES: 4.4}
    found = find(finished(tmp_path / "r", with_likelihoods(rows, nats)))
    assert (found.likely_as, found.likely_nats) == (INSTRUCTION, pytest.approx(3.4))


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


@pytest.mark.parametrize(
    ("asked", "steered", "layer"),
    [(3.3, 3.3, 1), (3.3, 6.0, 2), (2.0, 3.3, 2)],
    ids=["as what is asked for", "far from that", "asking is likely"],
)
def test_the_choice_holds_texts_to_the_likelihood_of_what_is_asked_for(
    tmp_path, asked, steered, layer
):
    def nats(row):
        if row.method == INSTRUCTION:
            return asked
        if row.layer == 1:  # flips most and writes what is unlikely
            return steered
        return asked if row.value and row.prompt % 4 else 2.0  # elsewhere few flip and are as plain

    assert find(finished(tmp_path / "choice", asked_on_select(nats))).chosen.layer == layer


def test_a_concept_that_steering_shows_in_likely_texts_is_not_held_to_unlikely_ones_that_are_asked_for(
    tmp_path,
):
    def nats(row):
        return 3.3 if row.method == INSTRUCTION or row.layer == 1 else 2.0

    run = finished(tmp_path / "choice", asked_on_select(nats))
    found = find(run)
    assert found.chosen.layer == 2
    assert likely_as(run.table(), found.effect, "select", groups_of(run)) == PLAIN


def test_a_text_as_likely_as_plain_ones_is_whole_whatever_a_model_that_is_asked_thinks_of_it():
    nats = {"plain": [2.0, 2.2], "asked": [3.3, 3.5], "fluent": [2.1, 3.3]}
    asked = {"plain": [9.0, 9.0], "asked": [1.0, 1.1], "fluent": [6.0, 6.0]}
    values = {
        metric: pd.DataFrame.from_dict(of_cells, orient="index")
        for metric, of_cells in (("nll_plain", nats), ("nll_asked", asked))
    }
    whole = undamaged(values, [IMPLAUSIBLE, IMPLAUSIBLE_WHEN_ASKED], PLAIN, "asked")
    assert whole.to_numpy().tolist() == [[True, True], [True, True], [True, False]]


def asked_on_select(nats):
    """The rows of a sweep and of an instruction that shows the concept, with their likelihoods."""
    rows = [*sweep_rows(), *asked_rows(0.95, split="select")]
    return rows + [
        replace(r, metric="nll_plain", unit="nats", value=nats(r) + 0.1 * (-1) ** r.prompt)
        for r in rows
        if r.metric == "flipped"
    ]

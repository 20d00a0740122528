"""Which texts the likelihood of a text is held to: plain ones, or those that the model is asked for."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from steerscope.judges.effects import IMPLAUSIBLE, IMPLAUSIBLE_WHEN_ASKED
from steerscope.runs.distinct import groups_of
from steerscope.steering.prompting import EXAMPLES, INSTRUCTION
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.likelihood import likely_as
from steerscope.studies.steering.success import PLAIN, undamaged
from steerscope.studies.steering.wording import answer, verdict
from tests.studies.test_asking import asked_rows
from tests.studies.test_findings import finished, held_out_rows, sweep_rows


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

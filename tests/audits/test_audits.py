"""A clean run has no findings, and a run made to commit one mistake has exactly that one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from steerscope.audits import CHECKS, Evidence, Finding, audit, errors_of, sentence
from steerscope.audits.choice import chosen_layers
from steerscope.errors import RunError, UnknownNameError
from steerscope.report import write_report
from steerscope.studies.steering.nulls import SCREEN
from tests.audits.mistakes import MISTAKES
from tests.audits.recipes import (
    SHARES,
    clean,
    condition,
    control,
    direction,
    made,
    no_eigengap,
    plain,
    replace_rows,
    sampled,
    shown,
    stated,
)


def names(found: list[Finding]) -> set[str]:
    return {f.check for f in found}


def test_a_clean_run_has_no_findings(tmp_path):
    assert audit(made(clean(), tmp_path)) == []


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_found_and_nothing_else(tmp_path, name):
    recipe = clean()
    MISTAKES[name](recipe)
    found = audit(made(recipe, tmp_path))
    assert names(found) == {name}, "\n".join(map(str, found))
    for finding in found:
        assert finding.where
        assert finding.remedy
        assert all(np.isfinite(v) for v in finding.numbers.values())


def test_every_check_has_its_mistake():
    apart = {"report_disagrees", "baseline_differs"}
    assert set(MISTAKES) | apart == set(CHECKS)


def test_a_page_that_says_other_numbers_than_the_rows_is_found(tmp_path):
    run = made(clean(), tmp_path)
    page = write_report(run)
    assert audit(run) == []
    page.write_text(page.read_text().replace("91.7 %", "99.7 %"))
    assert names(audit(run)) == {"report_disagrees"}
    assert audit(run, leave_out=["report_disagrees"]) == []


def test_a_plain_model_that_scores_otherwise_beside_it_is_found(tmp_path):
    run, same = made(clean(), tmp_path, "one"), made(clean(), tmp_path, "same")
    assert audit(run) == []
    assert audit(same) == []
    recipe = clean()
    recipe.change(lambda r: plain("test")(r) and r.prompt == 5, value=1.0)
    made(recipe, tmp_path, "other")
    found = audit(run)
    assert names(found) == {"baseline_differs"}
    assert found[0].where.endswith("other")
    recipe.stored = {"n_new": 7}  # another number of new tokens shares no baseline
    made(recipe, tmp_path, "longer")
    assert len(audit(run)) == 1


@pytest.mark.parametrize(
    ("metric", "stored"),
    [
        ("repetition", {"top_p": 0.6}),
        ("repetition", {"repetition_penalty": 1.3}),
        ("preference", {"contrasts_sha256": "the classes swapped"}),
        ("judge_score", {"judge": "python:mine:other"}),
        ("shown", {"judge_sha256": ["other labels"]}),
    ],
)
def test_what_other_draws_other_pairs_or_another_judge_change_is_no_other_plain_model(
    tmp_path, metric, stored
):
    for name, value in (("one", 0.0), ("other", 1.0)):
        recipe = clean()
        recipe.stored = stored if name == "other" else {}
        of_plain = {
            r.prompt: replace(r, metric=metric, value=value)
            for r in clean().rows
            if plain("test")(r)
        }
        recipe.rows += of_plain.values()
        last = made(recipe, tmp_path, name)
    assert "baseline_differs" not in names(audit(last))


def test_few_pairs_by_which_nulls_are_looked_for_have_numbers_of_their_own(tmp_path):
    for name, value in (("grid", 0.0), ("race", 1.0)):
        recipe = clean()
        of_plain = {r.prompt: r for r in clean().rows if plain("test")(r)}.values()
        few = [replace(r, split=SCREEN, metric="preference", value=value) for r in of_plain]
        recipe.rows += few
        last = made(recipe, tmp_path, name)
    assert "baseline_differs" not in names(audit(last))


def test_a_run_about_another_concept_on_the_same_prompts_shares_what_is_read_of_any_text(tmp_path):
    run = made(clean(), tmp_path, "one")
    recipe = clean()
    recipe.stored = {"contrasts_sha256": "another"}
    recipe.change(plain("test"), value=1.0)  # its own flips
    made(recipe, tmp_path, "garden")
    assert audit(run) == []
    written = [replace(r, metric="repetition") for r in clean().rows if plain("test")(r)]
    for name, value in (("first", 2.0), ("second", 3.0)):
        recipe = clean()
        recipe.stored = {"contrasts_sha256": name}
        recipe.rows += [replace(r, value=value) for r in {(w.prompt): w for w in written}.values()]
        last = made(recipe, tmp_path, name)
    assert "baseline_differs" in names(audit(last))


def test_a_chat_run_compares_the_texts_of_the_file_and_not_those_in_the_template(tmp_path):
    recipe = clean()
    recipe.plan = replace(recipe.plan, chat=True, prompts=str(tmp_path / "prompts.txt"))
    (tmp_path / "prompts.txt").write_text("".join(f"{t}\n" for t in recipe.prompts.values()))
    bare = dict(recipe.prompts)
    recipe.prompts = {key: f"<user>{text}<bot>" for key, text in bare.items()}
    recipe.in_chat = True
    recipe.stored = {"contrasts_sha256": "of what stood in the template"}
    assert audit(made(recipe, tmp_path, "in chat")) == []
    recipe.prompts = bare
    assert names(audit(made(recipe, tmp_path, "bare"))) == {"template_mismatch"}


def test_a_prompt_in_a_fit_text_is_counted_once_and_in_a_chat_template_too(tmp_path):
    def counted(name):
        found = {f.check: f for f in audit(made(recipe, tmp_path, name))}
        return found["prompts_in_fit_texts"].numbers

    recipe = clean()
    MISTAKES["prompts_in_fit_texts"](recipe)
    assert 0 < counted("bare")["prompts"] <= 10  # of the pairs that are in the fit split
    assert counted("bare again")["of"] == 24
    sampled(recipe, 2)
    twice = counted("twice")
    assert twice["of"] == 12
    (tmp_path / "prompts.txt").write_text("".join(f"{t}\n" for t in recipe.prompts.values()))
    recipe.plan = replace(recipe.plan, chat=True, prompts=str(tmp_path / "prompts.txt"))
    recipe.prompts = {key: f"<user>{text}<bot>" for key, text in recipe.prompts.items()}
    recipe.in_chat = True
    recipe.stored = {"contrasts_sha256": "of what stood in the template"}
    assert counted("in chat") == twice


def test_errors_are_what_speaks_against_the_sentence_whatever_the_page_says(tmp_path):
    run = made(clean(), tmp_path, "fine")
    page = write_report(run)
    page.write_text(page.read_text().replace("91.7 %", "99.7 %"))
    assert errors_of(run) == []
    recipe = clean()
    MISTAKES["interval_holds_zero"](recipe)
    MISTAKES["class_lengths"](recipe)  # a warning
    found = errors_of(made(recipe, tmp_path, "spoilt"))
    assert [f.check for f in found] == ["interval_holds_zero"]


def test_a_choice_by_chance_is_said_by_the_rule_and_not_again_by_the_audit(tmp_path):
    recipe = clean()
    MISTAKES["uncorrected_choice"](recipe)
    run = made(recipe, tmp_path)
    assert "uncorrected_choice" in names(audit(run))
    assert "uncorrected_choice" not in names(errors_of(run))
    said = sentence(run)
    assert said.startswith("Not shown")
    assert said.count("a sweep without any effect") == 1


def test_what_cannot_be_checked_is_said(tmp_path):
    run = made(clean(), tmp_path)
    (run.path / "directions.safetensors").unlink()
    (tmp_path / "pairs.jsonl").unlink()
    found = audit(run)
    assert names(found) == {
        "class_lengths", "prompts_in_fit_texts", "template_mismatch", "text_confounds",
        "repeated_pairs", "same_vector", "one_vector_many_layers",
    }  # fmt: skip
    assert {f.severity for f in found} == {"note"}
    assert all("not checked" in f.what for f in found)


def test_one_vector_at_all_layers_is_found_though_each_has_its_own_name(tmp_path):
    recipe = clean()
    recipe.directions = [direction(layer, seed=1) for layer in SHARES]
    assert names(audit(made(recipe, tmp_path))) == {"one_vector_many_layers"}


def test_a_layer_at_the_end_of_those_tried_is_an_edge(tmp_path):
    recipe = clean()
    recipe.drop(lambda r: r.layer == 0)
    no_eigengap(recipe)
    recipe.plan = replace(recipe.plan, layers=(1, 2, 3, 4))
    recipe.n_layers = 8
    found = audit(made(recipe, tmp_path))
    assert names(found) == {"edge_of_grid"}
    assert "end of those tried" in found[0].what


def test_damage_above_the_effect_is_an_error_and_errors_come_first(tmp_path):
    recipe = clean()
    recipe.change(lambda r: stated(r) and r.metric == "kept_topic", value=0.0)
    recipe.plan = replace(recipe.plan, scope="everywhere")
    found = audit(made(recipe, tmp_path))
    assert [(f.check, f.severity) for f in found] == [
        ("damage", "error"), ("position_zero", "warning"),
    ]  # fmt: skip
    assert found[0].numbers["worse"] == pytest.approx(1.0)
    assert found[0].numbers["gain"] == pytest.approx(22 / 24)


@pytest.mark.parametrize(
    ("scope", "steered"),
    [
        ("from_token:7", False),
        ("from_token:7|generated", False),
        ("everywhere-from_token:7", True),
        ("window:0:2|after_token:7,9", True),
    ],
)
def test_a_scope_that_begins_at_a_token_is_audited_as_well(tmp_path, scope, steered):
    recipe = clean()
    recipe.plan = replace(recipe.plan, scope=scope)
    assert names(audit(made(recipe, tmp_path))) == ({"position_zero"} if steered else set())


def test_two_layers_that_do_as_well_are_chosen_in_turn(tmp_path):
    recipe = clean()
    MISTAKES["unstable_layer"](recipe)
    (found,) = audit(made(recipe, tmp_path))
    shares = [found.numbers[f"share_layer_{layer}"] for layer in (1, 2)]
    assert min(shares) > 0.2
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("gate", "words"),
    [("0.01", "open at all 5 layers"), ("0.01:below", "shut at all 5 layers"), ("0.6", None)],
)
def test_a_gate_is_idle_where_it_is_open_or_shut_everywhere(tmp_path, gate, words):
    recipe = clean()
    gated = condition(1, 2.0, 0.9, method="gated")
    recipe.rows += [
        replace(r, cell=r.cell.replace("strength=1", f"strength=eigengap:{gate}")) for r in gated
    ]
    found = audit(made(recipe, tmp_path))
    assert [words in f.what for f in found] == ([] if words is None else [True])


def test_a_run_without_rows_and_an_unknown_check_are_refused(tmp_path):
    run = made(replace_rows(clean(), []), tmp_path)
    with pytest.raises(RunError, match="no rows yet"):
        audit(run)
    with pytest.raises(UnknownNameError, match="few_prompts"):
        audit(run, leave_out=["few_prompt"])


def test_a_run_that_is_not_as_it_was_measured_is_not_judged(tmp_path):
    run = made(clean(), tmp_path)
    run.seal()
    assert audit(run) == []
    part = next((run.path / "rows").iterdir())
    part.write_bytes(part.read_bytes()[:-9])
    found = audit(run)
    assert names(found) == {"altered_records"}
    assert {f.severity for f in found} == {"error"}
    assert any(part.name in f.where for f in found)


def test_plain_texts_that_were_read_after_other_words_are_no_other_baseline(tmp_path):
    for name, value in (("one", 2.0), ("two", 3.0)):
        recipe = clean()
        read = {r.prompt: r for r in recipe.rows if plain("test")(r)}.values()
        recipe.rows += [replace(r, metric="nll_asked", unit="nats", value=value) for r in read]
        run = made(recipe, tmp_path, name)
    assert audit(run) == []


@pytest.mark.parametrize(
    ("opposite", "said"),
    [
        (0.0, []),
        (1.0, ["moves towards joy as well: its gain towards the opposite of joy is -0.708 share"]),
    ],
)
def test_an_opposite_dose_is_alike_where_it_shows_more_of_what_is_counted(tmp_path, opposite, said):
    recipe = clean()
    recipe.flip(plain("test"), 0.3)
    recipe.flip(lambda r: r.split == "test" and r.dose_natural == -2, opposite)
    shown(recipe)
    found = [f for f in audit(made(recipe, tmp_path)) if f.check == "both_signs_alike"]
    assert len(found) == len(said)
    assert all(words in f.what for words, f in zip(said, found, strict=True))


def test_layers_are_chosen_again_by_the_texts_that_each_could_be_read_in(tmp_path):
    """Every prompt is unread at some layer; of the texts read, layer 1 shows the most."""
    recipe = clean()
    recipe.flip(lambda r: (r.split, r.layer) == ("select", 2), 0.8)
    unread = {"value": math.nan, "status": "unread"}

    def gone(r):
        return r.split == "select" and r.metric == "flipped" and r.prompt % 5 == r.layer

    recipe.change(gone, **unread)
    run = made(recipe, tmp_path, "some")
    assert Evidence(run).findings.chosen.layer == 1
    layers = chosen_layers(Evidence(run))
    assert 0.5 < (layers == 1).mean() < 1
    assert set(layers) == {1, 2}
    assert sentence(run)
    recipe.change(
        lambda r: r.split == "select" and r.metric == "flipped" and r.layer >= 0, **unread
    )
    found = audit(made(recipe, tmp_path, "none"))
    assert "not checked" in next(f.what for f in found if f.check == "unstable_layer")


def test_several_samples_of_a_prompt_are_no_repeated_prompts(tmp_path):
    recipe = clean()
    sampled(recipe, 2)
    found = audit(made(recipe, tmp_path))
    assert names(found) == {"few_prompts"}
    assert "stated on 12 distinct prompts, fewer than 20" in found[0].what


def test_repeated_prompts_that_no_group_holds_together_are_too_narrow(tmp_path):
    recipe = clean()
    sampled(recipe, 2)
    recipe.groups = {}
    assert {"shared_prompts", "repeated_prompts"} <= names(audit(made(recipe, tmp_path)))


def test_samples_of_a_prompt_are_not_told_from_nothing_as_so_many_prompts(tmp_path):
    """Of four prompts one flips in all of its texts: six texts of 24, which say one thing."""
    recipe = clean()
    recipe.flip(stated, 0.25)
    sampled(recipe, 6)
    found = {f.check: f for f in audit(made(recipe, tmp_path))}
    for check in ("null_not_beaten", "interval_holds_zero"):
        assert found[check].numbers["prompts"] == 4
    assert "underpowered" not in found
    recipe = clean()
    recipe.change(lambda r: stated(r) and r.metric == "flipped", value=0.0)
    recipe.change(lambda r: stated(r) and r.metric == "flipped" and r.prompt % 4 != 0, value=1.0)
    recipe.change(lambda r: stated(r) and r.metric == "flipped" and r.prompt >= 12, value=0.0)
    sampled(recipe, 4)
    found = {f.check: f for f in audit(made(recipe, tmp_path, "half"))}
    # 3 of 6 prompts have it in most texts, which no interval of six tells from nothing; the middle of drawn ones does
    assert found["interval_holds_zero"].numbers["prompts"] == 6
    assert found["null_not_beaten"].numbers["low"] < 0
    assert "underpowered" not in found


def test_samples_of_one_prompt_have_no_interval_and_that_is_said(tmp_path):
    recipe = clean()
    sampled(recipe, 24)
    found = {f.check: f for f in audit(made(recipe, tmp_path))}
    assert found["few_prompts"].numbers["prompts"] == 1
    assert found["null_not_beaten"].what == (
        "the effect minus that of label-shuffled directions is +0.875 share (no interval: 1 distinct), "
        "which is not surely above 0"
    )
    assert not any("nan" in f.what for f in found.values())


def test_one_prompt_that_decides_is_left_out_with_all_its_texts(tmp_path):
    recipe = clean()
    recipe.change(lambda r: stated(r) and r.metric == "flipped" and r.prompt in (4, 5), value=4.0)
    assert "one_prompt_decides" not in names(audit(made(recipe, tmp_path, "texts")))
    sampled(recipe, 2)
    found = {f.check: f for f in audit(made(recipe, tmp_path, "samples"))}
    assert (
        "without prompt 4 the effect minus that of random directions is"
        in found["one_prompt_decides"].what
    )


def test_a_prompt_that_no_control_could_be_read_on_decides_nothing(tmp_path):
    recipe = clean()
    recipe.change(
        lambda r: control("random")(r) and r.metric == "flipped" and r.prompt == 0, value=math.nan
    )
    found = audit(made(recipe, tmp_path))
    assert "one_prompt_decides" not in names(found)
    assert not any("nan" in f.what for f in found)


def test_a_reference_dose_of_many_digits_is_not_missing_from_a_race(tmp_path):
    recipe = clean()
    third = 0.33333
    recipe.change(lambda r: r.dose_natural == 1.0, dose_natural=third)
    recipe.plan = replace(
        recipe.plan, doses=(third, 2.0, 3.0), reference_dose=third, search="adaptive"
    )
    assert "missing_conditions" not in names(audit(made(recipe, tmp_path)))

"""Claims: decided by their intervals and p values, against thresholds that their file states."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from steerscope.claims import (
    Judged,
    Measured,
    board,
    bundled_claims,
    by_model,
    check_claims,
    decide,
    load_claims,
)
from steerscope.claims.ledger import find_evidence, store_evidence
from steerscope.claims.measures import check_measure
from steerscope.claims.measures.measure import of_items
from steerscope.errors import BadValueError, ExperimentError, UnknownNameError
from steerscope.experiments import load_experiment
from steerscope.experiments.identity import folder_of
from steerscope.experiments.jobs import find_job
from steerscope.figures import claims_board
from steerscope.statistics import detectable_effect, power_of
from steerscope.texts.bundled import data_folder
from tests.claims.test_effects import SETTINGS, sweep, test_of


def number(low, high, p=0.01):
    return Measured((low + high) / 2, low, high, p, 50, "share", "prompts")


@pytest.mark.parametrize(
    ("direction", "threshold", "low", "high", "verdict"),
    [
        ("above", 0.0, 0.1, 0.3, "supported"),
        ("above", 0.2, 0.1, 0.3, "inconclusive"),
        ("above", 0.0, -0.3, -0.1, "refuted"),
        ("below", 0.05, 0.0, 0.04, "supported"),
        ("below", 0.05, 0.06, 0.2, "refuted"),
        ("below", 0.05, 0.04, 0.2, "inconclusive"),
        ("within", 0.05, -0.01, 0.04, "supported"),
        ("within", 0.05, -0.2, -0.06, "refuted"),
        ("within", 0.05, -0.06, 0.04, "inconclusive"),
        ("above", 0.0, math.nan, math.nan, "inconclusive"),
    ],
)
def test_an_interval_decides(direction, threshold, low, high, verdict):
    found = replace(number(low, high), draws=tuple(np.linspace(low, high, 999)))
    assert decide(test_of(direction, threshold), found) == verdict


def test_an_interval_without_a_p_value_decides_nothing():
    asked, found = test_of("below", 0.05), number(0.06, 0.2)
    assert math.isnan(found.p_at(0.05))
    assert decide(asked, found) == "inconclusive"
    assert decide(asked, replace(found, draws=(0.06,) * 19 + (0.2,) * 80)) == "refuted"
    assert decide(test_of("above", 0.0), number(0.1, 0.3, p=math.nan)) == "inconclusive"


def test_what_is_decided_by_p_needs_no_interval():
    asked, alone = test_of("above", 0.0, by="p"), replace(number(0.1, 0.3), low=math.nan)
    assert decide(asked, alone) == "supported"
    assert decide(asked, replace(alone, value=-0.2)) == "refuted"
    assert decide(asked, replace(alone, value=math.nan)) == "inconclusive"


def test_an_interval_that_its_p_value_does_not_bear_out_decides_nothing():
    assert decide(test_of("above", 0.0), number(0.1, 0.3, p=0.06)) == "inconclusive"
    assert decide(test_of("above", 0.0), number(-0.3, -0.1, p=0.06)) == "inconclusive"
    few = of_items(np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]), "share")
    assert decide(test_of("above", 0.0), few) == "supported"


def test_a_p_value_decides_with_the_sign():
    test = test_of("below", 0.0, by="p")
    assert decide(test, number(-0.9, -0.1, p=0.01)) == "supported"
    assert decide(test, number(0.1, 0.9, p=0.01)) == "refuted"
    assert decide(test, number(-0.9, -0.1, p=0.06)) == "inconclusive"


def test_unknown_measures_and_settings_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'single_minus_all'"):
        check_measure("single_minus_al", {})
    with pytest.raises(UnknownNameError, match="setting of the measure"):
        check_measure("effect_over_layers", {**SETTINGS, "layer": 3})
    with pytest.raises(BadValueError, match="needs depth"):
        check_measure("effect_over_layers", {k: SETTINGS[k] for k in ("method", "dose", "unit")})


def claims_file(path, **changes):
    lines = {
        "name": "late", "words": "w", "source": "s",
        "test": "{experiment: layer_sweep, measure: single_minus_all, direction: above, threshold: 0}",
    } | changes  # fmt: skip
    body = "\n    ".join(f"{k}: {v}" for k, v in lines.items() if v is not None)
    path.write_text(f"claims:\n  - {body}\n")
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": None}, "line 2: claims: give either a test or what it waits_for"),
        ({"waits_for": "more"}, "give either a test or"),
        ({"words": None}, "claims.words: Field required"),
        ({"verdict": "supported"}, "line 6: claims.verdict"),
        (
            {"test": "{experiment: e, measure: guess, direction: above, threshold: 0}"},
            "unknown measure",
        ),
        (
            {"test": "{experiment: e, measure: single_minus_all, direction: within, threshold: 0}"},
            "needs one above 0",
        ),
    ],
)
def test_a_bad_claim_is_refused_with_its_line(tmp_path, changes, words):
    with pytest.raises(ExperimentError, match="claims.yaml, line") as error:
        load_claims(claims_file(tmp_path / "claims.yaml", **changes))
    assert words in str(error.value)


def test_a_verdict_follows_the_rows_and_altered_rows_give_none(tmp_path, monkeypatch):
    monkeypatch.setattr("steerscope.claims.ledger.claims_folder", lambda: tmp_path / "none")
    experiment = load_experiment("layer_sweep")
    claims = [c for c in load_claims() if c.name == "late_layers_are_weaker"]
    assert check_claims(claims, tmp_path)[0].verdict == "open"
    made = []

    def make(wanted, out):
        made.append(wanted.name)
        [step] = find_job(wanted.job).steps(wanted)
        sweep(out / "runs" / step.name, (0.1, 0.8, 0.6, 0.2), settings=step.settings)
        (out / "experiment.json").write_text(wanted.model_dump_json())

    [judged] = check_claims(claims, tmp_path, make=make)
    assert (judged.verdict, made) == ("supported", ["layer_sweep"])
    store_evidence(experiment, tmp_path / "layer_sweep", tmp_path / "none/evidence/layer_sweep")
    [stored] = check_claims(claims, tmp_path / "elsewhere")
    assert stored.measured == judged.measured
    part = next((tmp_path / "layer_sweep").glob("runs/*/rows/*.parquet"))
    part.write_bytes(part.read_bytes() + b"x")
    [altered] = check_claims(claims, tmp_path)
    assert altered.verdict == "open"
    assert "cannot be used" in altered.evidence
    assert (altered.is_unusable, judged.is_unusable) == (True, False)


def test_runs_of_the_users_own_that_are_unfinished_are_not_passed_over_for_the_bundled_ones(
    tmp_path, run_cli
):
    experiment, folder = load_experiment("layer_sweep"), tmp_path / "layer_sweep"
    [claim] = [c for c in load_claims() if c.name == "late_layers_are_weaker"]
    [step] = find_job(experiment.job).steps(experiment)
    assert check_claims([claim], tmp_path)[0].evidence == "stored evidence of layer_sweep"
    own = sweep(folder / "runs" / step.name, (0.1, 0.8, 0.6, 0.2), settings=step.settings)
    (folder / "experiment.json").write_text(experiment.model_dump_json())
    assert check_claims([claim], tmp_path)[0].verdict == "supported"
    (own.path / "manifest.json").unlink()
    [judged] = check_claims([claim], tmp_path)
    assert (judged.verdict, judged.is_unusable) == ("open", True)
    assert "is not finished" in judged.evidence
    made = []
    check_claims([claim], tmp_path, make=lambda wanted, out: made.append((wanted.name, out)))
    assert made == [("layer_sweep", folder)]
    code, out, _ = run_cli("claims", "check", "--file", "claims", "--runs", tmp_path)
    assert code == 2
    n = sum(c.test.experiment == "layer_sweep" for c in load_claims() if c.test)
    assert f"{n} with evidence that cannot be used" in out
    assert "stored evidence of unit_lengths" in out
    (own.path / "run.json").write_text("{")
    (folder / "experiment.json").write_text("[]")
    assert [j.is_unusable for j in check_claims([claim], tmp_path)] == [True]


def test_an_experiment_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    asked = test_of("above", 0.0).model_copy(update={"experiment": str(tmp_path / "mine.yaml")})
    with pytest.raises(ExperimentError, match="mine.yaml"):
        check_claims([load_claims()[0].model_copy(update={"test": asked})], tmp_path)


def test_a_file_without_claims_is_refused_and_a_board_of_none_has_its_columns(tmp_path):
    (tmp_path / "claims.yaml").write_text("claims: []\n")
    with pytest.raises(ExperimentError, match="line 1: claims: there is no claim"):
        load_claims(tmp_path / "claims.yaml")
    one = board([Judged(load_claims()[0], "open", None, "")])
    assert list(board([]).columns) == list(one.columns)
    assert by_model(board([])).empty


@pytest.mark.parametrize("by", ["interval", "p"])
def test_a_test_says_all_that_decides_it(by):
    asked = test_of("above", 0.0, by=by)
    held = "95 % interval and p < 0.05" if by == "interval" else "p < 0.05"
    assert str(asked).endswith(f" above 0, by {held}")
    said = str(asked.model_copy(update={"measure": "single_minus_all", "settings": {}}))
    assert said.startswith(f"single minus all of {asked.experiment} above 0")


@pytest.mark.parametrize(
    ("direction", "threshold", "low", "high", "shown"),
    [
        ("above", 0.0, 0.004, 0.79, "[+0.004, +0.79]"),
        ("above", 0.0, -0.004, 0.79, "[-0.004, +0.79]"),
        ("above", 0.0, 0.0, 0.79, "[+0.00, +0.79]"),
        ("above", 0.2, -0.004, 0.2003, "[0.00, +0.2003]"),
        ("within", 0.05, -0.0498, 0.0502, "[-0.0498, +0.0502]"),
        ("above", 0.0, 3e-13, 0.79, "[+0.00, +0.79]"),
    ],
)
def test_an_end_is_shown_on_its_side_of_the_threshold(direction, threshold, low, high, shown):
    claim = load_claims()[0].model_copy(update={"test": test_of(direction, threshold)})
    found = board([Judged(claim, "supported", number(low, high), "here", ("m",), ("mood",))])
    assert by_model(found).m[0].endswith(shown)
    said = [a.text for a in claims_board(found).layout.annotations][0]
    assert f"{shown}, n = 50" in said


def test_the_bundled_claims_have_verdicts_from_bundled_evidence(tmp_path):
    judged = {j.claim.name: j for j in check_claims(load_claims(), tmp_path)}
    assert {j.verdict for j in judged.values()} - {"open"}
    for j in judged.values():
        assert (j.measured is None) == (j.verdict == "open")
        if j.measured is not None:
            assert decide(j.claim.test, j.measured) == j.verdict


def test_all_evidence_that_is_bundled_is_of_the_experiment_as_its_file_is_now(tmp_path):
    folders = sorted((data_folder() / "claims" / "evidence").iterdir())
    assert len(folders) > 5
    for folder in folders:
        assert find_evidence(load_experiment(folder.name), tmp_path) == folder


def test_the_board_shows_value_interval_threshold_and_verdict():
    claim = load_claims()[0]
    judged = [
        Judged(claim, "refuted", number(0.1, 0.3), "here"),
        Judged(replace_words(claim, "another"), "open", None, "nowhere"),
    ]
    figure = claims_board(board(judged))
    traces = {t.name: t for t in figure.data}
    assert list(traces["refuted (1)"].x) == [pytest.approx(0.2)]
    assert traces["refuted (1)"].error_x.array[0] == pytest.approx(0.1)
    assert list(traces["threshold of the test"].x) == [0.05]
    assert not any("open" in name for name in traces)  # nothing is drawn that was not measured
    assert figure.layout.xaxis.title.text.startswith("difference of shares")
    assert [a.text for a in figure.layout.annotations][0].startswith(
        '<b style="color:#D55E00">refuted</b><br>+0.20 [+0.10'
    )


@pytest.mark.parametrize("times", [1, 5])
def test_no_label_of_a_board_lies_over_the_next_and_its_bars_are_named(times):
    claim = load_claims()[0]
    long = claim.model_copy(update={"words": " ".join([claim.words] * times)})
    judged = [Judged(c, "refuted", number(0.1, 0.3), "here") for c in (long, long, claim)]
    figure = claims_board(board(judged))
    lines = max(text.count("<br>") + 1 for text in figure.layout.yaxis.ticktext)
    margin, (low, high) = figure.layout.margin, figure.layout.yaxis.range
    of_a_row = (figure.layout.height - margin.t - margin.b) / (high - low)
    assert of_a_row > 1.2 * figure.layout.font.size * lines
    assert any("Bars are 95 % intervals" in a.text for a in figure.layout.annotations)


def test_numbers_of_features_have_a_panel_with_a_scale_of_their_own():
    claim = load_claims()[0]
    counted = Measured(5.0, 3.0, 7.0, 0.1, 60, "features", "pairs")
    figure = claims_board(
        board(
            [
                Judged(claim, "refuted", number(0.1, 0.3), "here"),
                Judged(replace_words(claim, "another"), "refuted", counted, "here"),
            ]
        )
    )
    drawn = [(t.xaxis, list(t.x)) for t in figure.data if t.name == "refuted (2)"]
    assert drawn == [("x", [pytest.approx(0.2)]), ("x2", [5.0])]
    assert figure.layout.xaxis2.title.text == "features (number)"
    assert list(figure.layout.xaxis.range) == [-1.05, 1.05]
    assert figure.layout.xaxis2.range is None
    assert sum(t.showlegend for t in figure.data) == 2  # the verdict and the threshold


def test_the_axis_holds_every_interval_and_names_the_units_that_are_drawn():
    claim = load_claims()[0]
    units = (("R²", -3.0, 0.5), ("rho", -0.2, 0.4), ("nats", 2.0, 5.0))
    numbers = [Measured((a + b) / 2, a, b, 0.1, 9, unit, "prompts") for unit, a, b in units]
    figure = claims_board(board([Judged(claim, "refuted", m, "here") for m in numbers]))
    assert figure.layout.xaxis.title.text.startswith("rank correlation over layers, R² (")
    assert list(figure.layout.xaxis.range) == [pytest.approx(-3.15), 1.05]
    assert figure.layout.xaxis2.title.text == "nats"
    assert figure.layout.xaxis2.range is None


def test_p_is_of_the_number_against_the_threshold():
    items = np.linspace(0.02, 0.18, 40)  # mean 0.1, far from 0
    found = of_items(items, "share")
    assert found.p < 0.001
    assert found.p_at(0.1) > 0.9
    assert found.p_at(0.2) < 0.001
    near, far = (test_of("above", edge, by="p") for edge in (0.1, 0.05))
    assert decide(near, found) == "inconclusive"
    assert decide(far, found) == "supported"
    assert decide(test_of("below", 0.2, by="p"), found) == "supported"
    assert decide(test_of("above", 0.2, by="p"), found) == "refuted"
    assert decide(test_of("within", 0.2, by="p"), found) == "supported"
    assert decide(test_of("within", 0.1, by="p"), found) == "inconclusive"
    draws = replace(number(0.1, 0.3), draws=tuple(np.linspace(0.1, 0.3, 99)))
    assert draws.p_at(0.2) == 1.0
    assert draws.p_at(0.05) == pytest.approx(2 / 100)
    assert draws.p_outside(0.4) == pytest.approx(1 / 100)
    # A number of which nothing was kept has no p but that of zero, and decides nothing by it.
    assert math.isnan(number(0.1, 0.3).p_at(0.2))
    assert decide(test_of("above", 0.05, by="p"), number(0.1, 0.3)) == "inconclusive"


def test_what_is_not_known_of_an_item_is_no_evidence():
    near = [0.01, -0.02, 0.03, 0.0, -0.01, 0.02, 0.0, 0.01]
    far = [0.9, 0.8, 1.0, 0.9, 0.7, 1.0, 0.9, 0.8]
    within = test_of("within", 0.05, by="p")
    for items, verdict in ((near, "supported"), (far, "inconclusive")):
        whole = of_items(np.array(items), "share")
        part = of_items(np.array([math.nan, *items, math.nan]), "share")
        assert part == whole
        assert decide(within, part) == verdict
        assert replace(part, values=(math.nan, *items), weights=()).p_outside(
            0.05
        ) == whole.p_outside(0.05)
    row = board([Judged(load_claims()[0], "refuted", part, "")]).iloc[0]
    assert row.power == pytest.approx(power_of(0.1, float(np.std(far, ddof=1)), 8))
    nothing = of_items(np.full(8, math.nan), "share")
    assert math.isnan(nothing.p)
    assert math.isnan(nothing.p_outside(0.05))


def test_of_draws_that_are_no_numbers_no_p_is_known():
    drawn = replace(number(0.1, 0.3), draws=(0.1, 0.2, math.nan, 0.3))
    assert math.isnan(drawn.p_at(0.2))
    assert math.isnan(drawn.p_outside(0.4))


def test_the_board_corrects_for_the_number_of_claims_and_bounds_their_words():
    claim = load_claims()[0].model_copy(update={"test": test_of("above", 0.0)})
    on = ("microworld",), ("mood",)
    judged = [Judged(claim, "supported", number(0.1, 0.3, p=p), "", *on) for p in (0.01, 0.02, 0.9)]
    judged.append(Judged(claim, "open", None, "not run"))
    found = board(judged)
    assert found.p_holm[:3].tolist() == pytest.approx([0.03, 0.04, 0.9])  # 3, 2 and 1 times p
    assert math.isnan(found.p_holm[3])
    assert found.model[0] == "microworld"
    assert judged[0].words == f"{claim.words} (microworld: mood)"
    assert judged[3].words == claim.words
    items = of_items(np.tile([0.0, 1.0], 30), "share")
    row = board([Judged(claim, "supported", items, "")]).iloc[0]
    sd = math.sqrt(0.25 * 60 / 59)
    assert row.power == pytest.approx(power_of(0.1, sd, 60))
    assert row.detectable == pytest.approx(detectable_effect(60, sd))


def test_claims_of_several_models_stand_side_by_side():
    claim, other = load_claims()[:2]
    judged = [
        Judged(claim, "refuted", number(0.1, 0.3), "here", ("microworld",), ("mood",)),
        Judged(claim, "supported", number(-0.3, -0.1), "there", ("gpt2",), ("sentiment",)),
        Judged(other, "refuted", number(0.1, 0.3), "here", ("microworld",), ("mood",)),
        Judged(other, "open", None, "nobody ran it"),
    ]
    found = by_model(board(judged)).set_index("claim")
    assert list(found.columns) == ["words", "microworld", "gpt2"]
    assert found.loc[claim.name, "gpt2"] == "supported -0.20 [-0.30, -0.10]"
    assert list(found.loc[other.name][1:]) == ["refuted +0.20 [+0.10, +0.30]", "not run"]


def test_claims_of_one_name_and_model_out_of_several_files_all_stand():
    claim, on = load_claims()[0], (("m",), ("mood",))
    judged = [
        Judged(claim, "refuted", number(0.1, 0.3), "here", *on),
        Judged(claim, "supported", number(-0.3, -0.1), "there", *on),
    ]
    [told] = by_model(board(judged)).m
    assert told == "refuted +0.20 [+0.10, +0.30]; supported -0.20 [-0.30, -0.10]"


def test_a_number_without_an_interval_is_shown_with_none():
    claim, on = load_claims()[0], (("m",), ("mood",))
    alone = replace(number(0.1, 0.3), low=math.nan, high=math.nan)
    found = board([Judged(claim, "supported", alone, "here", *on)])
    assert by_model(found).m.tolist() == ["supported +0.20 (no interval)"]
    figure = claims_board(found)
    assert "+0.20 (no interval), n = 50" in [a.text for a in figure.layout.annotations][0]


def test_every_bundled_file_of_claims_is_had_by_its_name():
    first, *_ = names = list(bundled_claims())
    assert load_claims(first) == load_claims()
    assert {c.name for name in names[1:] for c in load_claims(name)} <= {
        c.name for c in load_claims()
    }


def test_only_claims_whose_tests_came_first_say_so():
    first = {c.name for c in load_claims() if c.tested_first}
    assert {c.test.experiment for c in load_claims() if c.name in first} == {
        "sae_overlap", "spectral_edits",
    }  # fmt: skip
    written = board(check_claims(load_claims(), "nowhere")).set_index("claim").test_written
    assert set(written.index[written == "before its runs"]) == first


def test_the_claims_of_a_file_may_ask_for_an_experiment_beside_it(tmp_path):
    bundled = (data_folder() / "experiments" / "layer_sweep.yaml").read_text()
    mine = bundled.replace("name: layer_sweep", "name: my_sweep")
    (tmp_path / "mine.yaml").write_text(mine)
    (tmp_path / "claims.yaml").write_text(
        "claims:\n- name: mine\n  words: They steer.\n  source: me\n  test: {experiment: mine,"
        " measure: effect_over_layers, settings: {method: mean_diff, dose: 0.4, unit: relative,"
        " depth: [0.0, 1.0]}, direction: above, threshold: 0.0}\n"
    )
    claims = load_claims(tmp_path / "claims.yaml")
    runs = tmp_path / "runs"
    assert check_claims(claims, runs)[0].evidence.startswith("not measured yet")
    made = load_experiment(claims[0].test.experiment)
    [step] = find_job(made.job).steps(made)
    sweep(runs / made.name / "runs" / folder_of(step), (0.1, 0.8, 0.6, 0.2), settings=step.settings)
    (runs / made.name / "experiment.json").write_text(made.model_dump_json())
    [judged] = check_claims(claims, runs)
    assert (judged.verdict, judged.models) == ("supported", ("microworld",))


def replace_words(claim, words):
    return claim.model_copy(update={"words": words})


def test_runs_of_another_seed_are_not_read_and_that_is_said(tmp_path, caplog):
    other = load_experiment("layer_sweep").model_copy(update={"seeds": (7,)})
    (tmp_path / "layer_sweep").mkdir()
    (tmp_path / "layer_sweep" / "experiment.json").write_text(other.model_dump_json())
    claims = [c for c in load_claims() if c.test and c.test.experiment == "layer_sweep"]
    assert len(claims) > 1
    judged = check_claims(claims, tmp_path)
    assert {j.evidence for j in judged} == {"stored evidence of layer_sweep"}
    [said] = [r.message for r in caplog.records if "is not read" in r.message]
    assert "of another experiment than layer_sweep, by its seeds" in said

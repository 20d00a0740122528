"""All layers at once beside one of them, and sites without a direction left out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from steerscope.cli.jobs import _condition_rows
from steerscope.directions import load_directions
from steerscope.errors import DegenerateDirectionError, LeftOutWarning
from steerscope.report import plates, tables
from steerscope.runs.results import NOT_FINITE, Run
from steerscope.runs.tables import laid_out
from steerscope.steering.scopes import Scope
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.measure import run_study, run_sweep
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.studies.steering.several_layers import (
    best_together,
    compare_layers,
    layers_compared_in_words,
)
from tests.cli.options import SMALL

METHOD = "several_layers(mean_diff)"


def test_a_sweep_has_a_cell_for_all_layers_with_one_coefficient(tiny_folder, words, tmp_path):
    plan = SweepPlan(
        model=str(tiny_folder("llama")), contrasts=str(words), doses=(-1.0, 1.5), n_new=3,
        all_layers=True,
    )  # fmt: skip
    table = run_sweep(plan, tmp_path / "run").table()
    together = table[table.method == METHOD]
    assert set(together.layer) == {-1}
    assert sorted(together.dose_natural.round(6).unique()) == [-0.333333, 0.5]  # shared by 3 layers
    assert together.cell.str.contains("layers=0-2").all()


def test_several_layers_are_in_the_tables_and_on_no_axis_of_layers(tiny_folder, words, tmp_path):
    plan = SweepPlan(
        model=str(tiny_folder("llama")), contrasts=str(words), doses=(-1.0, 1.5), n_new=3,
        all_layers=True,
    )  # fmt: skip
    run = run_sweep(plan, tmp_path / "run")
    found = find(run)
    for plate in plates(run):
        if plate.name in ("layer_sweep", "kl_by_depth", "sweet_spot_map"):
            assert list(plate.figure.layout.xaxis.range) == [-0.5, 2.5]
    shown = laid_out(tables(run)[0])
    assert (shown.layer[shown.method == METHOD] == "several").all()
    assert "-1" not in set(shown.layer)
    printed = _condition_rows(found, plan.method)
    assert [row[0] for row in printed].count("several") == 2
    assert {row[0] for row in printed} == {0, 1, 2, "several"}


def test_a_report_compares_one_layer_with_all(run_cli, tiny_folder, words, tmp_path, monkeypatch):
    out = tmp_path / "run"
    code, said, errors = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", out, *SMALL,
        "--all-layers",
    )  # fmt: skip
    assert code == 0, errors
    run = Run.open(out)
    found = find(run)
    compared = compare_layers(run, found)
    assert compared is not None
    table = run.table()
    tested = table[(table.method == METHOD) & (table.split == "test")]
    assert tested.cell.nunique() == 1
    assert tested.dose_natural.iloc[0] == pytest.approx(compared.coefficient)
    assert compared.n_layers == 3
    assert compared.gain.value == pytest.approx(compared.together.value - compared.one.value)
    sentence = layers_compared_in_words(compared, found)
    assert sentence in said
    assert "stated where both were chosen" not in sentence
    dear = replace(compared, is_broken=True, is_chosen_here=True)
    assert layers_compared_in_words(dear, found).endswith(
        "; together they break a limit, or what they cost is unknown; stated where both were chosen."
    )
    assert "Several layers:" in (out / "report.html").read_text()


def test_what_overflowed_or_could_not_be_read_is_not_compared(
    tiny_folder, words, tmp_path, monkeypatch
):
    plan = SweepPlan(
        model=str(tiny_folder("llama")), contrasts=str(words), doses=(1.0, 1.5), n_new=3,
        all_layers=True,
    )  # fmt: skip
    run = run_sweep(plan, tmp_path / "run")
    found, table = find(run), run.table()
    gone = table.method.eq(METHOD)
    chosen = (table.cell == found.chosen.cell) & (table.prompt == 0)
    nothing = {"value": table.value.mask(gone), "kl_nats": table.kl_nats.mask(gone)}
    cases = {
        "all layers at once, whose logits are not finite": nothing
        | {"status": table.status.mask(gone, NOT_FINITE)},
        "all layers at once, of which no text could be read": {"value": table.value.mask(gone)},
        "the chosen layer, whose logits are not finite": {
            "status": table.status.mask(chosen, NOT_FINITE)
        },
    }
    ours = [
        d for d in load_directions(run.path / "directions.safetensors") if d.method == "mean_diff"
    ]
    assert len(best_together(run, found.effect, ours, Scope.all())) == 1
    for words_of_it, changed in cases.items():
        with monkeypatch.context() as patch:
            patch.setattr(Run, "table", lambda _, c=changed: table.assign(**c))
            said = layers_compared_in_words(compare_layers(run, found), found)
            assert said == f"Several layers: nothing is known of {words_of_it}."
            if "kl_nats" in changed:
                assert best_together(run, found.effect, ours, Scope.all()) == []


def test_layers_without_a_direction_are_left_out_unless_they_are_asked_for(tiny_folder, tmp_path):
    path = tmp_path / "same_end.jsonl"  # the first convolution sees three tokens, which are alike
    rows = [
        {"positive": f"w{i} w6 w7 w8 w9", "negative": f"w{i + 30} w6 w7 w8 w9", "concept": "c"}
        for i in range(10, 34)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    asked = {"model": str(tiny_folder("lfm2")), "contrasts": str(path), "backbone": "bridge"}
    small = {"doses": (1.0,), "n_new": 2, "n_sweep_controls": 1}
    with pytest.warns(LeftOutWarning, match="left out resid_post.0: the direction is zero"):
        run = run_study(
            StudyPlan(**asked, **small, reference_dose=1.0, n_controls=1), tmp_path / "run"
        )
    table = run.table()
    assert set(table[table.method == "mean_diff"].layer) == {1, 2}
    with pytest.raises(DegenerateDirectionError, match="resid_post.0.*pairs do not differ there"):
        run_sweep(SweepPlan(**asked, **small, layers=(0, 1)), tmp_path / "asked")

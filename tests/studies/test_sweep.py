"""The sweep of weight edits: select and test apart, kill-safe, nothing left behind."""

from __future__ import annotations

import html
import json

import numpy as np
import pandas as pd
import pytest

from steerscope import WeightSweepPlan, run_weight_sweep
from steerscope.audits import audit
from steerscope.cli import main
from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError, PureGainWarning, RestorationError, UnknownNameError
from steerscope.extraction.activations import extract
from steerscope.models.generations import HAS_HOOKED, without_hooked
from steerscope.report import write_report
from steerscope.runs.results import Run
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.steering.responses import conditions
from steerscope.studies.weights.findings import Limits, front_table, read_roles, standings_of
from steerscope.studies.weights.wording import front_in_words
from steerscope.texts.contrasts import load_contrasts, opening_prompts
from steerscope.weights import WeightEdit

EDITS = ("power", "gain")


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_folder):
    """A folder of a tiny model, pairs, and pairs that a capable model tells apart."""
    folder = tmp_path_factory.mktemp("texts")
    for name, shift in (("target", 3), ("other", 40)):
        pairs = [
            {
                "positive": f"w{i} w{i + shift} w5",
                "negative": f"w{i} w{i + shift + 1} w9",
                "concept": name,
            }
            for i in range(3, 39, 2)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    return tiny_folder("llama"), folder


def plan(files, **changes):
    model, folder = files
    values = {
        "model": str(model),
        "contrasts": str(folder / "target.jsonl"),
        "capability": str(folder / "other.jsonl"),
        "backbone": "hooked",
        "edits": EDITS,
        "layers": (1,),
        "amounts": (-0.6, 0.9),
        "together": ("down:0-1:0.5",),
        "n_controls": 1,
        "n_texts": 4,
        "n_new": 3,
        "limits": {"capability": 1.0, "perplexity": 100.0},
    }
    values |= changes
    values["limits"] = Limits(**values["limits"])
    return WeightSweepPlan(**values)


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    if not HAS_HOOKED:  # which the plan asks for
        pytest.skip(without_hooked())
    with pytest.warns(PureGainWarning, match="gain multiplies every weight"):
        return run_weight_sweep(plan(files), tmp_path_factory.mktemp("runs") / "whole")


def test_a_sweep_of_edits_is_audited_on_what_it_states(whole):
    found = audit(whole)
    stated = read_roles(whole).target.unique()
    assert {f.where for f in found} <= {f"edit towards {t}, test split" for t in stated} | {"rows"}
    assert "few_prompts" in {f.check for f in found}  # of so few


def test_what_is_chosen_on_one_split_is_stated_with_its_company_on_the_other(whole):
    table, roles = whole.table(), read_roles(whole)
    select, test = (set(table[table.split == s].cell) for s in ("select", "test"))
    assert {c.partition("edit=")[2] for c in select if "edit=" in c} == {
        f"{name} down.1:{a}" for name in EDITS for a in ("-0.6", "+0.9")
    } | {f"{name} down.0:+0.5, {name} down.1:+0.5" for name in EDITS}
    assert not any(" of " in c for c in select)
    assert set(roles.cell) <= test
    for _, mine in roles.groupby("target"):
        assert (mine.role == "edit").sum() == 1
        assert {"edit", "control"} <= set(mine.role)
    rows = front_table(table, effect_of(whole), "test")
    lines = front_in_words(standings_of(whole, rows), effect_of(whole))
    assert len(lines) == roles.target.nunique()
    assert (
        rows[["effect", "capability_change", "perplexity_ratio", "kl_nats"]].notna().all(axis=None)
    )


@pytest.mark.filterwarnings("ignore::steerscope.errors.PureGainWarning")
@pytest.mark.hooked
def test_a_chosen_deflation_is_made_at_every_other_place_as_well(files, tmp_path):
    asked = plan(files, edits=("deflate",), amounts=(-2.0, 1.0), together=(), max_select=6)
    run = run_weight_sweep(asked, tmp_path / "run")
    roles = read_roles(run)
    moved = roles[roles.role == "elsewhere"].cell.str.extract(r"deflate\S* (\w+)\.(\d)")
    [(_, one)] = list(moved.groupby(roles.target))[:1]
    places = {*zip(one[0], one[1], strict=True)}
    assert {("down", "0"), ("down", "2"), ("o", "1"), ("q", "1"), ("gate", "1")} <= places
    assert run.path == run_weight_sweep(asked, tmp_path / "run").path


def few_pairs(folder):
    """A file of the first pairs of the microworld's mood."""
    pairs = [vars(pair) for pair in load_contrasts("mood").pairs[:100]]
    (folder / "few.jsonl").write_text("".join(json.dumps(p) + "\n" for p in pairs))
    return str(folder / "few.jsonl")


def small_plan(folder, **changes):
    """A sweep of one edit of the microworld."""
    sizes = {"max_pairs": 14, "max_select": 6, "max_test": 4, "n_texts": 2, "n_controls": 1}
    return WeightSweepPlan(contrasts=few_pairs(folder), prompts="mood", **sizes, **changes)


@pytest.mark.filterwarnings("ignore::steerscope.errors.PureGainWarning")
def test_steering_is_matched_to_the_kl_of_the_edit_on_the_select_split(files, tmp_path, load):
    given = load_contrasts(str(files[1] / "target.jsonl")).pairs
    turned = [vars(p) | {"positive": p.negative, "negative": p.positive} for p in given]
    (tmp_path / "turned.jsonl").write_text("".join(json.dumps(p) + "\n" for p in turned))
    asked = plan(
        files, edits=("gain",), layers=(0, 1), amounts=(-20.0,), together=(),
        limits={"capability": 1.0, "perplexity": 1e9}, contrasts=str(tmp_path / "turned.jsonl"),
    )  # fmt: skip
    run = run_weight_sweep(asked, tmp_path / "run")
    model, pairs = load(), load_contrasts(asked.contrasts).split(0)
    texts = [p.text for p in opening_prompts("select", pairs.select.pairs).prompts]
    labels, roles = conditions(run.table()), read_roles(run)
    steered = roles[roles.role == "steering"]
    assert "negative" in set(steered.target)
    for target, cell in zip(steered.target, steered.cell, strict=True):
        ((edit,),) = roles[(roles.target == target) & (roles.role == "edit")][["cell"]].to_numpy()
        layer = int(labels.layer[edit])
        site = Site("resid_post", int(labels.layer[cell]))
        direction = find_direction("mean_diff", extract(model, pairs.fit, [site])[site])
        dose = Dose(float(labels.dose_relative[cell]), "relative")
        assert np.sign(dose.value) == (1 if target == "positive" else -1)
        cells = [Cell((WeightEdit.parse("gain", f"down:{layer}:-20"),))]
        cells += [Cell((Steering(way, dose),)) for way in (direction, -direction)]
        nats = kl_from_plain(model, texts, cells).double().mean(dim=1).tolist()
        assert nats[1] == pytest.approx(nats[0], rel=0.03)
        assert nats[2] != pytest.approx(nats[0], rel=0.03)  # so that the sign matters


@pytest.mark.filterwarnings("ignore::steerscope.errors.PureGainWarning")
def test_what_is_found_too_costly_once_it_has_written_is_not_chosen(tmp_path):
    asked = small_plan(
        tmp_path, edits=("gain",), layers=(0,), amounts=(1.0,), n_new=10,
        limits=Limits(capability=0.1, perplexity=1e9),
    )  # fmt: skip
    run = run_weight_sweep(asked, tmp_path / "run")
    table = run.table()
    written = table[(table.split == "select") & (table.metric == "capability")].cell
    assert any("gain" in cell for cell in written)  # screening could not know
    assert read_roles(run).empty
    rows = front_table(table, effect_of(run), "test")
    lines = front_in_words(standings_of(run, rows), effect_of(run))
    assert all("nats leads there within the limits" in line for line in lines)


def test_the_page_of_a_sweep_says_the_verdict_and_shows_both_fronts(whole):
    page = write_report(whole).read_text()
    effect = effect_of(whole)
    standings = standings_of(whole, front_table(whole.table(), effect, "test"))
    for line in front_in_words(standings, effect):
        assert html.escape(line.partition(": ")[2]) in page
    assert page.count("<figure id=") == 2
    assert "noise of" in page


def test_what_each_edit_does_is_stored_in_numbers(whole):
    stored = (whole.path / "descriptions.json").read_text()
    found = json.loads(stored, parse_constant=pytest.fail)
    gains = [d for d in found if d["pure_gain"]]
    assert len(found) == 2 * (2 + 2)  # two edits by two amounts, and at two places at once
    assert {d["edit"] for d in gains} == {"gain"}
    by_hand = next(d for d in gains if d["amount"] == 0.9)
    assert by_hand["relative_change"] == pytest.approx(0.9)


@pytest.mark.filterwarnings("ignore::steerscope.errors.PureGainWarning")
def test_a_sweep_stopped_anywhere_continues_to_the_same_table(whole, files, tmp_path, monkeypatch):
    append, left = Run.append, [3]

    def stop(self, *arguments):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        append(self, *arguments)

    monkeypatch.setattr(Run, "append", stop)
    starts = 0
    for _ in range(20):
        left[0], starts = 3, starts + 1
        try:
            run = run_weight_sweep(plan(files), tmp_path / "whole")
            break
        except KeyboardInterrupt:
            continue
    assert starts > 1
    pd.testing.assert_frame_equal(run.table(), whole.table())
    assert read_roles(run).equals(read_roles(whole))


@pytest.mark.filterwarnings("ignore::steerscope.errors.PureGainWarning")
def test_a_weight_that_is_not_as_before_is_an_error(files, tmp_path, monkeypatch):
    from steerscope.studies.weights import bench

    def damaging(model, *arguments, **options):
        model.transformer.blocks[1].mlp.W_out.data[0, 0] += 1e-3
        return damaging.real(model, *arguments, **options)

    damaging.real = bench.text_nats
    monkeypatch.setattr(bench, "text_nats", damaging)
    with pytest.raises(RestorationError, match="down.1"):
        run_weight_sweep(plan(files, edits=("gain",), together=()), tmp_path / "run")


def test_plans_are_checked_before_anything_is_measured(files, tmp_path):
    for changes, error, words in (
        ({"edits": ("sharpen",)}, UnknownNameError, "mp_shrink"),
        ({"weights": ("dwon",)}, UnknownNameError, "down"),
        ({"amounts": (0.0,)}, BadValueError, "not 0"),
        ({"together": ("down",)}, BadValueError, "WEIGHT:LAYERS"),
        ({"n_texts": 0}, BadValueError, "n_texts"),
    ):
        with pytest.raises(error, match=words):
            plan(files, **changes)
    for changes, words in (
        ({"capability": None}, "capability"),
        ({"edits": ("zscore",), "amounts": (-5.0,), "together": ()}, "negative"),
    ):
        with pytest.raises(BadValueError, match=words):
            run_weight_sweep(plan(files, **changes), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.hooked
def test_the_command_continues_a_run_and_prints_the_verdict(files, tmp_path, capsys):
    model, folder = files
    arguments = [
        "weights", "sweep", "--model", str(model), "--contrasts", str(folder / "target.jsonl"),
        "--capability", str(folder / "other.jsonl"), "--edits", "power,band[0-3]", "--layers", "1",
        "--alphas", "0.2", "--n-new", "2", "--out", str(tmp_path / "run"), "--backbone", "hooked",
    ]  # fmt: skip
    main([*arguments, "--json"])
    first = json.loads(capsys.readouterr().out)
    assert set(first) == {"run", "report", "verdict", "conditions"}
    main(arguments)
    shown = capsys.readouterr().out
    assert all(line in shown for line in first["verdict"])
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--weights", "nonsense"])
    assert stopped.value.code == 2
    assert "unknown weight 'nonsense'" in capsys.readouterr().err

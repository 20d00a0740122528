"""Numbers of features and of edits that decide claims, by hand."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from steerscope.claims.ledger import store_evidence
from steerscope.claims.measures import MEASURES
from steerscope.claims.measures.effects import _of_items
from steerscope.claims.measures.measure import of_items
from steerscope.errors import BadValueError, RunError, UnknownNameError
from steerscope.experiments import load_experiment
from steerscope.experiments.jobs.overlaps import ACTIVE, SHARED, reading_cell, resample
from steerscope.judges.effects import PREFERENCE
from steerscope.runs.results import COLUMNS, Row, Run
from steerscope.studies.weights.findings import CONTROL, EDIT, ELSEWHERE, ROLES, STEERING
from tests.experiments.test_overlaps import planted
from tests.helpers import row
from tests.studies.test_fronts import FLIPPED, cell_rows

DRAWS = 41


def concept(path, name, *, heard, spread, n_features=40):
    """A concept whose codes and encoder share 2 of 4 features, read against a null at 10 [6, 15]."""
    run = planted(path / name, name, {"codes": (1, 2, 3, 4), "encoder": (4, 3, 9, 8)}, n_features)
    chance = {"expected": 10.0, "low": 6.0, "high": 15.0, "p": 0.04, "n": 99.0}
    rows = [
        row(cell=reading_cell(*key, "random_direction"), metric=m, prompt=-1, value=v, split="fit")
        for key, value in (
            (("encoder_projection", ACTIVE), heard),
            (("mean_codes", "participation_ratio"), spread),
        )
        for m, v in {**chance, "value": value}.items()
    ]
    rows += [
        row(cell=resample(i), metric=m, prompt=-1, value=v, split="fit", seed=i)
        for i in range(DRAWS)
        for m, v in ((ACTIVE, heard + (i - 20) / 1000), (SHARED, float(1 + (i >= 20))))
    ]
    run.append(rows)
    return run


@pytest.fixture
def concepts(tmp_path):
    return [
        concept(tmp_path, "one", heard=0.4, spread=30.0),
        concept(tmp_path, "two", heard=0.5, spread=20.0),
    ]


def test_the_share_that_hears_a_vector_is_averaged_over_concepts(concepts):
    found = MEASURES["active_share"](concepts, away_from=0.5)
    assert found.value == pytest.approx(-0.05)
    assert (found.low, found.high) == (pytest.approx(-0.069), pytest.approx(-0.031))
    assert (found.n, found.items) == (12, "pairs")
    assert found.p == pytest.approx(2 / (1 + DRAWS))


def test_a_reading_is_told_from_its_null_by_p_alone(concepts, tmp_path):
    settings = {"way": "mean_codes", "against": "random_direction"}
    found = MEASURES["reading_over_null"](concepts, statistic="participation_ratio", **settings)
    assert (found.value, found.n, found.p) == (15.0, 99, 0.04)
    assert math.isnan(found.low)  # how far a null goes does not tell how sure the number is
    assert math.isnan(found.high)
    below = concept(tmp_path, "three", heard=0.4, spread=5.0)
    apart = MEASURES["reading_over_null"](
        [*concepts, below], statistic="participation_ratio", **settings
    )
    assert apart.p == 1.0  # above its null in two concepts, below it in one
    with pytest.raises(RunError, match="has no guess of mean_codes"):
        MEASURES["reading_over_null"](concepts, statistic="guess", **settings)


def test_shared_features_are_counted_and_told_from_chance(concepts, tmp_path):
    found = MEASURES["shared_features"](concepts, one="codes", other="encoder")
    assert (found.value, found.low, found.high) == (2.0, 1.0, 2.0)
    over = MEASURES["shared_over_chance"](concepts, one="encoder", other="codes")
    assert over.value == pytest.approx(2 - 3 / 4 - 1 / 4, abs=0.08)  # in tenths of 4 features each
    assert over.low < over.value < over.high <= 2.0  # not all pairs share two
    wide = [concept(tmp_path, "wide", heard=0.4, spread=30.0, n_features=40_000)]
    alone = MEASURES["shared_over_chance"](wide, one="encoder", other="codes")
    assert (alone.low, alone.high) == (1.0, 2.0)  # chance shares none, and yet 1 to 2 are shared
    assert alone.p_at(1.0) > 0.9
    with pytest.raises(BadValueError, match="for codes and encoder alone"):
        MEASURES["shared_features"](concepts, one="codes", other="output")
    with pytest.raises(UnknownNameError, match="unknown route 'output'"):
        MEASURES["shared_over_chance"](concepts, one="codes", other="output")


def test_features_that_are_shared_by_chance_are_not_told_from_chance(tmp_path):
    """Each concept has two sets that have nothing to do with each other, as have its pairs drawn again."""
    rng, told = np.random.default_rng(0), 0
    for number in range(12):
        runs = []
        for name in ("one", "two", "three"):
            drawn = [rng.choice(40, 8, replace=False) for _ in range(2)]
            sets = dict(zip(("codes", "encoder"), map(tuple, drawn), strict=True))
            run = planted(tmp_path / f"{number} {name}", name, sets)
            shared = len({*drawn[0]} & {*drawn[1]})
            again = [rng.binomial(shared, 0.9) for _ in range(DRAWS)]
            run.append([
                row(cell=resample(i), metric=SHARED, prompt=-1, value=float(v), split="fit", seed=i)
                for i, v in enumerate(again)
            ])  # fmt: skip
            runs.append(run)
        told += MEASURES["shared_over_chance"](runs, one="codes", other="encoder").p < 0.05
    assert told <= 2


def edited(path):
    run = Run.start(path, {"kind": "x", "effect": asdict(FLIPPED)}, provenance={})
    shares = {"edit=a": (0.9, 0.1), "noise": (0.2, 0.2), "moved": (0.5, 0.0), "steered": (1.0, 0.0)}
    rows = cell_rows("plain", (0.1, 0.1), method="plain") + cell_rows(
        "edit=a", (0, 0), split="select"
    )
    for cell, flips in shares.items():
        rows += cell_rows(cell, flips)
    run.append(rows)
    roles = {"edit=a": EDIT, "noise": CONTROL, "moved": ELSEWHERE, "steered": STEERING}
    said = [{"cell": c, "target": "joyful", "role": r} for c, r in roles.items()]
    (path / ROLES).write_text(json.dumps(said))
    return run


def test_an_edit_is_told_from_the_control_that_does_best(tmp_path):
    run = edited(tmp_path / "run")
    found = MEASURES["edit_minus_control"]([run])
    assert found.value == pytest.approx(0.9 - 0.5)  # the same edit elsewhere, and not the steering
    assert (found.n, found.unit) == (20, "share")
    assert found.low > 0
    (run.path / ROLES).write_text("[]")
    with pytest.raises(RunError, match="no edit was within"):
        MEASURES["edit_minus_control"]([run])


def test_the_best_of_many_controls_is_chosen_on_other_prompts_than_it_is_stated_on(tmp_path):
    """An edit that is a control by another name is not told from the best of thirty."""
    rng, found = np.random.default_rng(0), []
    for number in range(20):
        said = {"kind": "x", "effect": asdict(FLIPPED)}
        run = Run.start(tmp_path / str(number), said, provenance={})
        cells = ["plain", "edit=a", *(f"noise {i}" for i in range(30))]
        run.append(
            [
                row(cell=c, method=c, prompt=p, metric=m, split="test", value=float(c != "plain" and rng.random() < 0.4))
                for c in cells
                for p in range(40)
                for m in ("to_joyful", "to_gloomy")
            ]
        )  # fmt: skip
        roles = {"edit=a": EDIT} | dict.fromkeys(cells[2:], CONTROL)
        listed = [{"cell": c, "target": "joyful", "role": r} for c, r in roles.items()]
        (run.path / ROLES).write_text(json.dumps(listed))
        found.append(MEASURES["edit_minus_control"]([run]))
    assert (
        abs(np.mean([f.value for f in found])) < 0.05
    )  # far below where the best is chosen on the prompts that state it
    assert sum(f.high < 0 for f in found) <= 2
    assert {f.n for f in found} == {40}


def test_both_sides_that_are_read_on_the_same_pairs_count_them_once(tmp_path):
    effect = replace(PREFERENCE, positive="joyful", negative="gloomy")
    run = Run.start(tmp_path / "r", {"kind": "x", "effect": asdict(effect)}, provenance={})
    shifts = {"plain": 0.0, "up": 1.0, "down": -1.0, "noise": 0.1}
    run.append(
        [
            row(
                cell=c,
                method=c,
                prompt=p,
                metric="preference",
                split="test",
                value=s + 0.1 * (p % 3),
            )
            for c, s in shifts.items()
            for p in range(12)
        ]
    )
    roles = [("up", "joyful", EDIT), ("down", "gloomy", EDIT)]
    roles += [("noise", target, CONTROL) for target in ("joyful", "gloomy")]
    listed = [{"cell": c, "target": t, "role": r} for c, t, r in roles]
    (run.path / ROLES).write_text(json.dumps(listed))
    found = MEASURES["edit_minus_control"]([run])
    assert found.n == 12
    assert found.value == pytest.approx((0.9 + 1.1) / 2)


def test_a_target_whose_edit_or_controls_overflowed_is_told(tmp_path):
    run = edited(tmp_path / "run")
    assert MEASURES["edit_minus_control"]([run]).unknown == ("run to gloomy",)  # no edit for it
    for lost in (("edit=a",), ("noise", "moved"), ("moved",)):
        over = Run.start(tmp_path / str(len(lost)) / lost[0], run.configuration, provenance={})
        told = [Row(**r) for r in run.table()[list(COLUMNS)].to_dict("records")]
        gone = {"value": math.nan, "status": "not_finite"}
        over.append([replace(r, **gone) if r.cell in lost else r for r in told])
        (over.path / ROLES).write_text((run.path / ROLES).read_text())
        both = MEASURES["edit_minus_control"]([run, over])
        assert both.unknown == ("run to gloomy", over.path.name)
        assert both.n == 20
        assert np.isnan(MEASURES["edit_minus_control"]([over]).value)


def test_the_evidence_of_edits_is_what_the_measure_needs_and_no_more(tmp_path, monkeypatch):
    folder, out = tmp_path / "whole", tmp_path / "kept"
    run = edited(folder / "runs/run")
    run.seal()
    (folder / "experiment.json").write_text("{}")
    monkeypatch.setattr("steerscope.claims.ledger.runs_of", lambda *_given: [run])
    store_evidence(load_experiment("spectral_edits"), folder, out)
    kept = Run.open(out / "runs/run")
    assert set(kept.table().metric) == {"to_joyful", "to_gloomy"}
    assert set(kept.table().split) == {"test"}
    measured = [asdict(MEASURES["edit_minus_control"]([r])) for r in (kept, run)]
    assert measured[0] == measured[1]
    assert np.isfinite(measured[0]["p"])


def test_of_methods_over_several_draws_one_draw_decides(tmp_path):
    runs = []
    for seed, a in ((0, 1.0), (1, 0.0)):
        said = {"effect": {"metric": "flipped", "unit": "share", "words": "w"}, "seed": seed}
        runs.append(Run.start(tmp_path / str(seed), said, provenance={}))
        runs[-1].append(
            [
                row(cell=f"own layer; kl; {method}; 0", method=method, prompt=p, value=value, split="test",
                    metric="flipped")
                for method, value in (("a", a), ("b", 0.0))
                for p in range(4)
            ]
        )  # fmt: skip
    settings = {"method": "a", "other": "b", "place": "own layer", "matching": "kl"}
    measure = MEASURES["method_minus_method"]
    assert [measure(runs, **settings, seed=seed).value for seed in (0, 1)] == [1.0, 0.0]
    assert measure(runs, **settings, seed=0).n == 4
    with pytest.raises(BadValueError, match="share prompts; name one"):
        measure(runs, **settings)
    with pytest.raises(RunError, match="no run has the seed 2"):
        measure(runs, **settings, seed=2)


def test_shares_that_do_not_vary_in_few_prompts_support_and_refute_nothing():
    none = of_items(np.zeros(5), "share")
    assert (none.value, none.n) == (0.0, 5)
    assert none.low < -0.3 < 0.3 < none.high
    assert none.p_outside(0.05) > 0.2
    assert none.p_at(0.1) > 0.3
    assert math.isnan(none.detectable)
    all_of_them = of_items(np.ones(6), "share")
    assert all_of_them.low < 0.5 < all_of_them.high <= 1.0
    assert of_items(np.ones(400), "share").low > 0.97
    varied = of_items(np.array([0.0, 1.0, 1.0, 0.0]), "share")
    assert len(varied.values) == 4
    assert of_items(np.full(5, 2.0), "nats").low == 2.0


def test_a_claim_at_the_edge_of_a_rare_share_is_seldom_supported():
    rng, n, rows = np.random.default_rng(0), 40, 3
    labels = np.repeat(np.arange(n), rows)
    below = 0
    for _ in range(200):
        rare = np.repeat(rng.normal(size=n), rows) + rng.normal(size=n * rows)
        found = of_items((rare > stats.norm.isf(0.05, scale=2**0.5)).astype(float), "share", labels)
        below += found.high < 0.05
    assert below <= 10  # of 200, at 2.5 % of such an interval
    averages = of_items(np.array([0.2, 0.9, 1.0, 0.95, 1.0]), "share")
    assert averages.high <= 1.0
    for items in ([], [0.5], [1.0]):  # what is unknown has no interval, and none from -1 to 1
        found = of_items(np.array(items), "share")
        assert math.isnan(found.low)
        assert math.isnan(found.high)


@pytest.mark.parametrize("more", [{"seed": 1}, {"samples": 4}])
def test_runs_that_share_prompts_and_samples_of_one_prompt_are_no_more_items(more, tmp_path):
    """Runs of two seeds, or one with several samples."""
    effect = asdict(FLIPPED)
    runs = [
        Run.start(
            tmp_path / str(i), {"kind": "x", "seed": 0, "effect": effect} | extra, provenance={}
        )
        for i, extra in enumerate(({}, more))
    ]
    with pytest.raises(RunError, match="would count"):
        _of_items([pd.Series(np.ones(4))] * 2, runs)

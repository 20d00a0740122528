from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from steerscope.doses import Dose
from steerscope.engine.matched_kl import Matching, at_matched_kl
from steerscope.engine.score import kl_from_plain, preference, preferences
from steerscope.errors import BadValueError
from steerscope.runs.keeping import KeptIn
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.studies.predictors.findings import EXPECTED_SIGNS
from steerscope.studies.predictors.measure import measure_steerability, predictor_table
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from steerscope.texts.groups import PARTS
from tests.helpers import random_direction

PAIRS = [("w5 w6 w7 w8", "w5 w6 w9 w10"), ("w20 w21 w22", "w20 w23 w24"), ("w30 w31", "w30 w32")]
PROMPTS = ["w5 w6 w7", "w20 w21 w22"]


def test_effects_are_read_off_at_the_matched_kl_by_hand():
    kl = np.array([0.01, 0.1, 1.0])
    values = np.array([1.0, 2.0, 4.0])
    assert at_matched_kl(kl, values, 0.1) == pytest.approx(2.0)
    assert at_matched_kl(kl, values, math.sqrt(0.1)) == pytest.approx(3.0)
    assert at_matched_kl(kl, values, 0.01) == pytest.approx(1.0)
    assert math.isnan(at_matched_kl(kl, values, 2.0))
    late = np.append(
        kl, [math.nan, 9.0]
    )  # what overflows later does not take back what was reached before
    more = np.append(values, [7.0, 8.0])
    assert at_matched_kl(late, more, 0.1) == pytest.approx(2.0)
    assert math.isnan(at_matched_kl(late, more, 2.0))
    assert math.isnan(at_matched_kl(np.full(3, math.nan), values[:3], 0.1))
    assert math.isnan(at_matched_kl(kl, values, 0.001))


def test_steerability_is_half_the_difference_of_both_signs(load):
    model = load("llama")
    direction = random_direction(model, Site("resid_post", 1))
    cells = [Cell((Steering(direction, Dose(s, "relative")),)) for s in (0.2, -0.2)]
    kl = float(kl_from_plain(model, PROMPTS, cells).mean())
    matching = Matching(doses=(0.05, 0.2, 0.8), relative=0.2, kl=kl)
    found = measure_steerability(model, PAIRS, PROMPTS, [direction], matching=matching).iloc[0]
    up, down = (preference(model, PAIRS, c) for c in cells)
    assert found.effect_relative == pytest.approx(float((up - down).mean()) / 2, rel=1e-4)
    assert found.effect_kl == pytest.approx(found.effect_relative, rel=1e-3)
    assert found.dose_at_kl == pytest.approx(0.2, rel=1e-3)
    assert found.n_pairs == 3


def test_the_table_has_every_layer_concept_and_stated_diagnostic(load):
    concepts = [
        ContrastSet(name, tuple(
            ContrastPair(f"w{a} w{b} w90", f"w{a} w{b} w91", name)
            for a in range(start, start + 12) for b in (80,)
        ))
        for name, start in (("one", 10), ("two", 40))
    ]  # fmt: skip
    table = predictor_table(load("llama"), concepts, n_pairs=4)
    assert len(table) == 6
    assert set(EXPECTED_SIGNS) <= set(table.columns)
    assert table.groupby("concept").depth.apply(list).to_dict() == {
        "one": [0, 0.5, 1], "two": [0, 0.5, 1],
    }  # fmt: skip
    assert (table.norm > 0).all()
    assert np.isfinite(table[list(EXPECTED_SIGNS)].to_numpy(float)).all()


CONCEPT = ContrastSet(
    "c", tuple(ContrastPair(f"w{a} w{a + 1} w90", f"w{a} w{a + 1} w91", "c") for a in range(10, 58, 2))
)  # fmt: skip


def with_other(part):
    """The same set with other texts, turned round, in one part of its split."""
    mine = set(getattr(CONCEPT.split(0), part).pairs)
    changed = replace(
        CONCEPT,
        pairs=tuple(
            replace(p, positive=f"w7 {p.negative}", negative=f"w7 {p.positive}") if p in mine else p
            for p in CONCEPT.pairs
        ),
    )
    before, after = CONCEPT.split(0), changed.split(0)
    same = {name for name in PARTS if getattr(before, name).pairs == getattr(after, name).pairs}
    assert same == set(PARTS) - {part}
    return changed


def test_no_diagnostic_sees_the_texts_it_is_to_predict_and_no_effect_those_it_is_judged_on(load):
    def measured(concept):
        matching = Matching(doses=(0.1, 0.4), relative=0.2)
        return predictor_table(load("llama"), [concept], n_pairs=6, matching=matching)

    whole, test, select, fit = map(measured, (CONCEPT, *map(with_other, ("test", "select", "fit"))))
    effects = ["effect_relative", "effect_relative_low", "effect_relative_high"]
    diagnostics = [*EXPECTED_SIGNS, "norm"]
    pd.testing.assert_frame_equal(test[diagnostics], whole[diagnostics], check_exact=True)
    assert (test.effect_relative != whole.effect_relative).all()
    pd.testing.assert_frame_equal(select[effects], whole[effects], check_exact=True)
    judged = ["explained_variance", "gradient", "kl_sensitivity", "residual_norm", "mean_gap"]
    assert (select[judged] != whole[judged]).all(axis=None)
    found = ["separation", "pair_stability", "half_agreement", "norm"]
    pd.testing.assert_frame_equal(select[found], whole[found], check_exact=True)
    assert (fit[[*found, "effect_relative"]] != whole[[*found, "effect_relative"]]).all(axis=None)


def test_what_was_measured_of_a_layer_is_not_measured_again(load, tmp_path, monkeypatch):
    model = load("llama")
    directions = [random_direction(model, Site("resid_post", i), seed=i) for i in range(3)]
    matching = Matching(doses=(0.002, 0.8), kl=0.002)
    kept = KeptIn(tmp_path)

    def until_the_third(name, make):
        if name == "layer-2":
            raise InterruptedError
        return kept(name, make)

    def measure(**options):
        return measure_steerability(model, PAIRS, PROMPTS, directions, matching=matching, **options)

    with pytest.raises(InterruptedError):
        measure(keep=until_the_third)
    asked = []
    monkeypatch.setattr(
        "steerscope.studies.predictors.measure.preferences",
        lambda *given: asked.append(given[2]) or preferences(*given),
    )
    finished = measure(keep=kept)
    assert len(asked) == 1  # the third layer
    assert finished.equals(measure())


def test_the_length_is_the_median_over_layers_of_the_dose_that_gives_the_kl(load):
    model = load("llama")
    directions = [random_direction(model, Site("resid_post", i), seed=i) for i in range(3)]

    def effects(**options):
        matching = Matching(doses=(0.002, 0.8), kl=0.002, **options)
        return measure_steerability(model, PAIRS, PROMPTS, directions, matching=matching)

    found = effects()
    assert found.dose_at_kl.nunique() == 3
    median = float(np.median(found.dose_at_kl))
    assert found.dose_relative.tolist() == pytest.approx([median] * 3)
    low, high = (effects(relative=dose).effect_relative for dose in (0.002, 0.8))
    between = low + (median - 0.002) / 0.798 * (high - low)
    assert found.effect_relative.tolist() == pytest.approx(between.tolist(), rel=1e-5)


def test_where_no_layer_reaches_the_kl_nothing_is_known(load):
    model = load("llama")
    directions = [random_direction(model, Site("resid_post", i), seed=i) for i in range(3)]
    matching = Matching(kl=50.0)
    found = measure_steerability(model, PAIRS, PROMPTS, directions, matching=matching)
    assert (
        found[["effect_relative", "dose_relative", "effect_kl", "dose_at_kl"]].isna().all(axis=None)
    )
    assert found.n_pairs.eq(0).all()
    given = Matching(kl=50.0, relative=0.4)
    by_length = measure_steerability(model, PAIRS, PROMPTS, directions, matching=given)
    assert by_length.effect_relative.notna().all()
    assert by_length.effect_kl.isna().all()


def test_matchings_that_make_no_sense_are_refused():
    with pytest.raises(BadValueError, match="ascend"):
        Matching(doses=(0.2, 0.1), relative=0.2)
    with pytest.raises(BadValueError, match="outside 0.1 to 0.4"):
        Matching(doses=(0.1, 0.4), relative=0.5)
    with pytest.raises(BadValueError, match="matched KL"):
        Matching(kl=0.0)

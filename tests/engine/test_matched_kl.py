from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.engine.matched_kl import KL, NORM, Matching, matched_doses
from steerscope.engine.score import kl_from_plain, mean_kl
from steerscope.errors import BadValueError
from steerscope.extraction.activations import extract
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.texts.contrasts import load_contrasts
from tests.helpers import random_direction

PROMPTS = ["w5 w6 w7", "w20 w21 w22 w23", "w30 w31"]
MATCHING = Matching(doses=(0.01, 0.1, 0.5, 2.0, 8.0), relative=0.5, kl=0.03)


def test_every_direction_has_the_matched_kl_and_the_matched_length(tiny):
    directions = [
        random_direction(tiny, Site("resid_post", layer), seed=seed)
        for layer in range(3)
        for seed in range(2)
    ]
    table = matched_doses(tiny, directions, PROMPTS, MATCHING)
    assert len(table) == 2 * len(directions)
    assert table.dose_relative.notna().all()
    for found in table.itertuples():
        direction = directions[found.direction]
        cells = [
            Cell((Steering(direction, Dose(s * found.dose_relative, "relative")),)) for s in (1, -1)
        ]
        nats = float(kl_from_plain(tiny, PROMPTS, cells).mean())
        assert found.kl_nats == pytest.approx(nats, rel=1e-4)
        if found.matching == KL:
            assert nats == pytest.approx(MATCHING.kl, rel=0.02)
        else:
            assert found.dose_relative == MATCHING.relative
    assert set(table.matching) == {KL, NORM}


@pytest.mark.parametrize("signs", [(1,), (-1,), (1, -1)])
def test_the_kl_is_that_of_the_signs_that_are_compared(microworld, signs):
    pairs = load_contrasts("mood").split(0).fit
    site = Site("resid_post", 3)
    direction = mean_diff(extract(microworld, pairs, [site])[site])
    prompts = [pair.negative for pair in pairs.pairs[:6]]
    matching = Matching((0.02, 0.1, 0.5, 2.0), relative=0.5, kl=0.1)
    table = matched_doses(microworld, [direction], prompts, matching, signs=signs)
    [dose] = table.dose_relative[table.matching == KL]
    by_sign = [
        float(kl_from_plain(microworld, prompts, [Cell((Steering(direction, Dose(s * dose, "relative")),))]).mean())
        for s in (1, -1)
    ]  # fmt: skip
    asked = [by_sign[0 if sign == 1 else 1] for sign in signs]
    assert sum(asked) / len(asked) == pytest.approx(matching.kl, rel=0.03)
    assert max(by_sign) > 1.3 * min(by_sign)  # so that it matters which


def test_a_prompt_of_one_token_has_no_kl_and_the_others_do(load):
    model = load()
    directions = [random_direction(model, Site("resid_post", layer)) for layer in range(2)]
    alone = matched_doses(model, directions, PROMPTS, MATCHING)
    pd.testing.assert_frame_equal(
        matched_doses(model, directions, [[5], *PROMPTS], MATCHING), alone
    )
    without = matched_doses(model, directions, [[5], [6]], MATCHING)
    assert without.kl_nats.isna().all()
    assert without.dose_relative[without.matching == NORM].eq(MATCHING.relative).all()
    with pytest.raises(BadValueError, match="no prompt has two tokens"):
        matched_doses(model, directions, [[5], [6]], replace(MATCHING, relative=None))


def test_a_kl_out_of_reach_is_no_dose(load):
    directions = [random_direction(load(), Site("resid_post", 1))]
    for kl in (1e-9, 1e3):
        matching = Matching(doses=MATCHING.doses, relative=0.5, kl=kl)
        table = matched_doses(load(), directions, PROMPTS, matching).set_index("matching")
        assert table.loc[KL, ["dose_relative", "kl_nats"]].isna().all()
        assert table.loc[NORM].notna().all()


def test_a_length_that_is_not_named_is_the_median_of_those_that_reach_the_kl(load):
    directions = [random_direction(load(), Site("resid_post", layer)) for layer in range(3)]
    matching = replace(MATCHING, relative=None)
    table = matched_doses(load(), directions, PROMPTS, matching)
    reached = table[table.matching == KL].dose_relative
    assert (table[table.matching == NORM].dose_relative == reached.median()).all()
    assert table.kl_nats.notna().all()
    with pytest.raises(BadValueError, match="no layer reaches 1000 nats"):
        matched_doses(load(), directions, PROMPTS, replace(matching, kl=1e3))


def test_doses_beyond_the_crossing_are_not_measured_and_would_change_nothing(tiny, monkeypatch):
    directions = [random_direction(tiny, Site("resid_post", layer)) for layer in range(3)]
    counts = []

    def counted(model, prompts, cells, **options):
        counts.append(len(cells))
        return mean_kl(model, prompts, cells, **options)

    monkeypatch.setattr("steerscope.engine.matched_kl.mean_kl", counted)
    few = matched_doses(tiny, directions, PROMPTS, MATCHING)
    measured = sum(counts)
    counts.clear()
    monkeypatch.setattr("steerscope.engine.matched_kl._Curves.below", lambda *_given: True)
    whole = matched_doses(tiny, directions, PROMPTS, MATCHING)
    pd.testing.assert_frame_equal(few, whole, rtol=1e-4)
    assert measured < sum(counts)


def test_no_prompts_are_refused(load):
    with pytest.raises(BadValueError, match="at least one"):
        matched_doses(load(), [random_direction(load(), Site("resid_post", 1))], [], MATCHING)

"""The dose at which steering does as much as is asked for: planted crossings, coverage, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import steerscope
from steerscope.doses import Dose
from steerscope.engine.calibration import Calibration
from steerscope.engine.generation import generate
from steerscope.engine.sampling import Greedy, Sample
from steerscope.errors import BadValueError, TooLittleDataError, UnknownNameError
from steerscope.judges.judges import TextJudge
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.prompting import Prompting
from steerscope.studies.bench import Decoding
from steerscope.studies.parity import Reading, calibrate, measured_curve, parity
from tests.helpers import random_direction


def planted(n, seed, middle=1.3, spread=0.4):
    """Prompts that show the concept from a dose of their own upward: the share is a sigmoid."""
    own = np.random.default_rng(seed).normal(middle, spread, size=n)
    return lambda dose: (dose > own).astype(float)


def test_a_planted_crossing_is_found_on_few_doses_and_its_interval_holds_it():
    asked = []

    def at(dose):
        asked.append(dose)
        return planted(4000, 0)(dose)

    curve = measured_curve(at, 0.5, largest=4.0, rounds=5)
    found = parity("shown", curve, 0.5)
    assert len(asked) == 10
    assert found.dose.value == pytest.approx(1.3, abs=0.04)  # a median of 4,000
    assert found.dose.low < 1.3 < found.dose.high
    assert found.dose.high - found.dose.low < 0.1
    assert str(found).startswith("shown 0.5 at 1.")


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = []
    for seed in range(60):
        curve = measured_curve(planted(80, seed), 0.5, largest=4.0, rounds=4)
        dose = parity("shown", curve, 0.5).dose
        held.append(dose.low <= 1.3 <= dose.high)
    assert np.mean(held) >= 0.85  # of 60 at 95 %, 51 has a chance under one in a thousand


def test_parity_with_values_on_the_same_prompts_draws_both_together():
    at = planted(200, 1)
    same = at(1.1)  # what asking does is just what this dose does
    found = parity("shown", measured_curve(at, same, largest=4.0, rounds=6), same)
    assert found.target == pytest.approx(same.mean())
    assert found.dose.value == pytest.approx(1.1, abs=0.1)
    apart = parity(
        "shown", measured_curve(at, float(same.mean()), largest=4.0, rounds=6), same[::-1]
    )
    assert found.dose.high - found.dose.low < apart.dose.high - apart.dose.low


def test_what_is_never_reached_has_no_dose_and_what_is_barely_reached_no_upper_end():
    at = planted(100, 2, middle=9.0)
    never = parity("shown", measured_curve(at, 0.5, largest=4.0, rounds=3), 0.5)
    assert not never.reached
    assert math.isnan(never.dose.value)
    assert "not reached at up to 4 natural" in str(never)
    barely = parity(
        "shown", measured_curve(planted(100, 3, middle=3.8), 0.66, largest=4.0, rounds=3), 0.66
    )
    assert barely.reached
    assert math.isinf(barely.dose.high)
    assert "beyond" in str(barely)


def test_a_target_that_is_exceeded_without_steering_is_not_said_to_be_out_of_reach():
    def at(dose):
        return np.full(10, 0.3 + 0.1 * dose)

    above = parity("shown", measured_curve(at, 0.2, largest=4.0, rounds=3), 0.2)
    assert str(above) == (
        "shown is 0.3 without steering, above 0.2, and is not brought to it at up to 4 natural"
    )


def test_the_crossing_nearest_to_zero_counts_and_may_go_downward():
    def at(dose):
        return np.full(10, 30.0 - 5 * dose)

    assert parity("length", measured_curve(at, 22.0, largest=4.0, rounds=3), 22.0).dose.value == (
        pytest.approx(1.6)
    )


def test_lengths_of_texts_are_those_of_texts_that_are_generated(load):
    model = load("llama")
    direction = random_direction(model, Site("resid_post", 1))
    prompts = ["w5 w9", "w7 w20 w33", "w8 w30", "w40 w41"]
    decoding = Decoding(5, Sample(1.2, seed=1), 2)
    reading = Reading(decoding=decoding, largest=2.0, rounds=1)
    asked = Prompting("w60 w61")
    found = calibrate(model, direction, "length", prompts, value=asked, reading=reading)
    cells = [Cell(), Cell((Steering(direction, Dose(1.0)),)), Cell((asked,))]
    plain, one, by_words = (
        np.mean([len(c.text.split()) for c in row])
        for row in generate(model, prompts, cells, n_new=5, sampler=decoding.sampler, samples=2)
    )
    assert found.metric == "length"
    assert found.curve[0.0] == pytest.approx(plain)
    assert found.curve[1.0] == pytest.approx(one)
    assert found.target == pytest.approx(by_words)


def test_a_number_is_still_nats_and_bad_targets_are_refused(load):
    model = load("llama")
    direction = random_direction(model, Site("resid_post", 1))
    prompts = ["w5 w9", "w7 w20 w33"]
    assert steerscope.calibrate.__wrapped__ is calibrate
    nats = calibrate(model, direction, 0.05, prompts)
    assert isinstance(nats, Calibration)
    assert nats == calibrate(model, direction, "kl", prompts, value=0.05)
    for target, options, words in (
        ("kl", {}, "nats"),
        ("judge", {}, "value"),
        ("judge", {"value": 0.5}, "needs a judge"),
        ("judge", {"value": 1.5}, "no share"),
        ("judge", {"value": -0.1}, "no share"),
        ("length", {"value": -5}, "no length"),
    ):
        with pytest.raises(BadValueError, match=words):
            calibrate(model, direction, target, prompts, **options)
    short = Reading(TextJudge(), Decoding(2, Greedy()))
    with pytest.raises(UnknownNameError, match="joy"):
        calibrate(model, direction, "joy", prompts, value=0.5, reading=short)
    with pytest.raises(TooLittleDataError):
        calibrate(model, direction, "length", prompts[:1], value=0.5, reading=short)
    with pytest.raises(BadValueError, match="largest"):
        Reading(largest=0.0)

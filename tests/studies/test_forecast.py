"""What a plan would take is counted as it is then measured."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from steerscope.progress import silent
from steerscope.studies.rows import PLAIN
from steerscope.studies.steering.forecast import forecast_study
from steerscope.studies.steering.measure import run_study, run_sweep
from steerscope.studies.steering.nulls import NULL
from steerscope.studies.steering.plan import GRID, RACE, StudyPlan, SweepPlan
from steerscope.studies.steering.prepare import prepare
from steerscope.studies.steering.steps import steps_of

SMALL = {"max_select": 6, "n_new": 2, "layers": (1, 3), "all_layers": True, "n_sweep_controls": 1}
SWEEP = SweepPlan(**SMALL, doses=(-2.0, 0.0, 1.0, 2.0))
STUDY = StudyPlan(
    **SMALL, doses=(1.0, 2.0), max_test=5, nulls=2, n_controls=1, other="garden_sea", examples=2
)


def counted(plan, folder):
    bound = prepare(plan, folder, (None, None), silent)
    return sum(step.texts for step in steps_of(bound.plan, bound))


def written(run):
    """Texts that were written for this run: the plain ones beside the nulls are those of the test."""
    texts = run.texts()
    return int((~((texts.split == NULL) & (texts.cell == PLAIN))).sum())


def test_the_texts_of_a_sweep_are_counted_as_they_are_written(tmp_path):
    run = run_sweep(SWEEP, tmp_path / "run")
    assert counted(SWEEP, tmp_path / "counted") == written(run)


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"judge": "preference"}], ids=["oracle", "preference"])
def test_the_texts_of_a_study_are_counted_as_they_are_written(given, tmp_path):
    plan = replace(STUDY, search=GRID, **given)
    run = run_study(plan, tmp_path / "run")
    assert counted(plan, tmp_path / "counted") == written(run)


@pytest.mark.slow
@pytest.mark.parametrize("given", [{}, {"samples": 2}, {"max_test": 66, "seed": 1}], ids=str)
def test_the_texts_of_a_race_are_about_those_that_are_counted(given, tmp_path):
    plan = replace(STUDY, search=RACE, max_select=24, **{"max_test": 24, **given})
    run = run_study(plan, tmp_path / "run")
    assert counted(plan, tmp_path / "counted") == pytest.approx(written(run), rel=0.2)


@pytest.mark.parametrize(("nulls", "max_test"), [(0, 5), (2, 100)])
def test_what_may_come_on_top_is_said_of_the_steps_that_there_are(nulls, max_test, tmp_path):
    plan = replace(
        STUDY,
        search=RACE,
        max_select=60,
        layers=(1, 2, 3),
        doses=(1.0, 2.0, 3.0),
        nulls=nulls,
        max_test=max_test,
    )
    bound = prepare(plan, tmp_path / "counted", (None, None), silent)
    more = {step.words: step.when for step in steps_of(bound.plan, bound) if step.more > 0}
    assert set(more) == ({"the race", "the nulls"} if nulls else {"the race"})
    assert "doses" in more["the race"]
    assert all(more.values())


@pytest.mark.slow
def test_a_forecast_states_positive_seconds_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = forecast_study(replace(SWEEP, layers=(1,)))
    assert 0 < found.seconds < math.inf
    assert found.tokens == pytest.approx(2 * found.texts)
    assert not [*tmp_path.iterdir()]

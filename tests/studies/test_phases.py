from __future__ import annotations

import pytest

from steerscope.errors import BadValueError
from steerscope.studies.steering.phases import (
    COLLAPSE,
    DEAD,
    EFFECTIVE,
    dose_phases,
)
from tests.figures.gallery import SUMMARY


def test_a_dose_is_dead_until_it_clears_the_null_and_collapses_where_a_limit_breaks():
    # Random directions reach 0.14; effects are 0.35 and 0.6, less 0.1 for the lower end.
    found = dose_phases(SUMMARY, method="mean_diff")
    at = {(r.layer, r.dose_natural): r.phase for r in found.itertuples()}
    assert at[0, 1.0] == EFFECTIVE
    assert at[2, 2.0] == COLLAPSE
    raised = SUMMARY.assign(high=SUMMARY.high.where(SUMMARY.method != "random", 0.3))
    at = {
        (r.layer, r.dose_natural): r.phase
        for r in dose_phases(raised, method="mean_diff").itertuples()
    }
    assert at[0, 1.0] == DEAD
    assert at[0, 2.0] == EFFECTIVE


def test_phases_without_a_null_are_refused():
    with pytest.raises(BadValueError, match="of random at layer 0"):
        dose_phases(SUMMARY[SUMMARY.method != "random"], method="mean_diff")

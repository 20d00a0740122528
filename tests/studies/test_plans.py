"""What every plan that samples refuses."""

from __future__ import annotations

import math
from functools import partial

import pytest

from steerscope.errors import BadValueError
from steerscope.studies.budgets.plan import BudgetPlan
from steerscope.studies.carrying.plan import CarryPlan
from steerscope.studies.features.plan import FeaturePlan, TrialPlan
from steerscope.studies.methods.plan import ComparisonPlan
from steerscope.studies.routing.plan import RoutePlan
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.studies.transfer.plan import TransferPlan
from steerscope.studies.weights.plan import WeightSweepPlan

PLANS = (
    partial(BudgetPlan, budgets=(16,)), partial(CarryPlan, source="microworld"), ComparisonPlan,
    partial(RoutePlan, phases="phases.yaml"), StudyPlan, SweepPlan, TransferPlan, TrialPlan,
    WeightSweepPlan, partial(FeaturePlan, autoencoder="microworld"),
)  # fmt: skip


@pytest.mark.parametrize("plan", PLANS)
def test_a_temperature_at_which_nothing_can_be_drawn_is_refused_and_0_is_the_likeliest(plan):
    assert plan(temperature=0.0).temperature == 0
    for temperature in (-0.5, math.inf, math.nan):
        with pytest.raises(BadValueError, match="temperature"):
            plan(temperature=temperature)

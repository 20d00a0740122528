"""What an experiment would cost."""

from __future__ import annotations

import pytest

from steerscope.experiments import forecast, load_experiment, parse_experiment
from tests.experiments.test_running import SMALL


def test_a_forecast_counts_conditions_and_bytes_and_measures_nothing():
    [found] = forecast(load_experiment("layer_sweep"), probe=False)
    assert found.size.cells == 1 + 8 * 2 * 2  # plain; layers, doses, method and one null
    assert found.size.items == 120
    assert found.memory.total > found.memory.weights > 0
    assert found.seconds is None


@pytest.mark.slow
def test_a_probe_gives_seconds():
    [found] = forecast(parse_experiment(SMALL, "small.yaml"))
    assert 0 < found.seconds < 3600

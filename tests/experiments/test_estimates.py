"""What an experiment would cost."""

from __future__ import annotations

import pytest

from steerscope.experiments import forecast, load_experiment, parse_experiment
from steerscope.studies import loading
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


def test_runs_of_one_model_in_a_row_load_it_once_and_another_anew(monkeypatch):
    asked = []

    def load(name, **how):
        asked.append((name, how["dtype"]))
        return object()

    monkeypatch.setattr(loading, "load_model", load)
    one, other = loading.Loading("one"), loading.Loading("one", dtype="bfloat16")
    with loading.loaded_once():
        assert one.load() is one.load()
        assert other.load() is not one.load()  # of two, the last is kept
    assert one.load() is not one.load()
    assert asked == [("one", "auto"), ("one", "bfloat16"), *[("one", "auto")] * 3]

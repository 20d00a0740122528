"""Experiments as files: one YAML file in, every run, table and figure out."""

from steerscope.experiments.estimates import Forecast, forecast
from steerscope.experiments.experiment import Experiment
from steerscope.experiments.reading import (
    bundled_experiments,
    experiment_of,
    load_experiment,
    parse_experiment,
)
from steerscope.experiments.running import open_experiment, print_experiment, run_experiment

__all__ = [
    "Experiment",
    "Forecast",
    "bundled_experiments",
    "experiment_of",
    "forecast",
    "load_experiment",
    "open_experiment",
    "parse_experiment",
    "print_experiment",
    "run_experiment",
]

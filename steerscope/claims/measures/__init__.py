"""The numbers that decide claims: each a small pure function of the rows of an experiment's runs."""

from steerscope.claims.measures import edits, effects, features, premise
from steerscope.claims.measures.measure import MEASURES, Measured, check_measure

__all__ = ["MEASURES", "Measured", "check_measure", "edits", "effects", "features", "premise"]

"""Steering by weights: honest edits of spectra, and their controls."""

from steerscope.weights.controls import CONTROLS, Control, control_of, elsewhere
from steerscope.weights.descriptions import EditDescription, describe_edit
from steerscope.weights.edits import EDITS, Edit, find_edit
from steerscope.weights.kept import forget_weights
from steerscope.weights.places import Place, parse_places
from steerscope.weights.weight_edit import WeightEdit

__all__ = [
    "CONTROLS",
    "EDITS",
    "Control",
    "Edit",
    "EditDescription",
    "Place",
    "WeightEdit",
    "control_of",
    "describe_edit",
    "elsewhere",
    "find_edit",
    "forget_weights",
    "parse_places",
]

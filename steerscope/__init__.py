"""steerscope: where, how hard, and whether a language model can be steered, with proof.

The public names load on first use, so that importing the package stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerscope.activations import Contrast, ReadToken, extract
    from steerscope.backbones import load_model
    from steerscope.contrasts import ContrastPair, ContrastSet, load_contrasts, load_prompts
    from steerscope.diagnostics import layer_diagnostics, layer_zones
    from steerscope.directions import Direction, find_direction, load_directions, save_directions
    from steerscope.doses import Dose
    from steerscope.errors import SteerscopeError
    from steerscope.generation import Greedy, Sample, generate
    from steerscope.interventions import Cell, Intervention, Steering, steer
    from steerscope.lens import direction_lens, logit_lens
    from steerscope.model import LensModel
    from steerscope.plans import StudyPlan, SweepPlan
    from steerscope.predictors import predictor_league
    from steerscope.results import Run
    from steerscope.scopes import Scope
    from steerscope.score import kl_from_plain, log_likelihoods
    from steerscope.sites import Site
    from steerscope.spectra import KeyView, eigengap
    from steerscope.steerability import measure_steerability, predictor_table
    from steerscope.study import run_study, run_sweep

_HOME = {
    "Cell": "interventions",
    "Contrast": "activations",
    "ContrastPair": "contrasts",
    "ContrastSet": "contrasts",
    "Direction": "directions",
    "Dose": "doses",
    "Greedy": "generation",
    "Intervention": "interventions",
    "KeyView": "spectra",
    "LensModel": "model",
    "ReadToken": "activations",
    "Run": "results",
    "Sample": "generation",
    "Scope": "scopes",
    "Site": "sites",
    "SteerscopeError": "errors",
    "Steering": "interventions",
    "StudyPlan": "plans",
    "SweepPlan": "plans",
    "direction_lens": "lens",
    "eigengap": "spectra",
    "extract": "activations",
    "find_direction": "directions",
    "generate": "generation",
    "kl_from_plain": "score",
    "layer_diagnostics": "diagnostics",
    "layer_zones": "diagnostics",
    "load_contrasts": "contrasts",
    "load_directions": "directions",
    "load_model": "backbones",
    "load_prompts": "contrasts",
    "log_likelihoods": "score",
    "logit_lens": "lens",
    "measure_steerability": "steerability",
    "predictor_league": "predictors",
    "predictor_table": "steerability",
    "run_study": "study",
    "run_sweep": "study",
    "save_directions": "directions",
    "steer": "interventions",
}

__all__ = [
    "Cell",
    "Contrast",
    "ContrastPair",
    "ContrastSet",
    "Direction",
    "Dose",
    "Greedy",
    "Intervention",
    "KeyView",
    "LensModel",
    "ReadToken",
    "Run",
    "Sample",
    "Scope",
    "Site",
    "Steering",
    "SteerscopeError",
    "StudyPlan",
    "SweepPlan",
    "direction_lens",
    "eigengap",
    "extract",
    "find_direction",
    "generate",
    "kl_from_plain",
    "layer_diagnostics",
    "layer_zones",
    "load_contrasts",
    "load_directions",
    "load_model",
    "load_prompts",
    "log_likelihoods",
    "logit_lens",
    "measure_steerability",
    "predictor_league",
    "predictor_table",
    "run_study",
    "run_sweep",
    "save_directions",
    "steer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"steerscope.{_HOME[name]}"), name)
    globals()[name] = found
    return found

"""steerscope: where, how hard, and whether a language model can be steered, with proof.

The public names load on first use, so that importing the package stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerscope.activations import Contrast, extract
    from steerscope.backbones import load_model
    from steerscope.contrasts import ContrastPair, ContrastSet, load_contrasts, load_prompts
    from steerscope.directions import Direction, find_direction, load_directions, save_directions
    from steerscope.doses import Dose
    from steerscope.errors import SteerscopeError
    from steerscope.evidence import gather
    from steerscope.generation import Greedy, Sample, generate
    from steerscope.interventions import Cell, Intervention, Steering, steer
    from steerscope.lens import direction_lens, logit_lens
    from steerscope.model import LensModel
    from steerscope.plans import StudyPlan, SweepPlan
    from steerscope.reading import ReadToken
    from steerscope.results import Run
    from steerscope.scopes import Scope
    from steerscope.score import kl_from_plain, log_likelihoods
    from steerscope.sites import Site
    from steerscope.spectra import eigengap
    from steerscope.stability import jackknife, learning_curve, pairs_needed, split_half
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
    "LensModel": "model",
    "ReadToken": "reading",
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
    "gather": "evidence",
    "generate": "generation",
    "jackknife": "stability",
    "kl_from_plain": "score",
    "learning_curve": "stability",
    "load_contrasts": "contrasts",
    "load_directions": "directions",
    "load_model": "backbones",
    "load_prompts": "contrasts",
    "log_likelihoods": "score",
    "logit_lens": "lens",
    "pairs_needed": "stability",
    "run_study": "study",
    "run_sweep": "study",
    "save_directions": "directions",
    "split_half": "stability",
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
    "gather",
    "generate",
    "jackknife",
    "kl_from_plain",
    "learning_curve",
    "load_contrasts",
    "load_directions",
    "load_model",
    "load_prompts",
    "log_likelihoods",
    "logit_lens",
    "pairs_needed",
    "run_study",
    "run_sweep",
    "save_directions",
    "split_half",
    "steer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"steerscope.{_HOME[name]}"), name)
    globals()[name] = found
    return found

"""steerscope: where, how hard, and whether a language model can be steered, with proof.

The public names load on first use, so that importing the package stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerscope.activations import Contrast, Gradients, Moments, extract, extract_moments
    from steerscope.audits import audit
    from steerscope.backbones import load_model
    from steerscope.calibration import calibrate
    from steerscope.comparison import ComparisonPlan, compare_methods
    from steerscope.composition import (
        interference,
        orthogonalised,
        renormalised_sum,
        switched,
        vector_sum,
    )
    from steerscope.contrasts import (
        ContrastPair,
        ContrastSet,
        load_contrasts,
        load_prompts,
        style_contrasts,
    )
    from steerscope.diagnostics import layer_diagnostics, layer_zones
    from steerscope.directions import (
        Direction,
        export_gguf,
        find_direction,
        from_pretrained,
        import_directions,
        import_gguf,
        load_directions,
        push_to_hub,
        save_directions,
    )
    from steerscope.doses import Dose
    from steerscope.errors import SteerscopeError
    from steerscope.evidence import gather
    from steerscope.generation import Greedy, Sample, generate
    from steerscope.geometry import compare_geometries, cosine_matrix, mantel
    from steerscope.gradients import add_gradients
    from steerscope.interventions import Cell, Intervention, Steering, steer
    from steerscope.lens import direction_lens, logit_lens
    from steerscope.model import LensModel
    from steerscope.plans import StudyPlan, SweepPlan
    from steerscope.predictors import predictor_league
    from steerscope.reading import ReadToken
    from steerscope.results import Run
    from steerscope.scopes import Scope
    from steerscope.score import kl_from_plain, log_likelihoods
    from steerscope.sites import Site
    from steerscope.spectra import KeyView, eigengap, head_statistics
    from steerscope.stability import jackknife, learning_curve, pairs_needed, split_half
    from steerscope.steerability import measure_steerability, predictor_table
    from steerscope.strengths import (
        CosineGate,
        EigengapGate,
        ProjectionGate,
        Strength,
        parse_strength,
    )
    from steerscope.study import run_study, run_sweep
    from steerscope.style_report import style_report
    from steerscope.styles import Style, find_style
    from steerscope.templates import check_templates, wrapped
    from steerscope.transfers import transfer_table
    from steerscope.weights import (
        WeightEdit,
        WeightSweepPlan,
        control_of,
        describe_edit,
        find_edit,
        run_weight_sweep,
    )
    from steerscope.weights.adapter import (
        Adapted,
        AdapterDesign,
        SvdAdapter,
        TransferPlan,
        load_adapter,
        save_adapter,
        train_adapter,
        transfer,
    )

_HOME = {
    "Adapted": "weights.adapter",
    "AdapterDesign": "weights.adapter",
    "Cell": "interventions",
    "ComparisonPlan": "comparison",
    "Contrast": "activations",
    "ContrastPair": "contrasts",
    "ContrastSet": "contrasts",
    "CosineGate": "strengths",
    "Direction": "directions",
    "Dose": "doses",
    "EigengapGate": "strengths",
    "Gradients": "activations",
    "Greedy": "generation",
    "Intervention": "interventions",
    "KeyView": "spectra",
    "LensModel": "model",
    "Moments": "activations",
    "ProjectionGate": "strengths",
    "ReadToken": "reading",
    "Run": "results",
    "Sample": "generation",
    "Scope": "scopes",
    "Site": "sites",
    "Steering": "interventions",
    "SteerscopeError": "errors",
    "Strength": "strengths",
    "StudyPlan": "plans",
    "Style": "styles",
    "SvdAdapter": "weights.adapter",
    "SweepPlan": "plans",
    "TransferPlan": "weights.adapter",
    "WeightEdit": "weights",
    "WeightSweepPlan": "weights",
    "add_gradients": "gradients",
    "audit": "audits",
    "calibrate": "calibration",
    "check_templates": "templates",
    "compare_geometries": "geometry",
    "compare_methods": "comparison",
    "control_of": "weights",
    "cosine_matrix": "geometry",
    "describe_edit": "weights",
    "direction_lens": "lens",
    "eigengap": "spectra",
    "export_gguf": "directions",
    "extract": "activations",
    "extract_moments": "activations",
    "find_direction": "directions",
    "find_edit": "weights",
    "find_style": "styles",
    "from_pretrained": "directions",
    "gather": "evidence",
    "generate": "generation",
    "head_statistics": "spectra",
    "import_directions": "directions",
    "import_gguf": "directions",
    "interference": "composition",
    "jackknife": "stability",
    "kl_from_plain": "score",
    "layer_diagnostics": "diagnostics",
    "layer_zones": "diagnostics",
    "learning_curve": "stability",
    "load_adapter": "weights.adapter",
    "load_contrasts": "contrasts",
    "load_directions": "directions",
    "load_model": "backbones",
    "load_prompts": "contrasts",
    "log_likelihoods": "score",
    "logit_lens": "lens",
    "mantel": "geometry",
    "measure_steerability": "steerability",
    "orthogonalised": "composition",
    "pairs_needed": "stability",
    "parse_strength": "strengths",
    "predictor_league": "predictors",
    "predictor_table": "steerability",
    "push_to_hub": "directions",
    "renormalised_sum": "composition",
    "run_study": "study",
    "run_sweep": "study",
    "run_weight_sweep": "weights",
    "save_adapter": "weights.adapter",
    "save_directions": "directions",
    "split_half": "stability",
    "steer": "interventions",
    "style_contrasts": "contrasts",
    "style_report": "style_report",
    "switched": "composition",
    "train_adapter": "weights.adapter",
    "transfer": "weights.adapter",
    "transfer_table": "transfers",
    "vector_sum": "composition",
    "wrapped": "templates",
}

__all__ = [
    "Adapted",
    "AdapterDesign",
    "Cell",
    "ComparisonPlan",
    "Contrast",
    "ContrastPair",
    "ContrastSet",
    "CosineGate",
    "Direction",
    "Dose",
    "EigengapGate",
    "Gradients",
    "Greedy",
    "Intervention",
    "KeyView",
    "LensModel",
    "Moments",
    "ProjectionGate",
    "ReadToken",
    "Run",
    "Sample",
    "Scope",
    "Site",
    "Steering",
    "SteerscopeError",
    "Strength",
    "StudyPlan",
    "Style",
    "SvdAdapter",
    "SweepPlan",
    "TransferPlan",
    "WeightEdit",
    "WeightSweepPlan",
    "add_gradients",
    "audit",
    "calibrate",
    "check_templates",
    "compare_geometries",
    "compare_methods",
    "control_of",
    "cosine_matrix",
    "describe_edit",
    "direction_lens",
    "eigengap",
    "export_gguf",
    "extract",
    "extract_moments",
    "find_direction",
    "find_edit",
    "find_style",
    "from_pretrained",
    "gather",
    "generate",
    "head_statistics",
    "import_directions",
    "import_gguf",
    "interference",
    "jackknife",
    "kl_from_plain",
    "layer_diagnostics",
    "layer_zones",
    "learning_curve",
    "load_adapter",
    "load_contrasts",
    "load_directions",
    "load_model",
    "load_prompts",
    "log_likelihoods",
    "logit_lens",
    "mantel",
    "measure_steerability",
    "orthogonalised",
    "pairs_needed",
    "parse_strength",
    "predictor_league",
    "predictor_table",
    "push_to_hub",
    "renormalised_sum",
    "run_study",
    "run_sweep",
    "run_weight_sweep",
    "save_adapter",
    "save_directions",
    "split_half",
    "steer",
    "style_contrasts",
    "style_report",
    "switched",
    "train_adapter",
    "transfer",
    "transfer_table",
    "vector_sum",
    "wrapped",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"steerscope.{_HOME[name]}"), name)
    globals()[name] = found
    return found

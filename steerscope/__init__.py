"""steerscope: where, how hard, and whether a language model can be steered, with proof.

The public names load on first use, so that importing the package stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerscope.activations import Contrast, Gradients, Moments, extract, extract_moments
    from steerscope.anatomy import layer_anatomy
    from steerscope.audits import audit
    from steerscope.backbones import load_model
    from steerscope.calibration import calibrate
    from steerscope.claims import check_claims, load_claims
    from steerscope.comparison import ComparisonPlan, compare_methods
    from steerscope.composition import (
        interference,
        orthogonalised,
        renormalised_sum,
        switched,
        vector_sum,
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
    from steerscope.drift import drift_table
    from steerscope.errors import SteerscopeError
    from steerscope.evidence import gather
    from steerscope.experiments import Experiment, load_experiment, run_experiment
    from steerscope.generation import Greedy, Sample, generate
    from steerscope.geometry import compare_geometries, cosine_matrix, mantel
    from steerscope.gradients import add_gradients
    from steerscope.interferences import interference_table
    from steerscope.interventions import Cell, Intervention, Steering, steer
    from steerscope.landscapes import activation_landscape
    from steerscope.lens import direction_lens, lens_table, logit_lens
    from steerscope.model import LensModel
    from steerscope.phases import dose_phases
    from steerscope.plans import StudyPlan, SweepPlan
    from steerscope.predictors import predictor_league
    from steerscope.reading import ReadToken
    from steerscope.results import Run
    from steerscope.sae import (
        SaePlan,
        SparseAutoencoder,
        evaluate_sae,
        load_sae,
        save_sae,
        train_sae,
    )
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
    from steerscope.style_reports import style_report
    from steerscope.templates import check_templates, wrapped
    from steerscope.texts.contrasts import (
        ContrastPair,
        ContrastSet,
        load_contrasts,
        load_prompts,
        style_contrasts,
    )
    from steerscope.texts.styles import Style, find_style
    from steerscope.transfers import transfer_table
    from steerscope.verification import verify
    from steerscope.weights import (
        Place,
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
        TrainingPlan,
        TransferPlan,
        frozen_ruler,
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
    "ContrastPair": "texts.contrasts",
    "ContrastSet": "texts.contrasts",
    "CosineGate": "strengths",
    "Direction": "directions",
    "Dose": "doses",
    "EigengapGate": "strengths",
    "Experiment": "experiments",
    "Gradients": "activations",
    "Greedy": "generation",
    "Intervention": "interventions",
    "KeyView": "spectra",
    "LensModel": "model",
    "Moments": "activations",
    "Place": "weights",
    "ProjectionGate": "strengths",
    "ReadToken": "reading",
    "Run": "results",
    "SaePlan": "sae",
    "Sample": "generation",
    "Scope": "scopes",
    "Site": "sites",
    "SparseAutoencoder": "sae",
    "Steering": "interventions",
    "SteerscopeError": "errors",
    "Strength": "strengths",
    "StudyPlan": "plans",
    "Style": "texts.styles",
    "SvdAdapter": "weights.adapter",
    "SweepPlan": "plans",
    "TrainingPlan": "weights.adapter",
    "TransferPlan": "weights.adapter",
    "WeightEdit": "weights",
    "WeightSweepPlan": "weights",
    "activation_landscape": "landscapes",
    "add_gradients": "gradients",
    "audit": "audits",
    "calibrate": "calibration",
    "check_claims": "claims",
    "check_templates": "templates",
    "compare_geometries": "geometry",
    "compare_methods": "comparison",
    "control_of": "weights",
    "cosine_matrix": "geometry",
    "describe_edit": "weights",
    "direction_lens": "lens",
    "dose_phases": "phases",
    "drift_table": "drift",
    "eigengap": "spectra",
    "evaluate_sae": "sae",
    "export_gguf": "directions",
    "extract": "activations",
    "extract_moments": "activations",
    "find_direction": "directions",
    "find_edit": "weights",
    "find_style": "texts.styles",
    "from_pretrained": "directions",
    "frozen_ruler": "weights.adapter",
    "gather": "evidence",
    "generate": "generation",
    "head_statistics": "spectra",
    "import_directions": "directions",
    "import_gguf": "directions",
    "interference": "composition",
    "interference_table": "interferences",
    "jackknife": "stability",
    "kl_from_plain": "score",
    "layer_anatomy": "anatomy",
    "layer_diagnostics": "diagnostics",
    "layer_zones": "diagnostics",
    "learning_curve": "stability",
    "lens_table": "lens",
    "load_adapter": "weights.adapter",
    "load_claims": "claims",
    "load_contrasts": "texts.contrasts",
    "load_directions": "directions",
    "load_experiment": "experiments",
    "load_model": "backbones",
    "load_prompts": "texts.contrasts",
    "load_sae": "sae",
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
    "run_experiment": "experiments",
    "run_study": "study",
    "run_sweep": "study",
    "run_weight_sweep": "weights",
    "save_adapter": "weights.adapter",
    "save_directions": "directions",
    "save_sae": "sae",
    "split_half": "stability",
    "steer": "interventions",
    "style_contrasts": "texts.contrasts",
    "style_report": "style_reports",
    "switched": "composition",
    "train_adapter": "weights.adapter",
    "train_sae": "sae",
    "transfer": "weights.adapter",
    "transfer_table": "transfers",
    "vector_sum": "composition",
    "verify": "verification",
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
    "Experiment",
    "Gradients",
    "Greedy",
    "Intervention",
    "KeyView",
    "LensModel",
    "Moments",
    "Place",
    "ProjectionGate",
    "ReadToken",
    "Run",
    "SaePlan",
    "Sample",
    "Scope",
    "Site",
    "SparseAutoencoder",
    "Steering",
    "SteerscopeError",
    "Strength",
    "StudyPlan",
    "Style",
    "SvdAdapter",
    "SweepPlan",
    "TrainingPlan",
    "TransferPlan",
    "WeightEdit",
    "WeightSweepPlan",
    "activation_landscape",
    "add_gradients",
    "audit",
    "calibrate",
    "check_claims",
    "check_templates",
    "compare_geometries",
    "compare_methods",
    "control_of",
    "cosine_matrix",
    "describe_edit",
    "direction_lens",
    "dose_phases",
    "drift_table",
    "eigengap",
    "evaluate_sae",
    "export_gguf",
    "extract",
    "extract_moments",
    "find_direction",
    "find_edit",
    "find_style",
    "from_pretrained",
    "frozen_ruler",
    "gather",
    "generate",
    "head_statistics",
    "import_directions",
    "import_gguf",
    "interference",
    "interference_table",
    "jackknife",
    "kl_from_plain",
    "layer_anatomy",
    "layer_diagnostics",
    "layer_zones",
    "learning_curve",
    "lens_table",
    "load_adapter",
    "load_claims",
    "load_contrasts",
    "load_directions",
    "load_experiment",
    "load_model",
    "load_prompts",
    "load_sae",
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
    "run_experiment",
    "run_study",
    "run_sweep",
    "run_weight_sweep",
    "save_adapter",
    "save_directions",
    "save_sae",
    "split_half",
    "steer",
    "style_contrasts",
    "style_report",
    "switched",
    "train_adapter",
    "train_sae",
    "transfer",
    "transfer_table",
    "vector_sum",
    "verify",
    "wrapped",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"steerscope.{_HOME[name]}"), name)
    globals()[name] = found
    return found

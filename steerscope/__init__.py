"""steerscope: where, how hard, and whether a language model can be steered, with the evidence.

The public names load on first use, so that importing the package stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from steerscope.calls import as_told

if TYPE_CHECKING:
    from steerscope.audits import audit
    from steerscope.audits.lint import lint
    from steerscope.claims import check_claims, load_claims
    from steerscope.diagnostics import layer_diagnostics, layer_zones
    from steerscope.diagnostics.anatomy import layer_anatomy
    from steerscope.diagnostics.landscapes import activation_landscape
    from steerscope.diagnostics.lens import direction_lens, lens_table, logit_lens
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
    from steerscope.directions.stability import jackknife, learning_curve, pairs_needed, split_half
    from steerscope.doses import Dose
    from steerscope.eigengaps import KeyView, eigengap, head_statistics
    from steerscope.engine.gathering import gather
    from steerscope.engine.generation import generate
    from steerscope.engine.sampling import Greedy, Sample
    from steerscope.engine.score import kl_from_plain, log_likelihoods
    from steerscope.engine.streaming import Token, stream
    from steerscope.errors import SteerscopeError
    from steerscope.experiments import Experiment, load_experiment, run_experiment
    from steerscope.extraction.activations import (
        Contrast,
        Gradients,
        Moments,
        extract,
        extract_moments,
    )
    from steerscope.extraction.gradients import add_gradients
    from steerscope.extraction.reading import ReadToken
    from steerscope.models.chat_templates import wrapped
    from steerscope.models.lens_model import LensModel
    from steerscope.models.loading import load_model
    from steerscope.report import plot
    from steerscope.report.quickstart import quickstart
    from steerscope.runs.results import Run
    from steerscope.runs.written import written_texts
    from steerscope.sae import (
        SaePlan,
        SparseAutoencoder,
        evaluate_sae,
        load_sae,
        save_sae,
        train_sae,
    )
    from steerscope.sites import Site
    from steerscope.steering.composition import (
        interference,
        orthogonalised,
        renormalised_sum,
        switched,
        vector_sum,
    )
    from steerscope.steering.control_vectors import ControlVector
    from steerscope.steering.interventions import Cell, Intervention, Steering, steer
    from steerscope.steering.prompting import Prompting
    from steerscope.steering.scopes import Scope
    from steerscope.steering.strengths import (
        CosineGate,
        EigengapGate,
        ProjectionGate,
        Strength,
        parse_strength,
    )
    from steerscope.steering.template_checks import check_templates
    from steerscope.studies.bench import Decoding
    from steerscope.studies.geometry import (
        compare_geometries,
        cosine_matrix,
        mantel,
    )
    from steerscope.studies.interferences import interference_table
    from steerscope.studies.methods.measure import compare_methods
    from steerscope.studies.methods.plan import ComparisonPlan
    from steerscope.studies.parity import Reading, calibrate
    from steerscope.studies.predictors.best_layer import best_layer
    from steerscope.studies.predictors.findings import predictor_league
    from steerscope.studies.predictors.measure import measure_steerability, predictor_table
    from steerscope.studies.steering.drift import drift_table
    from steerscope.studies.steering.measure import run_study, run_sweep
    from steerscope.studies.steering.phases import dose_phases
    from steerscope.studies.steering.plan import StudyPlan, SweepPlan
    from steerscope.studies.styles import style_report
    from steerscope.studies.transfer.findings import transfer_table
    from steerscope.studies.transfer.measure import transfer
    from steerscope.studies.transfer.plan import TransferPlan
    from steerscope.studies.weights.measure import run_weight_sweep
    from steerscope.studies.weights.plan import WeightSweepPlan
    from steerscope.texts.chats import Chat, Conversation, Message
    from steerscope.texts.contrasts import (
        ContrastPair,
        ContrastSet,
        load_contrasts,
        load_prompts,
        style_contrasts,
    )
    from steerscope.texts.styles import Style, find_style
    from steerscope.verification import verify
    from steerscope.weights import (
        Place,
        WeightEdit,
        control_of,
        describe_edit,
        find_edit,
    )
    from steerscope.weights.adapter import (
        Adapted,
        AdapterDesign,
        SvdAdapter,
        TrainingPlan,
        frozen_ruler,
        load_adapter,
        save_adapter,
        train_adapter,
    )

_HOME = {
    "Adapted": "weights.adapter",
    "AdapterDesign": "weights.adapter",
    "Cell": "steering.interventions",
    "Chat": "texts.chats",
    "ComparisonPlan": "studies.methods.plan",
    "Contrast": "extraction.activations",
    "ContrastPair": "texts.contrasts",
    "ContrastSet": "texts.contrasts",
    "ControlVector": "steering.control_vectors",
    "Conversation": "texts.chats",
    "CosineGate": "steering.strengths",
    "Decoding": "studies.bench",
    "Direction": "directions",
    "Dose": "doses",
    "EigengapGate": "steering.strengths",
    "Experiment": "experiments",
    "Gradients": "extraction.activations",
    "Greedy": "engine.sampling",
    "Intervention": "steering.interventions",
    "KeyView": "eigengaps",
    "LensModel": "models.lens_model",
    "Message": "texts.chats",
    "Moments": "extraction.activations",
    "Place": "weights",
    "ProjectionGate": "steering.strengths",
    "Prompting": "steering.prompting",
    "ReadToken": "extraction.reading",
    "Reading": "studies.parity",
    "Run": "runs.results",
    "SaePlan": "sae",
    "Sample": "engine.sampling",
    "Scope": "steering.scopes",
    "Site": "sites",
    "SparseAutoencoder": "sae",
    "Steering": "steering.interventions",
    "SteerscopeError": "errors",
    "Strength": "steering.strengths",
    "StudyPlan": "studies.steering.plan",
    "Style": "texts.styles",
    "SvdAdapter": "weights.adapter",
    "SweepPlan": "studies.steering.plan",
    "Token": "engine.streaming",
    "TrainingPlan": "weights.adapter",
    "TransferPlan": "studies.transfer.plan",
    "WeightEdit": "weights",
    "WeightSweepPlan": "studies.weights.plan",
    "activation_landscape": "diagnostics.landscapes",
    "add_gradients": "extraction.gradients",
    "audit": "audits",
    "best_layer": "studies.predictors.best_layer",
    "calibrate": "studies.parity",
    "check_claims": "claims",
    "check_templates": "steering.template_checks",
    "compare_geometries": "studies.geometry",
    "compare_methods": "studies.methods.measure",
    "control_of": "weights",
    "cosine_matrix": "studies.geometry",
    "describe_edit": "weights",
    "direction_lens": "diagnostics.lens",
    "dose_phases": "studies.steering.phases",
    "drift_table": "studies.steering.drift",
    "eigengap": "eigengaps",
    "evaluate_sae": "sae",
    "export_gguf": "directions",
    "extract": "extraction.activations",
    "extract_moments": "extraction.activations",
    "find_direction": "directions",
    "find_edit": "weights",
    "find_style": "texts.styles",
    "from_pretrained": "directions",
    "frozen_ruler": "weights.adapter",
    "gather": "engine.gathering",
    "generate": "engine.generation",
    "head_statistics": "eigengaps",
    "import_directions": "directions",
    "import_gguf": "directions",
    "interference": "steering.composition",
    "interference_table": "studies.interferences",
    "jackknife": "directions.stability",
    "kl_from_plain": "engine.score",
    "layer_anatomy": "diagnostics.anatomy",
    "layer_diagnostics": "diagnostics",
    "layer_zones": "diagnostics",
    "learning_curve": "directions.stability",
    "lens_table": "diagnostics.lens",
    "lint": "audits.lint",
    "load_adapter": "weights.adapter",
    "load_claims": "claims",
    "load_contrasts": "texts.contrasts",
    "load_directions": "directions",
    "load_experiment": "experiments",
    "load_model": "models.loading",
    "load_prompts": "texts.contrasts",
    "load_sae": "sae",
    "log_likelihoods": "engine.score",
    "logit_lens": "diagnostics.lens",
    "mantel": "studies.geometry",
    "measure_steerability": "studies.predictors.measure",
    "orthogonalised": "steering.composition",
    "pairs_needed": "directions.stability",
    "parse_strength": "steering.strengths",
    "plot": "report",
    "predictor_league": "studies.predictors.findings",
    "predictor_table": "studies.predictors.measure",
    "push_to_hub": "directions",
    "quickstart": "report.quickstart",
    "renormalised_sum": "steering.composition",
    "run_experiment": "experiments",
    "run_study": "studies.steering.measure",
    "run_sweep": "studies.steering.measure",
    "run_weight_sweep": "studies.weights.measure",
    "save_adapter": "weights.adapter",
    "save_directions": "directions",
    "save_sae": "sae",
    "split_half": "directions.stability",
    "steer": "steering.interventions",
    "stream": "engine.streaming",
    "style_contrasts": "texts.contrasts",
    "style_report": "studies.styles",
    "switched": "steering.composition",
    "train_adapter": "weights.adapter",
    "train_sae": "sae",
    "transfer": "studies.transfer.measure",
    "transfer_table": "studies.transfer.findings",
    "vector_sum": "steering.composition",
    "verify": "verification",
    "wrapped": "models.chat_templates",
    "written_texts": "runs.written",
}

__all__ = [
    "Adapted",
    "AdapterDesign",
    "Cell",
    "Chat",
    "ComparisonPlan",
    "Contrast",
    "ContrastPair",
    "ContrastSet",
    "ControlVector",
    "Conversation",
    "CosineGate",
    "Decoding",
    "Direction",
    "Dose",
    "EigengapGate",
    "Experiment",
    "Gradients",
    "Greedy",
    "Intervention",
    "KeyView",
    "LensModel",
    "Message",
    "Moments",
    "Place",
    "ProjectionGate",
    "Prompting",
    "ReadToken",
    "Reading",
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
    "Token",
    "TrainingPlan",
    "TransferPlan",
    "WeightEdit",
    "WeightSweepPlan",
    "activation_landscape",
    "add_gradients",
    "audit",
    "best_layer",
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
    "lint",
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
    "plot",
    "predictor_league",
    "predictor_table",
    "push_to_hub",
    "quickstart",
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
    "stream",
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
    "written_texts",
]


__version__: str

if not TYPE_CHECKING:  # a checker of types sees the names above, and none that does not exist

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            found: Any = import_module("importlib.metadata").version("steerscope")
        elif name in _HOME:
            home = import_module(f"steerscope.{_HOME[name]}")
            found = getattr(home, name, None) or import_module(
                f"{home.__name__}.{name}"
            )  # a module
            found = as_told(found)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])

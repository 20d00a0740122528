"""Figures: functions from tables to plotly figures, nothing written and no model needed."""

from steerscope.figures.anatomy import layer_anatomy
from steerscope.figures.claims import claims_board
from steerscope.figures.diagnostics import (
    diagnostic_scatter,
    eigengap_heads,
    preference_scatter,
    token_effects,
)
from steerscope.figures.doses import dose_fan, dose_phase_diagram
from steerscope.figures.features import (
    feature_diffusion,
    feature_overlap,
    jaccard_curve,
    score_scatter,
    steering_pareto,
)
from steerscope.figures.fertility import tokenizer_bars
from steerscope.figures.fronts import pareto_front
from steerscope.figures.gates import gate_comparison
from steerscope.figures.geometry import concept_geometry
from steerscope.figures.interferences import interference_gram
from steerscope.figures.landscapes import activation_landscape
from steerscope.figures.lens import lens_map
from steerscope.figures.lens_dots import lens_dots
from steerscope.figures.method_places import method_places
from steerscope.figures.methods import method_forest
from steerscope.figures.predictors import predictor_league, threshold_roc
from steerscope.figures.premise import ridge_heads
from steerscope.figures.side_effects import side_effects
from steerscope.figures.styles import sink_leak, style_cosines
from steerscope.figures.sweeps import dose_response, kl_by_depth, layer_sweep, sweet_spot_map
from steerscope.figures.transfer import transfer_at_one_kl, transfer_responses

__all__ = [
    "activation_landscape",
    "claims_board",
    "concept_geometry",
    "diagnostic_scatter",
    "dose_fan",
    "dose_phase_diagram",
    "dose_response",
    "eigengap_heads",
    "feature_diffusion",
    "feature_overlap",
    "gate_comparison",
    "interference_gram",
    "jaccard_curve",
    "kl_by_depth",
    "layer_anatomy",
    "layer_sweep",
    "lens_dots",
    "lens_map",
    "method_forest",
    "method_places",
    "pareto_front",
    "predictor_league",
    "preference_scatter",
    "ridge_heads",
    "score_scatter",
    "side_effects",
    "sink_leak",
    "steering_pareto",
    "style_cosines",
    "sweet_spot_map",
    "threshold_roc",
    "token_effects",
    "tokenizer_bars",
    "transfer_at_one_kl",
    "transfer_responses",
]

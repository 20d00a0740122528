"""Figures: functions from tables to plotly figures, nothing written and no model needed."""

from steerscope.figures.diagnostics import diagnostic_scatter, eigengap_heads, token_effects
from steerscope.figures.features import (
    feature_diffusion,
    feature_overlap,
    jaccard_curve,
    score_scatter,
    steering_pareto,
)
from steerscope.figures.methods import method_forest
from steerscope.figures.gates import gate_comparison
from steerscope.figures.predictors import predictor_league
from steerscope.figures.sweeps import dose_response, kl_by_depth, layer_sweep, sweet_spot_map
from steerscope.figures.styles import sink_leak, style_cosines

__all__ = [
    "diagnostic_scatter",
    "dose_response",
    "eigengap_heads",
    "feature_diffusion",
    "feature_overlap",
    "gate_comparison",
    "jaccard_curve",
    "kl_by_depth",
    "layer_sweep",
    "method_forest",
    "predictor_league",
    "score_scatter",
    "sink_leak",
    "steering_pareto",
    "style_cosines",
    "sweet_spot_map",
    "token_effects",
]

"""Figures: functions from tables to plotly figures, nothing written and no model needed."""

from steerscope.figures.claims import claims_board
from steerscope.figures.diagnostics import diagnostic_scatter, eigengap_heads, token_effects
from steerscope.figures.methods import method_forest
from steerscope.figures.gates import gate_comparison
from steerscope.figures.predictors import predictor_league
from steerscope.figures.sweeps import dose_response, kl_by_depth, layer_sweep, sweet_spot_map
from steerscope.figures.styles import sink_leak, style_cosines

__all__ = [
    "claims_board",
    "diagnostic_scatter",
    "dose_response",
    "eigengap_heads",
    "gate_comparison",
    "kl_by_depth",
    "layer_sweep",
    "method_forest",
    "predictor_league",
    "sink_leak",
    "style_cosines",
    "sweet_spot_map",
    "token_effects",
]

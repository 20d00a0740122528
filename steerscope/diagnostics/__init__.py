"""What can be said about a layer before anything is steered there; one small file per question."""

from __future__ import annotations

from steerscope.diagnostics.agreement import lens_agreement
from steerscope.diagnostics.gradients import gradient_screening, preference_gradients
from steerscope.diagnostics.layers import layer_diagnostics, spectral_values
from steerscope.diagnostics.norms import residual_norms
from steerscope.diagnostics.probe import explained_variance, probe_accuracy
from steerscope.diagnostics.sensitivity import kl_sensitivity
from steerscope.diagnostics.separation import (
    half_agreement,
    pair_stability,
    separation,
    signal_to_noise,
)
from steerscope.diagnostics.sink import sink_alignment
from steerscope.diagnostics.table import LayerValue, as_table
from steerscope.diagnostics.visibility import visible_share, visible_subspace
from steerscope.diagnostics.zones import ZoneLimits, layer_zones

__all__ = [
    "LayerValue",
    "ZoneLimits",
    "as_table",
    "explained_variance",
    "gradient_screening",
    "half_agreement",
    "kl_sensitivity",
    "layer_diagnostics",
    "layer_zones",
    "lens_agreement",
    "pair_stability",
    "preference_gradients",
    "probe_accuracy",
    "residual_norms",
    "separation",
    "signal_to_noise",
    "sink_alignment",
    "spectral_values",
    "visible_share",
    "visible_subspace",
]

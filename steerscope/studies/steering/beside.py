"""What is measured beside the conditions: spectra of the keys, the attention sink, noise in the pairs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from steerscope.diagnostics import sink_alignment
from steerscope.directions import Direction, noise_share
from steerscope.eigengaps import eigengap
from steerscope.errors import BadValueError, NotFiniteError, UnsupportedSiteError
from steerscope.extraction.activations import Contrast
from steerscope.models.lens_model import LensModel
from steerscope.progress import Track, silent
from steerscope.runs.results import Row, Run, plain_row
from steerscope.sites import Site

DIAGNOSTIC, NOISE = "diagnostic", "noise"
_log = logging.getLogger(__name__)


def measure_eigengaps(
    run: Run, model: LensModel, prompts: Sequence[str], progress: Track = silent
) -> None:
    """Store the eigengap of every head on these prompts, unless the run has them."""
    if (run.table().method == "eigengap").any():
        return
    try:
        spectra = eigengap(model, prompts, progress=progress)
    except UnsupportedSiteError:  # a model without attention keys
        return
    except (NotFiniteError, BadValueError) as error:  # all else is measured, and needs no keys
        _log.warning("the eigengap is not measured: %s", error)
        return
    metrics = {
        "eigengap": (spectra.gap, "ratio"),
        "eigengap_low": (spectra.low, "ratio"),
        "eigengap_high": (spectra.high, "ratio"),
        "eigengap_null": (spectra.null_gap, "ratio"),
        "participation_ratio": (spectra.participation_ratio, "directions"),
        "effective_rank": (spectra.effective_rank, "directions"),
    }
    run.append(
        [
            _diagnostic_row(
                "eigengap", Site("k", layer, head), metric, float(values[row, head]), unit
            )
            for metric, (values, unit) in metrics.items()
            for row, layer in enumerate(spectra.layers)
            for head in range(values.shape[1])
        ]
    )


def measure_sinks(
    run: Run, model: LensModel, prompts: Sequence[str], directions: Sequence[Direction]
) -> None:
    """Store where position 0 lies as seen from each direction, unless the run has it."""
    if (run.table().method == "sink").any():
        return
    at = {direction.site.layer: direction.site for direction in directions}
    found = sink_alignment(model, prompts, list(directions))
    run.append([_diagnostic_row("sink", at[v.layer], v.diagnostic, v.value, v.unit) for v in found])


def measure_noise(run: Run, found: Mapping[Site, Contrast]) -> None:
    """Store how much of the mean difference is noise at each site, unless the run has it."""
    if (run.table().method == NOISE).any():
        return
    run.append(
        [
            _diagnostic_row(NOISE, site, "noise_share", noise_share(contrast), "share")
            for site, contrast in found.items()
        ]
    )


def _diagnostic_row(method: str, site: Site, metric: str, value: float, unit: str) -> Row:
    return replace(
        plain_row(metric, unit, value),
        cell=f"{DIAGNOSTIC} {method} {site}",
        method=method,
        stream=site.stream,
        layer=site.layer,
        head=-1 if site.head is None else site.head,
        split="select",
        seed=0,
    )

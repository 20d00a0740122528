"""How the run's direction reads in an autoencoder's features; absent where nobody has read it."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from steerscope import figures
from steerscope.figures.files import Plate
from steerscope.report.page import as_table, as_text
from steerscope.runs.results import Run

_SHOWN = {
    "pursuit_share": "share of the squared norm in the {k} features that carry most",
    "codes_share": "share of the squared norm in the {k} features whose codes differ most",
    "active_share": "share of features that the encoder hears as positive",
    "read_back": "cosine with what the difference of mean codes decodes to",
}


def features(run: Run) -> str:
    """A table for each autoencoder that has read the run's direction; empty for none."""
    return "".join(_section(found) for found in _readings(run))


def feature_plates(run: Run) -> list[Plate]:
    """The diffusion curve for each autoencoder that has read the run's direction."""
    return [
        Plate(
            f"features-{found['site']}",
            figures.feature_diffusion(
                pd.DataFrame(found["curve"]),
                title=f"How many features hold the direction at {found['site']}?",
            ),
            f"Share of the squared norm in the span of so many decoder rows of {found['sae']}, with "
            f"95 % bands of {found['n_null']} draws of each null.",
        )
        for found in _readings(run)
    ]


def _readings(run: Run) -> list[dict[str, Any]]:
    files = sorted((run.path / "sae").glob("*.json"))
    return [_known(json.loads(f.read_text(encoding="utf-8"))) for f in files]


def _known(found: Any) -> Any:
    """The same with NaN for what is stored as null, which is a number that is not finite."""
    if isinstance(found, dict):
        return {key: _known(value) for key, value in found.items()}
    if isinstance(found, list):
        return [_known(value) for value in found]
    return math.nan if found is None else found


def _section(found: dict[str, Any]) -> str:
    rows = pd.DataFrame(found["statistics"])
    rows = rows[rows.statistic.isin(_SHOWN) & (rows.way != "encoder_projection")
                | (rows.statistic == "active_share")]  # fmt: skip
    frame = pd.DataFrame(
        {
            "statistic": [_SHOWN[s].format(k=found["k"]) for s in rows.statistic],
            "found": rows.value,
            "null": rows.null.str.replace("_", " "),
            "95 % of the null": [
                f"{low:.2f} to {high:.2f}" if math.isfinite(high - low) else "-"
                for low, high in zip(rows.low, rows.high, strict=True)
            ],
            "p": rows.p,
        }
    )
    strongest = ", ".join(
        f"{i} ({'-' if math.isnan(value) else f'{value:+.2f}'})" for i, value in found["strongest"]
    )
    return (
        f"<p>{as_text(found['sae'])}, "
        f"{found['n_features']} features at {as_text(found['site'])}. Codes differ most in the "
        f"features {as_text(strongest)}.</p>"
        f"{as_table(frame, {'found': '{:.2f}'.format, 'p': '{:.2g}'.format})}"
    )

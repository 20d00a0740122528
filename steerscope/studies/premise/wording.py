"""What the heads show of the eigengap's premise, in sentences."""

from __future__ import annotations

import math

import pandas as pd

from steerscope.studies.premise.findings import GOOD

_RIDGES = ("exponential", "linear")
_BESIDE = {
    "mean": "the mean of the values so far, which knows no key",
    "smoother": "the kernel average of the same keys, without any inverse",
}


def premise_in_words(summary: pd.DataFrame, gaps: pd.DataFrame) -> list[str]:
    """What was found, a sentence for each kernel, for what stands beside it, and for the gaps.

    Args:
        summary: as `premise_summary` gives it.
        gaps: as `gap_summary` gives it.
    """
    found = summary.set_index("kernel")
    lines = []
    for kernel in _RIDGES:
        if kernel in found.index:
            row = found.loc[kernel]
            if not row.n_heads:
                lines.append(
                    f"Of kernel ridge regression ({kernel} kernel) nothing is known at any of "
                    f"{int(row.n_lost)} heads."
                )
                continue
            lines.append(
                f"Kernel ridge regression ({kernel} kernel, λ chosen on other prompts) gives the output of "
                f"the median head with R² {_number(row, 'median_r2')} and a relative error of "
                f"{_number(row, 'median_error')}; {100 * row.share_good:.0f} % of {int(row.n_heads)} heads "
                f"lie above R² {GOOD:g} (n = {int(row.n_prompts)} prompts){_but(row)}."
            )
    for name, words in _BESIDE.items():
        if name in found.index:
            row = found.loc[name]
            said = f"R² {_number(row, 'median_r2')}{_but(row)}" if row.n_heads else "not known"
            lines.append(f"Beside it, {words}: {said}.")
    whole = gaps[gaps.layer < 0].set_index("gap")
    if len(whole):
        attention, centred, keys = (
            _gap(whole.loc[g]) for g in ("attention_gap", "attention_gap_centred", "key_gap")
        )
        lines.append(
            f"The gap of the attention probabilities is {attention} as they are and {centred} centred, that "
            f"of the keys {keys} (mean over heads)."
        )
    return lines


def _but(row: pd.Series) -> str:
    """The heads that are not among those that were counted."""
    lost = int(row.get("n_lost", 0))
    return f"; nothing is known of {lost} more" if lost else ""


def _gap(row: pd.Series) -> str:
    """A gap, and how many heads are not among those that it is the mean of."""
    if math.isnan(row.value):
        return "not known"
    lost = int(row.get("n_lost", 0))
    without = (
        f" ({lost} head{'s are' if lost > 1 else ' is'} not known and left out)" if lost else ""
    )
    return f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]{without}"


def _number(row: pd.Series, name: str) -> str:
    return f"{row[name]:.2f} [{row[f'{name}_low']:.2f}, {row[f'{name}_high']:.2f}]"

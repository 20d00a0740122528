"""The program that draws figures in a page: plotly's build for straight axes, a third of the whole."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FILE = Path(__file__).with_name("plotly-cartesian.min.js")


@cache
def plotly_program() -> str:
    """JavaScript to put into a page, which then opens offline.

    The published build `plotly.js-cartesian-dist-min`, unchanged, under the MIT licence of Plotly.
    """
    return _FILE.read_text(encoding="utf-8").strip()

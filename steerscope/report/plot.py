"""The figures of a run, one function each: `steerscope.plot.sweet_spot_map(run)`.

Each gives a plotly figure to show, change or save (`figure.write_image`), drawn from the rows of the
run alone. `Look` sets the theme, the width in columns of a paper, and whether there is a title.
"""

from __future__ import annotations

import plotly.graph_objects as go

from steerscope.errors import UnknownNameError
from steerscope.figures.files import Plate
from steerscope.figures.looks import SCREEN, Look, dressed
from steerscope.report import plates
from steerscope.runs.results import Run

_MAIN = ("sweet_spot_map", "transfer_at_one_kl", "pareto_test", "pareto_select")


def names(run: Run) -> list[str]:
    """The figures that the rows of a run can give.

    Raises:
        RunError: the run has no rows, or is of a kind without figures.
    """
    return [plate.name for plate in plates(run)]


def caption(run: Run, name: str) -> str:
    """What stands under a figure: split, n, what the bands are, what the null is.

    Raises:
        UnknownNameError: the run has no such figure; the message lists those that it has.
        RunError: the run has no rows, or is of a kind without figures.
    """
    return _plate(run, name).whole_caption


def plot(run: Run, name: str | None = None, look: Look | None = None) -> go.Figure:
    """A figure by name; default the main one of this kind of run.

    Raises:
        UnknownNameError: the run has no such figure; the message lists those that it has.
        RunError: the run has no rows, or is of a kind without figures.
    """
    return dressed(_plate(run, name).figure, look or SCREEN)


def _plate(run: Run, name: str | None) -> Plate:
    there = {plate.name: plate for plate in plates(run)}
    wanted = next((n for n in _MAIN if n in there), None) if name is None else name
    if wanted not in there:
        raise UnknownNameError("figure of this run", wanted, list(there))
    return there[wanted]


def sweet_spot_map(run: Run, look: Look = SCREEN) -> go.Figure:
    """Effect of every layer and dose, with a cross where a limit of damage is broken."""
    return plot(run, "sweet_spot_map", look)


def layer_sweep(run: Run, look: Look = SCREEN) -> go.Figure:
    """Effect of every layer at one dose beside random directions of that length, with 95 % bands."""
    return plot(run, "layer_sweep", look)


def dose_response(run: Run, look: Look = SCREEN) -> go.Figure:
    """Effect at the chosen layer against the dose, beside both controls, on the test split."""
    return plot(run, "dose_response", look)


def dose_fan(run: Run, look: Look = SCREEN) -> go.Figure:
    """Effect of every layer against the dose, one line a layer."""
    return plot(run, "dose_fan", look)


def side_effects(run: Run, look: Look = SCREEN) -> go.Figure:
    """What the chosen steering changes beside what it was asked for, with 95 % intervals."""
    return plot(run, "side_effects", look)


def kl_by_depth(run: Run, look: Look = SCREEN) -> go.Figure:
    """KL(steered || plain) in nats of every layer, one line a dose."""
    return plot(run, "kl_by_depth", look)


def preference_tells(run: Run, look: Look = SCREEN) -> go.Figure:
    """What the model prefers (nats) against what its texts show, one point a condition."""
    return plot(run, "preference_tells", look)


def eigengap_heads(run: Run, look: Look = SCREEN) -> go.Figure:
    """Eigengap of the keys of every head with its interval and its null."""
    return plot(run, "eigengap_heads", look)


def token_effects(run: Run, look: Look = SCREEN) -> go.Figure:
    """The tokens that the direction itself makes more and less likely (logit lens)."""
    return plot(run, "token_effects", look)


def transfer_responses(run: Run, look: Look = SCREEN) -> go.Figure:
    """Answer of every technique to its coefficient."""
    return plot(run, "transfer_responses", look)


def transfer_at_one_kl(run: Run, look: Look = SCREEN) -> go.Figure:
    """What every technique does at the same KL."""
    return plot(run, "transfer_at_one_kl", look)


def pareto_front(run: Run, look: Look = SCREEN) -> go.Figure:
    """Effect of every edit of weights against what it costs, on the test split."""
    return plot(run, "pareto_test", look)

"""The page of a transfer: adapters and every other technique, both signs, at one KL."""

from __future__ import annotations

import pandas as pd

from steerscope import figures
from steerscope.figures.files import Plate
from steerscope.judges import kept_limits
from steerscope.judges.effects import UNDAMAGED
from steerscope.judges.registry import read_card
from steerscope.report.page import Page, as_figure, as_number_table, as_table, as_text, bold_head
from steerscope.runs.distinct import groups_of
from steerscope.runs.results import Run
from steerscope.runs.tables import Column, Table
from steerscope.studies.transfer.findings import (
    OUTCOMES,
    against,
    odd_and_even,
    outcome_in_words,
    transfer_rows,
    transfer_table,
)
from steerscope.studies.transfer.wording import verdicts

_OUTCOME_PANELS = {
    "target": "share in the positive class",
    "preference": "log-odds of pairs (nats)",
}
_PLAUSIBILITY_PANEL = {"nll_plain": "nats per token, plain model"}


def page(run: Run) -> Page:
    """The verdicts, the figures, and the tables that they are drawn from."""
    rows, settings = transfer_rows(run), run.configuration
    title = f"Techniques that lead {settings['model']} along {settings['contrasts']}"
    first = settings["techniques"][0]["name"]
    outcomes = [metric for metric in OUTCOMES if metric in set(rows.metric)]
    compared = {metric: against(rows, metric, first) for metric in outcomes}
    parts = pd.concat([odd_and_even(rows, m).assign(metric=m) for m in sorted(set(rows.metric))])
    said = verdicts(rows, first, kl=settings["kl"], card=read_card(run.path))
    body = [
        f"<h1>{as_text(title)}</h1>",
        '<section class="answer"><ul class="facts">',
        *(f"<li>{bold_head(line)}</li>" for line in said),
        *(f"<li>{bold_head(line)}</li>" for line in _judge(run)),
        "</ul></section>",
        *map(as_figure, plates(run)),
        "<h2>The techniques</h2>",
        as_table(pd.DataFrame(settings["techniques"])),
        "<h2>At the matched KL, paired by item</h2>",
        *(as_number_table(table.assign(metric=m)) for m, table in compared.items()),
        "<h2>What turns with the sign of c, and what does not</h2>",
        as_number_table(parts),
        "<h2>Every condition against plain</h2>",
        as_number_table(transfer_table(rows)),
    ]
    return Page(title, body)


def _judge(run: Run) -> list[str]:
    """What tells the positive class in the texts, where a judge was named that has a card."""
    card = read_card(run.path)
    if card is None:
        return []
    return [f"Judge: in the positive class is what {run.configuration['judge']} counts, {card}."]


def _panels(metrics: set[str]) -> dict[str, str]:
    """Outcomes, the first thing that a judge asks to be kept, and the plausibility of the text."""
    kept = {limit.metric: f"{limit.words} (share)" for limit in kept_limits(metrics)[:1]}
    panels = _OUTCOME_PANELS | kept | _PLAUSIBILITY_PANEL
    return {metric: words for metric, words in panels.items() if metric in metrics}


def plates(run: Run) -> list[Plate]:
    """The answer to the coefficient, and the techniques at one KL."""
    rows, settings = transfer_rows(run), run.configuration
    table = transfer_table(rows)
    shown = _panels(set(rows.metric))
    first = settings["techniques"][0]["name"]
    outcome = next(m for m in OUTCOMES if m in set(rows.metric))
    return [
        Plate(
            "transfer_responses",
            figures.transfer_responses(table, shown),
            "Change from the plain model on the same held-out items, with 95 % intervals. What an ideal technique does to its target is odd in c, and all else is 0."
            + (
                " A damaged text counts as without steering."
                if UNDAMAGED in set(rows.metric)
                else ""
            ),
        ),
        Plate(
            "transfer_at_one_kl",
            figures.transfer_at_one_kl(
                against(rows, outcome, first), words=OUTCOMES[outcome], kl=settings["kl"]
            ),
            f"{_counted(rows, outcome)}Each sign has the coefficient that costs {settings['kl']:g} nats on the select split. Under "
            "each technique stands the KL that both signs came to on the measured prompts; where these "
            "differ, the techniques are not compared at one KL.",
        ),
    ]


def _counted(rows: pd.DataFrame, outcome: str) -> str:
    """What becomes of damaged texts, where that was told of them."""
    words = outcome_in_words(rows, outcome)
    return "" if words == OUTCOMES[outcome] else f"{words[:1].upper()}{words[1:]}. "


def tables(run: Run) -> list[Table]:
    """Every condition against plain, and the techniques against the first at one KL."""
    rows, settings = transfer_rows(run), run.configuration
    first = settings["techniques"][0]["name"]
    every = (
        Column("technique", "technique"),
        Column("coefficient", "coefficient", 3, signed=True),
        Column("matched", "at the matched KL"),
        Column("metric", "metric"),
        Column("value", "mean", 3),
        Column("change", "change from plain", 3, True, "low", "high"),
        Column("n", "n"),
    )
    paired = (
        Column("technique", "technique"),
        Column("gain", "gain", 3, True, "low", "high"),
        Column("kl", "KL (nats)", 3, False, "kl_low", "kl_high"),
        Column("difference", f"{first} minus it", 3, True, "difference_low", "difference_high"),
        Column("n_paired", "n of both"),
        Column("p_holm", "p (sign flips, Holm)", is_p=True),
        Column("n", "n"),
    )
    caption = f"Intervals are 95 %, over n {'distinct ' * groups_of(run).known}items."
    outcomes = [m for m in OUTCOMES if m in set(rows.metric)]
    return [
        Table("conditions", transfer_table(rows), every, caption),
        *(
            Table(
                f"matched_{m}",
                against(rows, m, first),
                paired,
                f"{outcome_in_words(rows, m).capitalize()}, at {settings['kl']:g} nats. {caption}",
            )
            for m in outcomes
        ),
    ]

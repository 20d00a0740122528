"""The page of a sweep of weight edits."""

from __future__ import annotations

import pandas as pd

from steerscope import figures
from steerscope.figures.files import Plate
from steerscope.figures.fronts import LEAST_DRAWN
from steerscope.judges.card import unless_it_cannot_tell
from steerscope.judges.effects import SHOWN_UNDAMAGED, Effect
from steerscope.judges.registry import read_card
from steerscope.report.page import Page, as_figure, as_number_table, as_text, bold_head
from steerscope.runs.distinct import groups_of
from steerscope.runs.overflows import lost_cells
from steerscope.runs.results import Run
from steerscope.runs.tables import Column, Table
from steerscope.studies.steering.plan import effect_of
from steerscope.studies.weights.findings import (
    Limits,
    Standing,
    front_table,
    leaning,
    lost_edits,
    read_roles,
    standings_of,
    too_costly,
    unknown_targets,
)
from steerscope.studies.weights.wording import front_in_words, labels_of

_COLUMNS = {
    "edit": "edit",
    "target": "towards",
    "effect": "effect",
    "low": "low",
    "high": "high",
    "n": "n",
    "p_corrected": "p (max statistic)",
    "capability_change": "capability",
    "perplexity_ratio": "perplexity ratio",
    "kl_nats": "KL (nats)",
    "kl_low": "KL low",
    "kl_high": "KL high",
    "front": "on the front",
}


def page(run: Run) -> Page:
    """The verdict, the front, the tables of both splits, and how it was measured."""
    effect, settings = effect_of(run), run.configuration
    rows, screened = front_table(run.table(), effect, "test", groups_of(run)), _screened(run)
    standings, said = standings_of(run, rows), sweep_in_words(run, rows)
    title = f"Edits of the weights of {settings['model']} along {settings['contrasts']}"
    body = [
        f"<h1>{as_text(title)}</h1>",
        '<section class="answer"><ul class="facts">',
        *(f"<li>{bold_head(line)}</li>" for line in said),
        "</ul></section>",
        *map(as_figure, _plates(run, rows, screened)),
        "<h2>What was stated, on the test split</h2>",
        _conditions(rows),
        _overflowed(run, "test"),
        "<h2>What was screened, on the select split</h2>",
        f"<p>The effect is the {as_text(leaning(effect).words)}, in nats, minus plain.</p>",
        _conditions(screened),
        _overflowed(run, "select"),
        "<h2>How it was measured</h2>",
        _method(run, standings),
    ]
    return Page(title, body)


def sweep_in_words(run: Run, rows: pd.DataFrame) -> list[str]:
    """The verdict of a sweep; `rows` is its `front_table` of the test split."""
    limits = Limits(**run.configuration["limits"])
    costly, n_lost = too_costly(_screened(run), limits), lost_edits(run.table())
    known, unknown = standings_of(run, rows), unknown_targets(run, rows)
    said = front_in_words(known, effect_of(run), unknown, costly, limits=limits, n_lost=n_lost)
    return unless_it_cannot_tell(read_card(run.path), said)


def plates(run: Run) -> list[Plate]:
    """The fronts of both splits."""
    return _plates(
        run, front_table(run.table(), effect_of(run), "test", groups_of(run)), _screened(run)
    )


def _plates(run: Run, stated: pd.DataFrame, screened: pd.DataFrame) -> list[Plate]:
    effect = effect_of(run)
    limits = run.configuration["limits"]
    loss, ratio = 100 * limits["capability"], limits["perplexity"]
    found = []
    if len(stated):  # empty where nothing that was screened stayed within the limits
        found.append(
            Plate(
                "pareto_test",
                figures.pareto_front(stated, effect, title="Stated: the test split"),
                f"{_counted(effect)}Bars are 95 % intervals over distinct prompts or pairs. Ringed: no other condition is at least "
                f"as good in {_objectives(stated)} and better in one. The dotted line joins what "
                "nothing beats in its plane. Crosses are the controls: changes of the same Frobenius norm, "
                f"or of the same spectrum along random vectors, and the same at the KL of the edit.{_at_the_edge(stated)}",
            )
        )
    if len(screened):  # empty where the logits of all are not finite
        found.append(
            Plate(
                "pareto_select",
                figures.pareto_front(screened, leaning(effect), title="Screened: the select split"),
                f"What the choice was made from, teacher-forced: the {leaning(effect).words}. Chosen is the "
                f"largest that moves the model by at least {limits['least_kl']:g} nats and costs at most "
                f"{_limits_in_words(screened, loss, ratio)}.{_at_the_edge(screened)}",
            )
        )
    return found


def _at_the_edge(rows: pd.DataFrame) -> str:
    """How many points are not drawn at their KL."""
    n = int((rows.kl_nats < LEAST_DRAWN).sum())
    where = f"below {LEAST_DRAWN:g} nats and {'is' if n == 1 else 'are'} drawn there"
    return f" {n} point{'s' * (n != 1)} {'lies' if n == 1 else 'lie'} {where}." if n else ""


def _objectives(rows: pd.DataFrame) -> str:
    """What conditions are compared by: capability as well, where it is known of all."""
    return f"effect{', capability' * bool(rows.capability_change.notna().all())} and perplexity"


def _limits_in_words(rows: pd.DataFrame, loss: float, ratio: float) -> str:
    """What a choice may cost; a capability that was not measured is not held against it."""
    if rows.capability_change.notna().any():
        return f"{loss:g} points of capability, where that was measured, and {ratio:g} times the perplexity"
    return f"{ratio:g} times the perplexity; capability was not measured"


def tables(run: Run) -> list[Table]:
    """Every condition of both splits."""
    effect = effect_of(run)
    stated, screened = front_table(run.table(), effect, "test", groups_of(run)), _screened(run)
    caption = "Intervals are 95 %, over n distinct items; p is that of the largest of all."
    return [
        Table(name, rows.assign(edit=labels_of(rows)), _columns(shown), caption)
        for name, rows, shown in (
            ("stated", stated, effect),
            ("screened", screened, leaning(effect)),
        )
    ]


def _columns(effect: Effect) -> tuple[Column, ...]:
    share = effect.is_share
    title = (
        f"{effect.short} (points, minus plain)" if share else f"{effect.words}, minus plain (nats)"
    )
    return (
        Column("edit", "edit"),
        Column("target", "towards"),
        Column("effect", title, 1 if share else 2, True, "low", "high", 100.0 if share else 1.0),
        Column("p_corrected", "p (max statistic)", is_p=True),
        Column("capability_change", "capability (points)", 1, signed=True, factor=100.0),
        Column("perplexity_ratio", "perplexity (ratio)", 3),
        Column("kl_nats", "KL (nats)", 3, False, "kl_low", "kl_high"),
        Column("n", "n"),
    )


def _screened(run: Run) -> pd.DataFrame:
    table = run.table()
    edits = table[table.operator.isin(("", "weights"))]  # and plain
    return front_table(edits, leaning(effect_of(run)), "select", groups_of(run))


def _conditions(rows: pd.DataFrame) -> str:
    shown = rows.assign(edit=labels_of(rows), front=rows.front.map({True: "yes", False: "-"}))
    ordered = shown.sort_values(["target", "effect"], ascending=[True, False])
    return as_number_table(ordered[list(_COLUMNS)].rename(columns=_COLUMNS))


def _overflowed(run: Run, split: str) -> str:
    """The conditions of which nothing is known."""
    table = run.table()
    part = table[table.split == split]
    lost = part[part.cell.isin(lost_cells(part))].drop_duplicates("cell")
    if lost.empty:
        return ""
    return f"<p>Not known, since their logits are not finite: {as_text(', '.join(labels_of(lost)))}.</p>"


def _counted(effect: Effect) -> str:
    """What of a text counts, where that is more than on which side it is."""
    if effect.metric != SHOWN_UNDAMAGED:
        return ""
    side = f"A continuation counts for the side on which the judge {effect.judge} sees it"
    return f"{side}, and a damaged one for neither. "


def _method(run: Run, standings: list[Standing]) -> str:
    settings = run.configuration
    roles = read_roles(run)
    n_controls = int(roles.role.isin(["control", "elsewhere"]).sum())
    layers = "all layers" if settings["layers"] is None else f"layers {settings['layers']}"
    together = f" and at once at {'; '.join(settings['together'])}" if settings["together"] else ""
    return (
        f"<p>{as_text(', '.join(settings['edits']))} by {as_text(settings['amounts'])} at "
        f"{as_text(', '.join(settings['weights']))} of {as_text(layers)}{as_text(together)}. An edit "
        "has no sign that says where it leads, so each is read towards both targets. The select split "
        f"screens them by the log-odds of {as_text(settings['screened_by'])}, where nothing is written, "
        f"lets the best {settings['shortlist']} of each kind and target write, and chooses "
        f"{len(standings)}. {as_text(_counted(effect_of(run)))}The test split states them beside {n_controls} controls, among them the "
        "same edit of other matrices and layers, and beside the mean difference at the KL that the "
        "edit had on the select split. KL is read on the prompts that can go over to the target. "
        "Perplexity weighs every token the same.</p>"
    )

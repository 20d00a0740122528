"""The page of a study or a sweep."""

from __future__ import annotations

from steerscope.audits import audit_rows, sentence
from steerscope.report import sections
from steerscope.report.features import features
from steerscope.report.page import Page, as_figure, as_text, bold_head, plot_id
from steerscope.report.plates import plates
from steerscope.report.texts import panel, three_examples
from steerscope.runs.results import Run
from steerscope.studies.steering.findings import Findings, find
from steerscope.studies.steering.several_layers import compare_layers, layers_compared_in_words
from steerscope.studies.steering.wording import answer, rule
from steerscope.studies.steering.zones import zones_of

_NOT_OF_THE_ROWS = ("report_disagrees", "baseline_differs")


def page(run: Run) -> Page:
    """The answer first, then the figures, the tables, and what may deceive."""
    f = find(run)
    body = [
        f"<h1>Can <em>{as_text(f.plan.model)}</em> be steered along "
        f"<em>{as_text(f.plan.contrasts)}</em>?</h1>",
        f'<section class="answer"><p class="verdict">{as_text(sentence(run))}</p></section>',
        three_examples(run, f),
        '<section class="answer"><ul>',
        *(f"<li>{bold_head(line)}</li>" for line in (*answer(f), *_several_layers(run, f))),
        "</ul></section>",
        "<details><summary>The rule of the sentence</summary><ul>",
        *(f"<li>{bold_head(line)}</li>" for line in rule(f)),
        "</ul></details>",
        *_figures(run, f),
        "<h2>What each layer needs</h2>",
        sections.needed(f),
        "<h2>What each layer is like</h2>",
        sections.zones(f, zones_of(f)),
        "<h2>Every condition of the sweep</h2>",
        sections.conditions(f),
        features(run),
        "<h2>How it was measured</h2>",
        sections.method(run, f),
        "<h2>What may deceive here</h2>",
        # The page follows from the rows of this run alone.
        sections.audit_table(audit_rows(run, leave_out=_NOT_OF_THE_ROWS)),
    ]
    return Page(f"{f.plan.model} steered along {f.plan.contrasts}", body)


def _figures(run: Run, f: Findings) -> list[str]:
    """The figures, and behind the map the panel that a click on it fills."""
    found = []
    for plate in plates(run, f):
        found.append(as_figure(plate))
        if plate.name == "sweet_spot_map":
            found.append(panel(run, f, plot_id(plate)))
    return found


def _several_layers(run: Run, f: Findings) -> list[str]:
    """The sentence about all layers at once, if they were measured."""
    compared = compare_layers(run, f)
    return [] if compared is None else [layers_compared_in_words(compared, f)]

"""The page of a study or a sweep: a first page, then answer, evidence, layers and cautions."""

from __future__ import annotations

from collections.abc import Sequence

from steerscope.audits import audit_rows, sentence
from steerscope.figures.files import Plate
from steerscope.report import sections
from steerscope.report.features import features
from steerscope.report.page import (
    Page,
    as_figure,
    as_text,
    bold_head,
    contents,
    folded,
    plot_id,
)
from steerscope.report.plates import plates
from steerscope.report.texts import panel, three_examples
from steerscope.report.why import why_here
from steerscope.runs.results import Run
from steerscope.studies.steering.findings import Findings, find, items_in_words
from steerscope.studies.steering.rule_words import rule
from steerscope.studies.steering.several_layers import compare_layers, layers_compared_in_words
from steerscope.studies.steering.wording import answer, conditions_in_words
from steerscope.studies.steering.zones import zones_of

_NOT_OF_THE_ROWS = ("report_disagrees", "baseline_differs")
_PARTS = {"answer": "Answer", "evidence": "Evidence", "layers": "Layers", "cautions": "Cautions"}
_MAP = "sweet_spot_map"
_EVIDENCE = ("dose_response", "side_effects", "preference_tells")
_FOLDED = ("eigengap_heads", "eigengap_predicts", "layer_league")
# Lines of the answer that a first reader does without, by how they begin.
_LATER = ("Nulls", "On the select split", "Against random", "The same dose", "Slope", "Layers")


def page(run: Run) -> Page:
    """The sentence, three texts and the map, then four parts, with the details folded."""
    f, drawn = find(run), {plate.name: plate for plate in plates(run)}
    model, contrasts = as_text(f.plan.model), as_text(f.plan.contrasts)
    body = [
        f"<h1>Can <em>{model}</em> be steered along <em>{contrasts}</em>?</h1>",
        f'<p class="meta">{as_text(_what_was_measured(run, f))}</p>',
        f'<section class="answer"><p class="verdict">{as_text(sentence(run))}</p></section>',
        three_examples(run, f),
        as_figure(drawn[_MAP]),
        f"<p>{bold_head(why_here(f))}</p>",
        contents(_PARTS),
        *_answer(run, f),
        *_evidence(run, f, drawn),
        *_layers(run, f, drawn),
        *_cautions(run, f),
    ]
    return Page(f"{f.plan.model} steered along {f.plan.contrasts}", body)


def _what_was_measured(run: Run, f: Findings) -> str:
    """Pairs, conditions, and what the effect was chosen and stated on, in a line."""
    items = items_in_words(f).removeprefix("distinct ")
    pairs = run.provenance.get("n_pairs", {}).get("fit")
    said = [f"{f.plan.method} at {f.plan.stream}" + (f" from {pairs} pairs" if pairs else "")]
    said += [f"chosen among {conditions_in_words(f)}"]
    said += [f"chosen on {f.chosen.effect.n} distinct {items}"]
    said += [f"stated on {f.n_distinct} others"] if f.stated else []
    return ", ".join(said)


def _heading(part: str) -> str:
    return f'<h2 id="{part}">{_PARTS[part]}</h2>'


def _facts(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{bold_head(line)}</li>" for line in lines)
    return f'<ul class="facts">{items}</ul>' if items else ""


def _answers(lines: Sequence[str]) -> str:
    """Lines of the answer, in the section that the audit compares with the rows."""
    return f'<section class="answer">{_facts(lines)}</section>' if lines else ""


def _answer(run: Run, f: Findings) -> list[str]:
    """What was found, in lines; those that few ask for behind a fold."""
    lines = [*answer(f), *_several_layers(run, f)]
    later = [line for line in lines if line.startswith(_LATER)]
    return [
        _heading("answer"),
        _answers([line for line in lines if line not in later]),
        folded("More of the answer: nulls, correction for the choice, slope", _answers(later)),
        folded("The rule of the sentence", _facts(rule(f))),
    ]


def _evidence(run: Run, f: Findings, drawn: dict[str, Plate]) -> list[str]:
    """Texts, the dose, what else changes, and every condition."""
    return [
        _heading("evidence"),
        panel(run, f, plot_id(drawn[_MAP])),
        *(as_figure(drawn[name]) for name in _EVIDENCE if name in drawn),
        sections.conditions(f),
    ]


def _layers(run: Run, f: Findings, drawn: dict[str, Plate]) -> list[str]:
    """What each layer does, needs and costs; diagnostics behind folds."""
    shown = {_MAP, *_EVIDENCE, *_FOLDED}
    features_drawn = [p for name, p in drawn.items() if name.startswith("features-")]
    others = [p for name, p in drawn.items() if name not in shown and p not in features_drawn]
    heads = "".join(as_figure(drawn[name]) for name in _FOLDED if name in drawn)
    return [
        _heading("layers"),
        *map(as_figure, others),
        "<h3>What each layer needs</h3>",
        sections.needed(f),
        folded("What each layer is like: zones", sections.zones(f, zones_of(f))),
        folded("Attention keys: eigengap of every head", heads),
        folded(
            "How the direction reads in features of an autoencoder",
            "".join(map(as_figure, features_drawn)) + features(run),
        ),
    ]


def _cautions(run: Run, f: Findings) -> list[str]:
    """What may deceive, and how everything was measured."""
    return [
        _heading("cautions"),
        # The page follows from the rows of this run alone.
        sections.audit_table(audit_rows(run, leave_out=_NOT_OF_THE_ROWS)),
        "<h3>How it was measured</h3>",
        sections.method(run, f),
    ]


def _several_layers(run: Run, f: Findings) -> list[str]:
    """The sentence about all layers at once, if they were measured."""
    compared = compare_layers(run, f)
    return [] if compared is None else [layers_compared_in_words(compared, f)]

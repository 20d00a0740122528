"""The texts on the page of a study: three examples, and a panel to leaf through all that are in it.

Whatever a model wrote is text on the page: escaped in a table, and as data that the panel's program
puts in as text, never as markup.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from steerscope.figures.literal import script_data
from steerscope.figures.sweeps import dose_label
from steerscope.report.page import as_text
from steerscope.runs.results import Run
from steerscope.runs.written import all_texts, metrics_of, plain_scores
from steerscope.studies.steering.examples import Example, Examples, examples, rule_in_words
from steerscope.studies.steering.findings import Findings
from steerscope.studies.steering.plan import dose_unit
from steerscope.studies.steering.responses import conditions
from steerscope.texts.changes import Stretches, changed_words, pieces

MOST_TEXTS = 16  # of each condition on the page
MOST_LETTERS = 300_000  # of all of them together, so that the page stays small
_PROGRAM = Path(__file__).with_name("texts.js")


def three_examples(run: Run, f: Findings) -> str:
    """A typical, the best and the worst text under the chosen condition; empty without texts."""
    found = examples(run, f)
    if found is None:
        return ""
    plain = plain_scores(all_texts(run))
    rows = [_example_row(e, plain, f) for e in found.shown]
    head = "<tr><th></th><th>prompt</th><th>plain</th><th>steered</th></tr>"
    rule = as_text(rule_in_words(found))
    return (
        f'<table class="texts examples">{head}{"".join(rows)}</table>'
        f"<details><summary>How these were chosen</summary><p>{rule}</p></details>"
    )


def _example_row(example: Example, plain: pd.DataFrame, f: Findings) -> str:
    text = example.text
    left, right = _marked_sides(text)
    said = ["undamaged" if example.undamaged else "damaged"]
    for metric, words in _short(f).items():
        if metric in text:
            before = plain[metric].get((text["split"], text["prompt"]), math.nan)
            said.append(f"{words} {_number(text[metric])} (plain {_number(before)})")
    return (
        f'<tr><th>{example.kind}</th><td data-label="prompt"><div>{as_text(text["said"])}</div></td>'
        f'<td data-label="plain"><div>{left}</div></td>'
        f'<td data-label="steered"><div>{right}</div>'
        f"<small>{as_text('; '.join(said))}</small></td></tr>"
    )


def _short(f: Findings) -> dict[str, str]:
    """The metrics under an example: that of the effect, and how plausible the text is."""
    return {f.effect.metric: f.effect.metric, "nll_plain": "nats per token under the plain model"}


def _marked_sides(text: Mapping[str, Any]) -> tuple[str, str]:
    """Plain and steered with what differs marked."""
    if not isinstance(text["plain"], str):
        return "not stored", as_text(text["written"])
    left, right = changed_words(text["plain"], text["written"])
    return _marked(text["plain"], left), _marked(text["written"], right)


def _marked(text: str, stretches: Stretches) -> str:
    cut = pieces(text, stretches)
    return "".join(f"<mark>{as_text(p)}</mark>" if m else as_text(p) for p, m in cut)


def panel(run: Run, f: Findings, plate: str) -> str:
    """Prompt, plain and steered of any layer and dose, chosen by a click on a map or by a slider.

    Args:
        run: with or without texts.
        f: what it found.
        plate: id of the map's figure, whose cells are layers and doses.

    Returns:
        Empty where the method of the run has no stored texts.
    """
    if run.texts().empty:
        return ""
    there = all_texts(run)
    mine = there[there.method == f.plan.method]
    if mine.empty:
        return ""
    first = examples(run, f)
    shown = _few(mine, first)
    data = {
        "map": plate,
        "start": _start(first, f),
        **_data(shown, there, f, conditions(run.table())),
    }
    program = _PROGRAM.read_text(encoding="utf-8")
    return (
        f'<section id="texts"><h3>Texts side by side</h3><p>{_which(shown, mine, f)}</p>'
        f'{_CONTROLS}<div id="texts-shown" aria-live="polite"></div></section>'
        f'<script type="application/json" id="texts-data">{script_data(data)}</script>'
        f"<script>{program}</script>"
    )


_CONTROLS = """<noscript><p>This panel needs JavaScript.</p></noscript><div class="controls">
<label>split <select id="texts-split"></select></label>
<label>layer <select id="texts-layer"></select></label>
<label>dose <input type="range" id="texts-dose" min="0" step="1"><output id="texts-said"></output></label>
<label>prompt <select id="texts-prompt"></select></label>
<button type="button" id="texts-before">previous</button>
<button type="button" id="texts-next">next</button></div>"""


def _few(texts: pd.DataFrame, first: Examples | None) -> pd.DataFrame:
    """Some texts of each condition, as many as the page has room for, at least one.

    Those of the prompts that the examples are about, then those of the first prompts.
    """
    named = set() if first is None else {(first.split, e.text["prompt"]) for e in first.shown}
    later = [at not in named for at in zip(texts.split, texts.prompt, strict=True)]
    ordered = texts.assign(later=later).sort_values(["later", "prompt"], kind="stable")
    place = ordered.groupby(["split", "cell"]).cumcount()
    letters = texts.written.str.len().groupby(place).sum().sort_index().cumsum()
    most = int((letters <= MOST_LETTERS).sum())
    return texts[place.reindex(texts.index) < max(1, min(MOST_TEXTS, most))]


def _which(shown: pd.DataFrame, mine: pd.DataFrame, f: Findings) -> str:
    """How to use the panel, and which texts are in it."""
    most = int(shown.groupby(["split", "cell"]).size().max())
    held = (
        f"All texts under {f.plan.method} are here"
        if len(shown) == len(mine)
        else f"Of each layer and dose under {f.plan.method} at most {most} texts are here, those of "
        "the prompts above and of the first ones"
    )
    return (
        "Click on a cell of the map at the top, or choose here; the arrow keys move the slider. What "
        f"differs is marked. {as_text(held)}; <code>steerscope texts</code> prints every text of a run."
    )


def _start(first: Examples | None, f: Findings) -> dict[str, Any]:
    """What the panel shows first: the first example, else any text under the chosen condition."""
    prompt = None if first is None else int(first.shown[0].text["prompt"])
    split = "select" if first is None else first.split
    dose = dose_label(getattr(f.chosen, f"dose_{dose_unit(f.plan)}"))
    return {"split": split, "layer": int(f.chosen.layer), "dose": dose, "prompt": prompt}


def _data(
    shown: pd.DataFrame, there: pd.DataFrame, f: Findings, labels: pd.DataFrame
) -> dict[str, Any]:
    """Everything that the panel shows, written out: the prompts with their plain texts, and the cells.

    A cell has its dose as the map has it, by which a click finds it.
    """
    unit = dose_unit(f.plan)
    doses, metrics = labels[f"dose_{unit}"], _ordered(metrics_of(there), f)
    before = plain_scores(there)
    prompts: dict[str, dict[str, Any]] = {}
    for text in shown.drop_duplicates(["split", "prompt"]).to_dict("records"):
        at = text["split"], text["prompt"]
        stored = isinstance(text["plain"], str) and at in before.index
        scores = [_number(before.loc[at, metric]) for metric in metrics] if stored else []
        plain = text["plain"] if stored else "not stored"
        found = {"given": text["said"], "plain": plain, "scores": scores}
        prompts.setdefault(text["split"], {})[str(text["prompt"])] = found
    cells = [
        {
            "split": split,
            "layer": int(layer),
            "dose": dose_label(doses[rows.cell.iloc[0]]),
            "texts": [_text(text, metrics) for text in rows.to_dict("records")],
        }
        for (split, layer, _), rows in shown.groupby(["split", "layer", "dose_natural"])
    ]
    scores = [_words(m, f) for m in metrics]
    return {"scores": scores, "prompts": prompts, "unit": unit, "cells": cells}


def _text(text: Mapping[str, Any], metrics: list[str]) -> dict[str, Any]:
    stored = isinstance(text["plain"], str)
    return {
        "prompt": int(text["prompt"]),
        "written": text["written"],
        "marks": changed_words(text["plain"], text["written"]) if stored else [[], []],
        "scores": [_number(text[m]) for m in metrics],
        "kl": _number(text["kl_nats"]),
        "status": text["status"],
    }


def _ordered(metrics: list[str], f: Findings) -> list[str]:
    """The metric of the effect first, then what it must not break, the judge's own before others."""
    limits = [limit.metric for limit in (*f.effect.kept, *f.effect.held_to)]
    wanted = dict.fromkeys([f.effect.metric, *limits, *metrics])
    return [metric for metric in wanted if metric in metrics]


def _words(metric: str, f: Findings) -> str:
    """A metric in the words of its judge."""
    words = {limit.metric: limit.words for limit in f.effect.held_to}
    return {f.effect.metric: f.effect.words, **words}.get(metric, metric.replace("_", " "))


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3g}"

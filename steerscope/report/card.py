"""A run in a notebook: what it answers, three texts, where the page is, what to type next."""

from __future__ import annotations

import html

from steerscope.audits import sentence
from steerscope.errors import SteerscopeError
from steerscope.runs.results import Run
from steerscope.studies.steering.examples import examples
from steerscope.studies.steering.findings import find
from steerscope.texts.showing import facts_as_html, texts_as_html


def card(run: Run) -> str:
    """The card of a run; of one that has no answer, its name alone."""
    page = run.path / "report.html"
    facts = {
        "report": str(page) if page.is_file() else "not written yet",
        "next": "run.plot(), run.summary(), run.texts()",
    }
    try:
        said, shown = sentence(run), examples(run, find(run))
    except SteerscopeError as error:
        return facts_as_html(repr(run), {"note": str(error), **facts})
    rows = [
        [e.kind, e.text["said"], str(e.text["plain"]), e.text["written"]]
        for e in (() if shown is None else shown.shown)
    ]
    texts = texts_as_html("", ("", "prompt", "plain", "steered"), rows, before=2) if rows else ""
    return f"<p><b>{html.escape(said)}</b></p>{texts}{facts_as_html(repr(run), facts)}"

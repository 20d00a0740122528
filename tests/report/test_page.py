"""The page of a study: sentence, texts and map first, four parts, each figure once, at any width."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pandas as pd
import pytest

from steerscope.audits import sentence
from steerscope.figures.theme import PANEL
from steerscope.report import plates, report_page
from steerscope.report.page import as_table
from steerscope.report.why import why_here
from steerscope.runs.results import Run
from steerscope.studies.steering.findings import find
from steerscope.verification.pages import printed
from tests.report.browser import CHROMIUM, Browser

OLDER = Path(__file__).parents[1] / "older" / "run"


def test_a_table_without_rows_says_so():
    assert as_table(pd.DataFrame({"edit": ["a"], "n": [float("nan")]})).count("<td>") == 2
    assert as_table(pd.DataFrame({"edit": [], "n": []})) == "<p>No rows.</p>"


@pytest.fixture(scope="module")
def run():
    return Run.open(OLDER)


@pytest.fixture(scope="module")
def page(run):
    return report_page(run)


def test_the_first_page_has_the_sentence_the_texts_the_map_and_why(run, page):
    places = [
        page.index(part)
        for part in (
            'class="verdict"',
            'class="texts examples"',
            'id="sweet_spot_map"',
            "<b>Why layer",
            '<nav aria-label="Contents">',
            'id="answer"',
            'id="evidence"',
            'id="layers"',
            'id="cautions"',
        )
    ]
    assert places == sorted(places)
    said = [p.text for p in printed(page)]
    assert sentence(run) in said
    assert why_here(find(run)) in said


def test_every_link_of_the_contents_leads_somewhere_and_every_figure_stands_once(run, page):
    for target in re.findall(r'<a href="#(\w+)">', page):
        assert page.count(f'id="{target}"') == 1
    for plate in plates(run):
        assert page.count(f'<figure id="{plate.name}">') == 1


def test_the_page_is_small_enough_to_send(page):
    assert len(page.encode()) < 2_000_000


def test_why_names_what_was_passed_over(run):
    """The largest effect that breaks a limit, and the largest that is not surely within them."""
    from dataclasses import replace

    f = find(run)
    mine = f.summary[(f.summary.method == f.plan.method) & (f.summary.dose_natural > 0)]
    chosen, other = mine.index[0], mine.index[-1]
    effect = replace(f.chosen.effect, value=1.0)
    summary = f.summary.assign(broken=False)
    summary.loc[mine.index, ["effect", "counts"]] = 0.5
    summary.loc[chosen, ["effect", "counts"]] = 1.0
    found = replace(f, summary=summary, chosen=replace(f.chosen, effect=effect, broken=False))
    assert "no condition has a larger effect" in why_here(found)
    summary.loc[other, ["effect", "low", "high", "n"]] = [2.0, 1.5, 2.5, 6]
    here = f"at layer {summary.layer[other]}, {summary.dose_natural[other]:+g}"
    assert "on average but not surely, such as +2.00 nats" in why_here(found)
    assert why_here(found).endswith(f"{here}.")
    summary.loc[other, "broken"] = True
    assert f"Larger ones break a limit, such as +2.00 nats [+1.50, +2.50] {here}." in why_here(
        found
    )
    assert "was stated by the choice of another version" in why_here(
        replace(found, chosen=replace(found.chosen, broken=True))
    )


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_no_width_clips_the_page_and_the_dark_is_dark(page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(page, encoding="utf-8")
    with_browser = Browser(path, tmp_path / "profile")
    try:
        for width in (360, 1600):
            with_browser.call(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=900, deviceScaleFactor=1, mobile=False,
            )  # fmt: skip
            assert with_browser.value("document.documentElement.scrollWidth") <= width
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        with_browser.call("Emulation.setEmulatedMedia", features=features)
        ink = "getComputedStyle(document.querySelector('{}')).{}"
        assert with_browser.value(ink.format("body", "backgroundColor")) == "rgb(21, 24, 27)"
        assert with_browser.value(ink.format(".xtick text", "fill")) == "rgb(232, 232, 232)"
        assert with_browser.errors == []
    finally:
        with_browser.close()


def test_what_stands_behind_a_map_is_dark_in_the_dark():
    red, green, blue = (int(PANEL[i : i + 2], 16) for i in (1, 3, 5))
    css = resources.files("steerscope.report").joinpath("page.css").read_text()
    assert f'.bg[style*="rgb({red}, {green}, {blue})"] {{ fill: var(--line)' in css
    assert "--line: #3a3f44" in css.partition("prefers-color-scheme: dark")[2]

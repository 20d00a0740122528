"""The texts on the page of a study: three examples by rule, and the panel, in a browser too."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from steerscope.report import plates, report_page, texts, write_report
from steerscope.report.texts import panel
from steerscope.runs.results import Run
from steerscope.runs.written import written_texts
from steerscope.studies.steering.examples import examples, rule_in_words
from steerscope.studies.steering.findings import find
from steerscope.studies.steering.plan import StudyPlan, SweepPlan
from steerscope.verification.printings import compare_pages
from tests.attacks.pages import NAME, PROBE
from tests.report.browser import CHROMIUM, Browser
from tests.studies.test_findings import FLIPPED, held_out_rows, sweep_rows

OLDER = Path(__file__).parents[1] / "older" / "run"
PLAN = StudyPlan(doses=(1.0, 2.0), reference_dose=1.0)
HOSTILE = f"{NAME}</script><script>{PROBE}</script>\r\n</td>&amp; \u2028 \U0001f642"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A study whose every text holds markup; 30 of 60 held-out texts flip, 42 keep their topic.

    One, of prompt 5, flips and loses it.
    """
    configuration = {"kind": "StudyPlan", **asdict(PLAN), "effect": asdict(FLIPPED)}
    configuration |= {"contrasts_sha256": "c" * 16, "prompts_sha256": []}
    provenance = {
        "fingerprint": "f" * 16, "backbone": "hooked", "n_pairs": {}, "n_prompts": {}, "versions": {},
    }  # fmt: skip
    made = Run.start(tmp_path_factory.mktemp("texts") / "run", configuration, provenance=provenance)
    held_out = [
        replace(r, value=0.0)
        if (r.cell, r.prompt, r.metric) == ("mean_diff 1 1.0 -1", 5, "kept_topic")
        else r
        for r in held_out_rows(effect=0.5, topic=0.7)
    ]
    for rows in (sweep_rows(), held_out):
        keys = dict.fromkeys((r.split, r.cell, r.prompt) for r in rows if r.split != "null")
        made.append(rows, [_text(*key) for key in keys])
    return made


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text(encoding="utf-8")


def _text(split, cell, prompt):
    written = f"{HOSTILE} the sun of {prompt}" if cell == "plain" else f"{HOSTILE} {cell} {prompt}"
    text = {"split": split, "cell": cell, "prompt": prompt}
    return {**text, "given": f"{NAME} {prompt}", "written": written}


def data_of(page):
    """What the panel reads."""
    [found] = re.findall(r'<script type="application/json" id="texts-data">(.*?)</script>', page)
    return json.loads(found)


def test_best_worst_and_typical_are_the_ends_and_the_middle_of_the_stated_order(run):
    """29 whole texts flip, 12 stay whole for nothing, 1 flips and loses its topic, 18 lose it alone."""
    found = examples(run, find(run))
    assert [(e.kind, e.text["prompt"], e.undamaged) for e in found.shown] == [
        ("typical", 30, True),
        ("best", 0, True),
        ("worst", 59, False),
    ]
    assert [e.text["flipped"] for e in found.shown] == [0.0, 1.0, 0.0]
    assert (found.split, found.n, found.judged) == ("test", 60, True)
    assert "then ordered by what the judge read" in rule_in_words(found)


def test_without_a_judge_of_text_the_order_says_so_and_goes_by_damage(tmp_path):
    older = Run.open(OLDER)
    found = examples(older, find(older))
    assert not found.judged
    assert "no judge reads them" in rule_in_words(found)
    typical, best, worst = found.shown
    there = written_texts(older, split="test", method="mean_diff", layer=2, dose=1)
    assert worst.text["nll_plain"] == there.nll_plain.max()
    assert best.text["nll_plain"] == there.nll_plain.min()
    assert (best.undamaged, typical.undamaged, worst.undamaged) == (True, True, False)


def test_a_run_without_texts_has_no_examples_and_no_panel(tmp_path):
    configuration = {"kind": "StudyPlan", **asdict(PLAN), "effect": asdict(FLIPPED)}
    bare = Run.start(tmp_path / "run", configuration, provenance={"fingerprint": "f"})
    bare.append(sweep_rows() + held_out_rows())
    found = find(bare)
    assert (examples(bare, found), panel(bare, found, "map")) == (None, "")


def test_the_panel_holds_the_stored_texts_with_their_numbers(run, page):
    data = data_of(page)
    assert data["start"] == {"split": "test", "layer": 1, "dose": "+1", "prompt": 30}
    assert data["scores"] == [FLIPPED.words, "topic kept"]  # what it is about comes first
    cells = {(c["split"], c["layer"], c["dose"]): c["texts"] for c in data["cells"]}
    assert set(cells) == {("select", layer, d) for layer in range(4) for d in ("+1", "+2")} | {
        ("test", 1, "+1"),
        ("test", 1, "-1"),
    }
    scores = [data["scores"].index(words) for words in (FLIPPED.words, "topic kept")]
    for (split, layer, dose), shown in cells.items():
        stored = written_texts(run, split=split, method="mean_diff", layer=layer, dose=float(dose))
        prompts = [*range(14), 30, 59] if split == "test" else list(range(16))  # of the examples
        assert [t["prompt"] for t in shown] == prompts
        for text, row in zip(shown, stored.iloc[prompts].to_dict("records"), strict=True):
            prompt = data["prompts"][split][str(text["prompt"])]
            assert (prompt["given"], prompt["plain"]) == (row["given"], row["plain"])
            assert text["written"] == row["written"]
            assert [text["scores"][i] for i in scores] == [
                f"{row['flipped']:g}", f"{row['kept_topic']:g}",
            ]  # fmt: skip
            sides = zip((row["plain"], row["written"]), text["marks"], strict=True)
            plain, steered = ([t[a:b] for a, b in spans] for t, spans in sides)
            assert plain[0].startswith("the sun of")
            assert steered[0].startswith("mean_diff")


@pytest.mark.parametrize("unit", ["natural", "relative", "absolute"])
def test_every_cell_of_the_map_is_found_among_the_texts_by_its_label(run, tmp_path, unit):
    plan = SweepPlan(doses=(0.2, 0.4), unit=unit)
    configuration = {"kind": "SweepPlan", **asdict(plan), "effect": asdict(FLIPPED)}
    made = Run.start(tmp_path / "run", configuration, provenance={"fingerprint": "f"})
    rows = [r for r in sweep_rows() if r.method in ("plain", "mean_diff")]
    cells = dict.fromkeys((r.split, r.cell, r.prompt) for r in rows)
    # what is one share of an activation is another number of natural units at each layer
    rows = [replace(r, dose_natural=r.dose_natural * (1 + r.layer / 7)) for r in rows]
    made.append(rows, [_text(*key) for key in cells])
    found = find(made)
    [heat] = [p for p in plates(made) if p.name == "sweet_spot_map"]
    heat = heat.figure.data[0]
    data = data_of(panel(made, found, "map"))
    there = {(c["layer"], c["dose"]) for c in data["cells"]}
    drawn = [
        (layer, dose)
        for dose, values in zip(heat.y, heat.z, strict=True)
        for layer, value in zip(heat.x, values, strict=True)
        if value == value
    ]
    assert (len(drawn), set(drawn)) == (8, there)
    assert data["unit"] == unit
    assert (data["start"]["layer"], data["start"]["dose"]) in there


def test_the_page_holds_as_many_texts_of_each_condition_as_it_has_room_for(run, monkeypatch):
    found = find(run)
    letters = written_texts(run, method="mean_diff").written.str.len().max() * 10  # conditions
    monkeypatch.setattr(texts, "MOST_LETTERS", 3 * letters)
    page = panel(run, found, "map")
    assert {len(c["texts"]) for c in data_of(page)["cells"]} == {3}
    assert "Of each layer and dose under mean_diff at most 3 texts are here" in page
    monkeypatch.setattr(texts, "MOST_LETTERS", 0)
    assert {len(c["texts"]) for c in data_of(panel(run, found, "map"))["cells"]} == {1}


def test_nothing_that_was_written_is_markup_on_the_page(page):
    ours = page[page.index("<body>") :]
    for tag in ("<img", "<svg", "<!--", "<script>document"):
        assert tag not in ours
    assert "\r" not in page  # reading a file would turn it into another letter


def test_an_altered_text_or_score_of_the_panel_is_named(run, page):
    start = page.index('id="texts-data"')
    before, data = page[:start], page[start:]
    altered = (
        data.replace("mean_diff 1 2.0 -1 7", "mean_diff 1 2.0 -1 8", 1)
        .replace('"scores":["0","1"]', '"scores":["1","1"]', 1)
        .replace('"kl":"0.1"', '"kl":"0.2"', 1)
    )
    _, found = compare_pages("report.html", before + altered, report_page(run))
    assert [d.where.rsplit("side by side")[-1] for d in found] == [
        ".prompts.select.0.scores[0]",
        ".cells[0].texts[0].kl",
        ".cells[3].texts[7].written",
    ]


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_a_click_on_the_map_and_the_arrow_keys_show_their_texts(run, page, tmp_path):
    browser = Browser(run.path / "report.html", tmp_path / "profile")
    try:
        title = "document.querySelector('#texts-shown h4').textContent"
        assert browser.value(title) == "prompt 30 (test), layer 1, +1 natural"
        x, y = browser.value(_PLACE)
        browser.click(x, y)
        assert browser.value(title) == "prompt 0 (select), layer 2, +2 natural"
        browser.value("document.getElementById('texts-dose').focus()")
        browser.press("ArrowLeft", 37)
        assert browser.value(title) == "prompt 0 (select), layer 2, +1 natural"
        browser.value("document.getElementById('texts-next').click()")
        assert browser.value(title) == "prompt 1 (select), layer 2, +1 natural"
        given, plain, steered = browser.value(
            "[...document.querySelectorAll('#texts-shown .texts td')].map((c) => c.textContent)"
        )
        assert (given, plain) == (f"{NAME} 1", f"{HOSTILE} the sun of 1")
        assert steered == f"{HOSTILE} mean_diff 2 1.0 -1 1"
        marks = "[...document.querySelectorAll('#texts-shown mark')].map((m) => m.textContent)"
        assert browser.value(marks) == ["the sun of", "mean_diff 2 1.0 -1"]
        assert browser.value("document.documentElement.id") == ""  # nothing that was written ran
        assert browser.errors == []
    finally:
        browser.close()


# The middle of the map's cell of layer 2 and the largest dose, in the window.
_PLACE = """(() => {
  const map = document.getElementById("sweet_spot_map-plot"), layout = map._fullLayout;
  map.scrollIntoView({ block: "start" });
  const { x, y } = map.data[0], box = map.getBoundingClientRect();
  const across = layout.xaxis.c2p(2), down = layout.yaxis.c2p(y.length - 1);
  return [box.left + layout.xaxis._offset + across, box.top + layout.yaxis._offset + down];
})()"""

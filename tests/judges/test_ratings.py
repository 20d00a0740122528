"""Ratings: a sheet that gives nothing away, read back with agreement that is checked by hand."""

from __future__ import annotations

import csv
import io
import json
import shlex
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pytest

from steerscope.errors import JudgeError
from steerscope.judges.effects import Effect
from steerscope.judges.labelled import from_file
from steerscope.judges.ratings import make_sheet, read_ratings
from steerscope.report.rating_page import rating_page
from steerscope.runs.records import check_records
from steerscope.runs.results import Run
from steerscope.statistics.agreement import cohens_kappa
from tests.helpers import row
from tests.report.browser import CHROMIUM, Browser

SHOWN = Effect("shown", "share", "continuations that show terse by length", "terse", "no")
NASTY = '</script><img src=x onerror="alert(1)"> & \u2028 "quoted", ünï'


def start(path, n=8, effect=SHOWN):
    """Plain and steered texts of n prompts, of which the judge says that the even ones show it."""
    run = Run.start(path, {"kind": "SweepPlan", "effect": asdict(effect)}, provenance={})
    for cell, method in (("plain", "plain"), ("secret-cell", "mean_diff")):
        rows = [
            replace(
                row(cell=cell, prompt=p, metric="shown", value=float(p % 2 == 0)), method=method
            )
            for p in range(n)
        ]
        texts = [
            {"cell": cell, "prompt": p, "split": "select", "given": f"p{p}"}
            | {"written": f"{cell[0]}{p}, one\ntwo" + NASTY * (p == 3)}
            for p in range(n)
        ]
        run.append(rows, texts)
    run.seal()
    return run


@pytest.fixture
def run(tmp_path):
    return start(tmp_path / "run")


def fill(path, sheet, rate):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "rating"])
        writer.writerows([i.id, rate(i)] for i in sheet.items)
    return path


def number(item):
    return int(item.prompt[1:])


def test_a_sheet_is_shuffled_and_says_nothing_of_conditions(run):
    sheet = make_sheet(run, n=10)
    assert len(sheet.items) == 10
    text = sheet.as_csv() + rating_page(sheet)
    assert not any(word in text for word in ("secret-cell", "mean_diff", "plain", "select"))
    assert [number(i) for i in sheet.items] != sorted(number(i) for i in sheet.items)
    sides = [i.text[0] for i in sheet.items]
    assert {"p", "s"} == set(sides)
    assert make_sheet(run, n=10) == sheet
    with pytest.raises(JudgeError, match="another sheet was made"):
        make_sheet(run, n=9)


def test_the_page_writes_every_text_as_text(run):
    sheet = make_sheet(run, n=16)
    page = rating_page(sheet)

    class Reader(HTMLParser):
        tags, data, inside = [], "", False

        def handle_starttag(self, tag, attrs):
            self.tags.append(tag)
            self.inside = ("id", "items") in attrs

        def handle_data(self, data):
            if self.inside:
                self.data += data

    reader = Reader()
    reader.feed(page)
    assert "img" not in reader.tags
    assert "http" not in page.replace("http-equiv", "")
    said = [item["text"] for item in json.loads(reader.data)]
    assert said == [i.text for i in sheet.items]
    assert sum(NASTY in text for text in said) == 2


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_person_rates_every_text_before_the_page_saves_them(run, tmp_path):
    path = tmp_path / "sheet.html"
    path.write_text(rating_page(make_sheet(run, n=4)))
    browser = Browser(path, tmp_path / "profile")

    def click(name):
        browser.value(f'document.getElementById("{name}").click()')
        return browser.value('document.getElementById("said").textContent')

    def place():
        return browser.value('document.getElementById("place").textContent')

    try:
        browser.press("1", 49)
        browser.press("ArrowRight", 39)
        browser.press("0", 48)
        assert place() == "4 of 4, 2 rated"
        assert "Not saved" in click("save")
        assert place() == "2 of 4, 2 rated"
        browser.press("u", 85)
        click("left")
        assert place() == "4 of 4, 3 rated"
        browser.press("?", 191)
        assert "Saved as ratings.csv" in click("save")
        rated = browser.value("Object.values(JSON.parse(localStorage.getItem(name))).sort().join()")
        assert rated == "0,1,?,?"
        assert browser.errors == []
    finally:
        browser.close()


def test_people_are_asked_in_the_words_that_describe_the_contrast_set(tmp_path):
    for contrasts, asked in (
        (
            "terse",
            "Is it so: the answer is a few words (and not: the answer says the same at length)?",
        ),
        ("gone.jsonl", "Does the text show this: terse?"),
    ):
        settings = {"kind": "SweepPlan", "effect": asdict(SHOWN), "contrasts": contrasts}
        run = Run.start(tmp_path / contrasts, settings, provenance={})
        run.append(
            [row(cell="plain", prompt=0, metric="shown", value=1.0)],
            [{"cell": "plain", "prompt": 0, "split": "select", "given": "p", "written": "w"}],
        )
        assert make_sheet(run).question == asked


def test_a_sheet_of_a_chat_shows_what_was_said_without_its_template(tmp_path):
    run = Run.start(
        tmp_path / "chat",
        {"kind": "SweepPlan", "effect": asdict(SHOWN), "chat": {"system": None}},
        provenance={},
    )
    given = [f"<|im_start|>user\nAsk {n}?<|im_end|>\n<|im_start|>assistant\n" for n in "abc"]
    texts = [
        {"cell": "plain", "prompt": i, "split": "select", "given": text, "written": f"so {i}"}
        for i, text in enumerate(given)
    ]
    run.append([row(cell="plain", prompt=i, metric="shown", value=1.0) for i in range(3)], texts)
    assert sorted(i.prompt for i in make_sheet(run).items) == ["Ask a?", "Ask b?", "Ask c?"]


def test_ratings_are_read_back_with_agreement_by_hand(run, tmp_path):
    sheet = make_sheet(run, n=16)
    assert len(sheet.items) == 16
    agrees = read_ratings(run, fill(tmp_path / "ann.csv", sheet, lambda i: int(number(i) % 2 == 0)))
    assert (agrees.n, agrees.with_judge.value, agrees.alpha) == (16, 1.0, None)
    # Ben says yes to all of the first half: of 8 even and 8 odd prompts, 4 each.
    ben = read_ratings(run, fill(tmp_path / "ben.csv", sheet, lambda i: int(number(i) < 4)))
    assert ben.with_judge.value == pytest.approx(0.0)
    assert ben.between["ann"].value == pytest.approx(0.0)
    # 8 of 16 texts differ: 16 differing pairs of 32 readings, and 2 * 16 * 16 / 31 by chance.
    assert ben.alpha.value == pytest.approx(1 - 16 / (2 * 16 * 16 / 31))
    unsure = fill(tmp_path / "cat.csv", sheet, lambda i: "?" if number(i) == 0 else 1)
    assert read_ratings(run, unsure).n == 14
    labels = from_file(run.path / "ratings" / "ann.csv")
    assert len(labels.fit) + len(labels.held_out) == 16
    assert not check_records(run).differences


def test_people_are_compared_with_what_they_were_asked_where_a_text_must_be_undamaged_too(tmp_path):
    run = start(tmp_path / "run", effect=SHOWN.undamaged)
    damaged = [row(cell=c, prompt=p, metric="shown_undamaged", value=0.0)
               for c in ("plain", "secret-cell") for p in range(8)]  # fmt: skip
    run.append(damaged)
    sheet = make_sheet(run, n=16)
    found = read_ratings(run, fill(tmp_path / "ann.csv", sheet, lambda i: int(number(i) % 2 == 0)))
    assert found.with_judge.value == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[:-2], "lacks 2 of 16 rows, the first of them t"),
        (lambda rows: [*rows, "tffffff,1"], "row 17: 'tffffff' is of another sheet"),
        (lambda rows: [*rows, rows[0]], "is there twice"),
        (
            lambda rows: [rows[0].replace(",1", ","), *rows[1:]],
            "row 1: the rating is ''; write 1, 0",
        ),
        (lambda rows: [rows[0].replace(",1", ",yes"), *rows[1:]], "the rating is 'yes'"),
    ],
)
def test_a_bad_sheet_gets_one_line_and_nothing_is_kept(run, tmp_path, change, said):
    sheet = make_sheet(run, n=16)
    rows = change([f"{i.id},1" for i in sheet.items])
    (tmp_path / "s.csv").write_text("\n".join(["id,rating", *rows]) + "\n")
    with pytest.raises(JudgeError) as error:
        read_ratings(run, tmp_path / "s.csv")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((run.path / "ratings").glob("*.csv"))


@pytest.mark.parametrize(
    ("encoding", "separator", "end"),
    [
        ("utf-8-sig", ";", "\r\n"),
        ("utf-16", "\t", "\r\n"),
        ("cp1252", ";", "\r\n"),
        ("utf-8", ",", "\r"),
    ],
)
def test_a_sheet_is_read_as_a_spreadsheet_saved_it(run, tmp_path, encoding, separator, end):
    sheet = make_sheet(run, n=16)
    rows = [["ID", "prompt", "text", "Rating "]]
    rows += [[i.id, "é", '"a\u00fc, ""b"";\nc"', f"{number(i) % 2}.0"] for i in sheet.items]
    rows += [["", "", "", ""]]  # what a spreadsheet leaves below
    path = tmp_path / "s.csv"
    path.write_bytes(end.join(map(separator.join, rows)).encode(encoding))
    found = read_ratings(run, path)
    assert (found.n, found.shown) == (16, 0.5)


def test_a_sheet_of_another_run_or_name_is_refused(run, tmp_path):
    path = fill(tmp_path / "ann.csv", make_sheet(run, n=16), lambda _: 1)
    other = Run.start(tmp_path / "other", {"kind": "x", "effect": asdict(SHOWN)}, provenance={})
    with pytest.raises(JudgeError, match="no sheet of .* was exported"):
        read_ratings(other, path)
    read_ratings(run, path)
    read_ratings(run, path)
    fill(path, make_sheet(run, n=16), lambda _: 0)
    with pytest.raises(JudgeError, match="other ratings were read from a file called ann.csv"):
        read_ratings(run, path)
    path.write_text("text,label\na,1\n")
    with pytest.raises(JudgeError, match="needs the columns id and rating"):
        read_ratings(run, path)


def test_the_commands_write_and_read_a_sheet(run, run_cli, tmp_path):
    table = tmp_path / "out.csv"
    code, out, _ = run_cli("ratings", "export", run.path, "--out", table, "--number", 16)
    assert code == 0
    assert "16 texts: Does the text show this: terse?" in out
    assert table.with_suffix(".html").is_file()
    code, _, error = run_cli("ratings", "export", run.path, "--out", table, "--number", 16)
    assert (code, "is there and is of something else" in error) == (2, True)
    rows = list(csv.DictReader(io.StringIO(table.read_bytes().decode(), newline="")))
    filled = tmp_path / "dan.csv"
    with filled.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(r | {"rating": int(int(r["prompt"][1:]) % 2 == 0)} for r in rows)
    code, out, _ = run_cli("ratings", "import", run.path, filled)
    assert code == 0
    assert "with the judge: kappa 1 [0.3" in out  # perfect on few is not certain


def test_the_command_for_reading_a_sheet_can_be_typed_whatever_the_folder_is_called(
    run, run_cli, tmp_path
):
    table = tmp_path / "my sheet.csv"
    _, out, _ = run_cli("ratings", "export", run.path, "--out", table, "--number", 1)
    assert out.startswith("1 text: ")
    [told] = [line for line in out.splitlines() if line.startswith("then: ")]
    assert shlex.split(told)[1:] == ["steerscope", "ratings", "import", str(run.path), str(table)]


def test_the_page_does_not_take_the_place_of_the_table(run, run_cli, tmp_path):
    code, _, errors = run_cli("ratings", "export", run.path, "--out", tmp_path / "sheet.html")
    assert code == 2
    assert "the page beside it ends in .html" in errors
    assert not (tmp_path / "sheet.html").exists()


def test_texts_of_one_prompt_are_one_for_the_interval_of_kappa():
    once = cohens_kappa(np.array([1.0, 0, 1, 1, 0, 0, 1, 0]), np.array([1.0, 0, 0, 1, 0, 1, 1, 0]))
    again = cohens_kappa(
        np.tile([1.0, 0, 1, 1, 0, 0, 1, 0], 3),
        np.tile([1.0, 0, 0, 1, 0, 1, 1, 0], 3),
        np.tile(np.arange(8), 3),
    )
    assert (again.value, again.low, again.high, again.n) == (once.value, once.low, once.high, 8)

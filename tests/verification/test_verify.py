"""What verify finds: an altered row, text, page, table, figure, vector or input, each by its name."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict

import pandas as pd
import pytest

from steerscope.cli import main
from steerscope.experiments.inputs import check_inputs
from steerscope.report import draw_figures, write_report
from steerscope.runs.records import check_records
from steerscope.runs.results import Run
from steerscope.runs.seals import row_digests
from steerscope.studies.steering.plan import StudyPlan
from steerscope.studies.steering.texts import load_texts
from steerscope.verification import Difference, verify
from steerscope.verification.pages import numbers_of, printed
from tests.helpers import plain_rows, row, steered_rows
from tests.studies.test_findings import FLIPPED, held_out_rows, sweep_rows

PLAN = StudyPlan(doses=(1.0, 2.0), reference_dose=1.0)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    path = tmp_path_factory.mktemp("verify") / "study"
    texts = load_texts(PLAN)
    configuration = {
        "kind": "StudyPlan",
        **asdict(PLAN),
        "contrasts_sha256": texts.contrasts.sha256,
        "prompts_sha256": [texts.prompts.select.sha256, texts.prompts.test.sha256],
        "effect": asdict(FLIPPED),
    }
    provenance = {
        "fingerprint": "f" * 16, "backbone": "hooked", "n_pairs": {}, "n_prompts": {}, "versions": {},
    }  # fmt: skip
    run = Run.start(path, configuration, provenance=provenance)
    text = {"cell": "plain", "split": "test", "given": "a", "written": "b"}
    run.append(sweep_rows(), [{**text, "prompt": p} for p in range(3)])
    run.append(held_out_rows())
    run.seal()
    write_report(run)
    draw_figures(run, ["html"])
    return path


@pytest.fixture
def study(sealed, tmp_path):
    """A copy to alter, under the same name."""
    return shutil.copytree(sealed, tmp_path / "study")


def part_of(path, kind, split):
    """The part that holds a split, as a place in the folder."""
    parts = (path / kind).glob("*.parquet")
    held = {f"{kind}/{p.name}": set(pd.read_parquet(p).split) for p in parts}
    return next(name for name, splits in held.items() if ("test" in splits) == (split == "test"))


def differences(path):
    return [str(d) for d in verify(path, weights=False).differences]


def altered_records(path):
    """What differs in rows, texts and files alone, which is quick."""
    return [str(d) for d in check_records(Run.open(path)).differences]


def alter(path, part, change):
    table = change(pd.read_parquet(path / part))
    table.to_parquet(path / part)


def with_row(number, **changes):
    """A change of some values of one row."""

    def change(table):
        for name, value in changes.items():
            table.loc[number, name] = value
        return table

    return change


def test_a_finished_run_is_as_it_was(sealed):
    found = verify(sealed, weights=False)
    assert [str(d) for d in found.differences] == []
    assert found.n_rows == len(sweep_rows() + held_out_rows()) + 3
    assert found.n_printed > 200


def test_a_copy_under_another_name_is_as_it_was_too(sealed, tmp_path):
    assert differences(shutil.copytree(sealed, tmp_path / "another name")) == []


def test_the_page_gives_the_command_as_it_can_be_typed(study):
    said = json.loads((study / "run.json").read_text())
    said["command"] = ["/opt/x/bin/steerscope", "report", "--out", "my run"]
    (study / "run.json").write_text(json.dumps(said))
    page = write_report(Run.open(study)).read_text()
    assert "steerscope report --out &#x27;my run&#x27;" in page.replace("&#39;", "&#x27;")
    assert "/opt/x" not in page


def test_one_thing_that_differs_is_counted_as_one(study, run_cli):
    (study / "figures" / "kl_by_depth.html").unlink()
    code, out, _ = run_cli("verify", study, "--no-weights")
    assert (code, out.count("1 thing differs")) == (2, 1)


def test_an_altered_row_is_named_with_what_it_was_and_what_it_changes(study, capsys):
    part = part_of(study, "rows", "test")
    rows = pd.read_parquet(study / part)
    here = rows[(rows.split == "test") & (rows.metric == "flipped") & (rows.value == 1.0)]
    number = here.index[0]
    alter(study, part, with_row(number, value=0.0))
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(study), "--no-weights", "--json"])
    assert stop.value.code == 2
    found = json.loads(capsys.readouterr().out)["differences"]
    said = [str(Difference(**d)) for d in found]
    named = [d for d in said if d.startswith(f"{part}, row {number}: flipped of prompt")]
    assert len(named) == 1
    assert f"under {rows.cell[number]} is 0.0, expected 1.0 by its hash" in named[0]
    sentence = next(d for d in said if d.startswith("report.html, Answer, line 2"))
    assert "70.0 %" in sentence
    assert "68.3 %" in sentence
    assert any(d.startswith("figures/dose_response.html, figure 1, trace") for d in said)


def test_the_command_names_what_differs_and_leaves_with_2(study, capsys):
    part = part_of(study, "rows", "select")
    alter(study, part, lambda t: t[t.cell != "plain"])
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(study), "--no-weights"])
    assert stop.value.code == 2
    said = capsys.readouterr().out
    assert f"differs: {part}: the number of rows is" in said
    assert "the rows do not give it" in said  # a difference, and no crash


def test_a_row_altered_before_everything_was_sealed_again_is_still_found(study):
    part = part_of(study, "rows", "select")
    alter(study, part, with_row(7, kl_nats=9.0))
    Run.open(study).seal()  # even with a new manifest, the seal of the part tells
    [only] = altered_records(study)
    assert only.startswith(f"{part}, row 7: ")
    assert "expected a row with hash" in only


def test_a_row_more_or_less_a_part_less_and_a_lost_seal_are_found(study):
    first, second = part_of(study, "rows", "select"), part_of(study, "rows", "test")
    alter(study, first, lambda t: t.iloc[:-1])
    (study / second).unlink()
    said = altered_records(study)
    assert any(f"{first}: the number of rows is" in d for d in said)
    assert any(d.startswith(f"{second}: the part is missing") for d in said)
    (study / f"seals/{first}").with_suffix(".txt").unlink()
    assert any("its seal is missing" in d for d in altered_records(study))


def test_an_altered_text_and_a_lost_manifest_are_found(study):
    part = part_of(study, "texts", "test")
    alter(study, part, with_row(0, written="c"))
    (study / "manifest.json").unlink()
    said = altered_records(study)
    assert any(d.startswith(f"{part}, row 0: the text of prompt 0") for d in said)
    assert any(d.startswith("manifest.json: the manifest is not usable") for d in said)


def test_a_number_altered_on_the_page_and_one_in_a_figure_are_named(study):
    page, figure = study / "report.html", study / "figures/kl_by_depth.html"
    head, tail = page.read_text().split("What each layer needs", 1)
    page.write_text(head + "What each layer needs" + tail.replace("0.62", "0.12", 1))
    text = figure.read_text()
    changed = re.sub(r'"y":\[0\.\d', '"y":[0.3', text, count=1)
    assert changed != text
    figure.write_text(changed)
    said = differences(study)
    assert sum(d.startswith("report.html, What each layer needs, row") for d in said) == 1
    assert "is '0.12', expected '0.62'" in " ".join(said)
    assert any(d.startswith("figures/kl_by_depth.html, figure 1, trace") for d in said)


def test_inputs_that_are_others_are_found(study):
    run = json.loads((study / "run.json").read_text())
    run["configuration"]["contrasts_sha256"] = "0" * 64
    run["configuration"]["prompts_sha256"][1] = "1" * 64
    (study / "run.json").write_text(json.dumps(run))
    said = [str(d) for d in check_inputs(Run.open(study), weights=False)]
    assert any(d.startswith("input contrasts_sha256: the hash is") for d in said)
    assert any(d.startswith("input prompts_sha256: the hash is") for d in said)
    assert any(d.startswith("run.json: the hash of the file is") for d in altered_records(study))


def test_a_folder_of_neither_kind_says_so(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["verify", str(tmp_path)])
    assert stop.value.code == 2
    assert "is no run and no experiment" in capsys.readouterr().err


def test_every_column_of_a_row_is_in_its_digest():
    table = pd.DataFrame([asdict(row())])
    for column in table:
        value = table[column][0]
        other = table.assign(**{column: f"{value}x" if isinstance(value, str) else value + 1})
        assert row_digests(other) != row_digests(table), column


def test_the_digest_of_a_row_outlives_the_file(tmp_path):
    table = pd.DataFrame([asdict(r) for r in plain_rows() + steered_rows(1, 0.1, 0.3)])
    table.to_parquet(tmp_path / "t.parquet")
    assert row_digests(pd.read_parquet(tmp_path / "t.parquet")) == row_digests(table)


def test_a_page_is_read_piece_by_piece():
    page = (
        "<h1>T 1</h1><p>a <b>2.5</b> c</p><h2>S</h2><table><tr><th>x</th></tr>"
        "<tr><td>7</td></tr></table><p><code>skip 9</code> kept</p>"
    )
    assert [(p.place, p.text) for p in printed(page)] == [
        ("top, title 1", "T 1"),
        ("top, paragraph 1", "a 2.5 c"),
        ("S, row 1, x", "7"),
        ("S, paragraph 1", "skip 9 kept"),
    ]


def test_arrays_of_figures_are_decoded():
    packed = {"dtype": "f8", "bdata": "AAAAAAAA8D8AAAAAAAAAQA=="}
    assert list(numbers_of([{"name": "a", "y": packed, "x": [3]}])) == [
        ("trace a, x[0]", "3"),
        ("trace a, y[0]", "1.0"),
        ("trace a, y[1]", "2.0"),
    ]

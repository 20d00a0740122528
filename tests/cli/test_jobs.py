"""The long jobs: what report, sweep, figures and audit print and leave."""

from __future__ import annotations

import json
import re
import shutil

from steerscope.directions import load_directions
from steerscope.runs.results import Run
from tests.cli.options import SMALL


def _without_place(out):
    """What the page says, but for the place of its run."""
    return re.sub(r"/\S*/run\b", "RUN", (out / "report.html").read_text().split("</script>")[-1])


def test_the_report_leaves_a_page_rows_texts_and_directions(small_run):
    out, said = small_run
    assert f"report: {out / 'report.html'}" in said
    page = (out / "report.html").read_text()
    assert "Where and how hard" in page
    assert "http" not in page.split("</script>", 1)[1]  # opens offline: no address in our part
    assert page.count("<figure ") >= 6
    run = Run.open(out)
    table = run.table()
    assert {"select", "test", "screen", "null"} == set(table.split)
    assert {"mean_diff", "random", "label_shuffled", "plain", "eigengap"} <= set(table.method)
    assert len(run.texts()) > 0
    methods = {d.method for d in load_directions(out / "directions.safetensors")}
    assert methods == {"mean_diff", "random", "label_shuffled"}
    assert json.loads((out / "run.json").read_text())["configuration"]["doses"] == [1.0, 2.0]


def test_an_audit_says_what_may_deceive_and_strict_makes_it_fail(small_run, run_cli):
    out, said = small_run
    assert "audit: " in said
    code, said, _ = run_cli("audit", out, "--json")
    assert code == 0
    found = json.loads(said)["findings"]
    checks = {f["check"] for f in found}
    assert "few_prompts" in checks  # 6 pairs
    assert "few_nulls" not in checks  # there are 19 of each kind
    assert all(f["remedy"] and f["where"] and f["what"] for f in found)
    assert all(isinstance(v, float) for f in found for v in f["numbers"].values())
    assert not [f for f in found if "nan" in f["what"]]
    code, said, _ = run_cli("audit", out, "--strict")
    assert code == 2
    assert "(few_prompts)" in said
    assert said.splitlines()[-1].startswith("audit: ")


def test_layer_and_dose_are_chosen_on_select_and_stated_on_test(small_run):
    out, _ = small_run
    table = Run.open(out).table()
    tested = table[(table.split == "test") & (table.method == "mean_diff")]
    assert tested.layer.nunique() == 1
    assert table[(table.split == "select") & (table.method == "mean_diff")].layer.nunique() == 3
    splits = json.loads((out / "run.json").read_text())["provenance"]["n_pairs"]
    assert splits == {"fit": 12, "select": 6, "test": 6}


def test_started_again_it_measures_nothing_and_draws_the_same_page(
    small_run, run_cli, tiny_folder, words, monkeypatch
):
    out, first = small_run
    page, parts = _without_place(out), sorted((out / "rows").iterdir())
    import steerscope.studies.bench as sweeps

    monkeypatch.setattr(sweeps, "kl_from_plain", None)  # any measurement would fail
    code, again, errors = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", out, *SMALL
    )
    assert (code, again) == (0, first), errors
    assert sorted((out / "rows").iterdir()) == parts
    assert _without_place(out) == page
    code, _, errors = run_cli(
        "report",
        "--model",
        tiny_folder("llama"),
        "--contrasts",
        words,
        "--out",
        out,
        "--seed",
        1,
        *SMALL,
    )
    assert code == 2
    assert "other settings" in errors


def test_figures_are_redrawn_without_a_model(small_run, run_cli, tmp_path, monkeypatch):
    out, _ = small_run
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    (moved / "report.html").unlink()
    import steerscope.models.loading as backbones

    monkeypatch.setattr(backbones, "load_model", None)
    code, said, errors = run_cli("figures", moved, "--format", "html")
    assert code == 0, errors
    assert (moved / "report.html").is_file()
    drawn = len(list((moved / "figures").glob("*.html")))
    assert drawn >= 6
    assert f"drawn: {drawn} figures in {moved / 'figures'} (csv, txt, html)\n" in said
    assert f"drawn: {moved / 'report.html'}\n" in said
    (moved / "directions.safetensors").unlink()
    code, _, errors = run_cli("figures", moved, "--format", "html")
    assert code == 2
    assert "directions.safetensors: the file is missing" in errors


def test_json_is_one_object_and_nothing_else(small_run, run_cli, tiny_folder, words):
    code, said, _ = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", small_run[0],
        "--json", *SMALL,
    )  # fmt: skip
    found = json.loads(said)
    assert code == 0
    assert found["chosen"]["layer"] in {0, 1, 2}
    assert found["stated"]["n"] == 1  # all pairs differ in the same words


def test_a_sweep_of_one_distinct_contrast_tells_no_zones(run_cli, tiny_folder, words, tmp_path):
    code, said, _ = run_cli(
        "sweep", "--model", tiny_folder("llama"), "--contrasts", words, "--layers", "0,2", "--doses",
        "0.1", "--unit", "relative", "--n-new", 4, "--out", tmp_path / "s",
    )  # fmt: skip
    assert code == 0
    assert "Zones: not told, since " in said


def test_a_sweep_prints_its_grid_and_can_be_drawn(run_cli, tiny_folder, tmp_path):
    words = tmp_path / "distinct.jsonl"
    rows = [
        {"positive": f"w{i} w6 w{30 + i}", "negative": f"w{i} w8 w{60 + i}", "concept": "c"}
        for i in range(10, 34)
    ]
    words.write_text("".join(json.dumps(r) + "\n" for r in rows))
    code, said, errors = run_cli(
        "sweep", "--model", tiny_folder("llama"), "--contrasts", words, "--layers", "0,2", "--doses",
        "-0.1,0,0.1", "--unit", "relative", "--n-new", 4, "--out", tmp_path / "s", "--json",
    )  # fmt: skip
    assert code == 0, errors
    conditions = [c for c in json.loads(said)["conditions"] if c["method"] == "mean_diff"]
    assert {(c["layer"], round(c["dose_relative"], 6)) for c in conditions} == {
        (layer, dose) for layer in (0, 2) for dose in (-0.1, 0.1)
    }
    assert {z["layer"] for z in json.loads(said)["zones"]} == {0, 2}
    code, said, errors = run_cli("figures", tmp_path / "s")
    assert code == 0, errors
    assert (tmp_path / "s" / "figures" / "layer_sweep.html").is_file()
    assert "not yet confirmed on other pairs" in (tmp_path / "s" / "report.html").read_text()


def test_a_report_within_a_budget_says_what_it_asks_and_goes_on_with_that(run_cli, tmp_path):
    given = [
        "--layers",
        "1,3",
        *SMALL,
        "--nulls",
        "0",
        "--judge",
        "oracle",
        "--out",
        tmp_path / "run",
    ]
    code, said, aside = run_cli("report", *given, "--budget", "20 tokens")
    assert code != 0
    assert "is too small: 12 prompts to choose on and 24 to state on take up to" in said + aside
    code, said, aside = run_cli("report", *given, "--budget", "5,000 tokens")
    assert code == 0
    first = Run.open(tmp_path / "run").configuration
    assert f"{first['max_test']} of 240 to state on" in aside
    assert first["max_test"] < 240
    code, _, aside = run_cli("report", *given, "--budget", "9,000 tokens")
    assert code == 0
    assert "goes on with the prompts that it has" in aside
    assert Run.open(tmp_path / "run").configuration == first

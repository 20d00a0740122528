"""Every command, run as a stranger would: what it prints, what it leaves, how it refuses."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file

from steerscope.calibration import calibrate
from steerscope.cli import main
from steerscope.cli.shared import parse_layers
from steerscope.directions import import_directions, import_gguf, load_directions, save_directions
from steerscope.doses import Dose
from steerscope.errors import BadValueError
from steerscope.generation import generate
from steerscope.interventions import Cell, Steering
from steerscope.results import Run
from steerscope.scopes import Scope
from steerscope.sites import Site
from tests.helpers import random_direction


@pytest.fixture
def run_cli(capsys):
    """Run a command in this process: exit code, standard output, standard error."""

    def call(*arguments):
        code = 0
        try:
            main(list(map(str, arguments)))
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def words(tmp_path):
    """A contrast file for the tiny models, whose vocabulary is w3 to w95."""
    path = tmp_path / "words.jsonl"
    rows = [
        {"positive": f"w{i} w6 w7", "negative": f"w{i} w8 w9", "concept": "c"}
        for i in range(10, 34)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


SMALL = ["--doses", "1,2", "--n-new", "5"]


@pytest.fixture
def small_run(run_cli, tiny_folder, words, tmp_path):
    out = tmp_path / "run"
    code, said, errors = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", out, *SMALL
    )
    assert code == 0, errors
    return out, said


def test_layers_are_spans_and_lists():
    assert parse_layers("0-3") == (0, 1, 2, 3)
    assert parse_layers("5,1-2,1") == (5, 1, 2)
    assert parse_layers(None) is None
    for bad in ("3-1", "a", "1,,2", "-1"):
        with pytest.raises(BadValueError, match="write them as 0-7"):
            parse_layers(bad)


def test_the_report_leaves_a_page_rows_texts_and_directions(small_run):
    out, said = small_run
    assert f"report: {out / 'report.html'}" in said
    page = (out / "report.html").read_text()
    assert "Where and how hard" in page
    assert "http" not in page.split("</script>", 1)[1]  # opens offline: no address in our part
    assert page.count("<figure ") >= 6
    run = Run.open(out)
    table = run.table()
    assert {"select", "test"} == set(table.split)
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
    assert {"few_nulls", "few_prompts"} <= {f["check"] for f in found}  # 3 directions, 6 pairs
    assert all(f["remedy"] and f["where"] and f["what"] for f in found)
    assert all(isinstance(v, float) for f in found for v in f["numbers"].values())
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
    page, parts = (out / "report.html").read_text(), sorted((out / "rows").iterdir())
    import steerscope.sweeps as sweeps

    monkeypatch.setattr(sweeps, "kl_from_plain", None)  # any measurement would fail
    code, again, errors = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", out, *SMALL
    )
    assert (code, again) == (0, first), errors
    assert sorted((out / "rows").iterdir()) == parts
    assert (out / "report.html").read_text().split("</script>")[-1] == page.split("</script>")[-1]
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
    (moved / "directions.safetensors").unlink()
    import steerscope.backbones as backbones

    monkeypatch.setattr(backbones, "load_model", None)
    code, said, errors = run_cli("figures", moved, "--format", "html")
    assert code == 0, errors
    assert (moved / "report.html").is_file()
    assert len(list((moved / "figures").glob("*.html"))) >= 6
    assert said.count("drawn:") >= 7


def test_json_is_one_object_and_nothing_else(run_cli, tiny_folder, words, tmp_path):
    code, said, _ = run_cli(
        "report", "--model", tiny_folder("llama"), "--contrasts", words, "--out", tmp_path / "r",
        "--json", *SMALL,
    )  # fmt: skip
    found = json.loads(said)
    assert code == 0
    assert found["chosen"]["layer"] in {0, 1, 2}
    assert found["stated"]["n"] == 6


def test_vectors_then_steer_is_steering_by_hand(run_cli, load, tiny_folder, words, tmp_path):
    file = tmp_path / "v.safetensors"
    code, said, _ = run_cli(
        "vectors",
        "--model",
        tiny_folder("llama"),
        "--contrasts",
        words,
        "--layers",
        "1-2",
        "--out",
        file,
    )
    assert code == 0
    assert "resid_post.1" in said
    assert set(load_file(file)) == {"mean_diff@resid_post.1", "mean_diff@resid_post.2"}
    code, said, _ = run_cli(
        "steer", "--model", tiny_folder("llama"), "--vector", file, "--site", "resid_post.1",
        "--dose", 30, "--prompt", "w20 w21", "--n-new", 6, "--temperature", 0, "--json",
    )  # fmt: skip
    found = json.loads(said)["continuations"][0]
    direction = next(d for d in load_directions(file) if d.site.layer == 1)
    cells = [Cell(), Cell((Steering(direction, Dose(30.0)),))]
    plain, steered = (row[0].text for row in generate(load("llama"), ["w20 w21"], cells, n_new=6))
    assert (code, found["plain"], found["steered"]) == (0, plain, steered)
    assert found["kl_nats"] > 0


def test_a_control_vector_is_written_read_and_converted(run_cli, tiny_folder, words, tmp_path):
    model = ["--model", tiny_folder("llama")]
    ours, control, back = (tmp_path / n for n in ("v.safetensors", "v.gguf", "back.safetensors"))
    code, said, errors = run_cli(
        "vectors", *model, "--contrasts", words, "--out", ours, "--gguf", control
    )
    assert code == 0, errors
    assert f"saved: {control}, strength 1 = +1 natural" in said
    assert "left out, since llama.cpp has no place for it: resid_post.0" in said
    found = {d.label: d for d in load_directions(ours)}
    assert [d.site.layer for d in import_gguf(control)] == [1, 2]
    assert all(torch.equal(d.unit, found[d.label].unit) for d in import_gguf(control))
    code, said, errors = run_cli("convert", control, *model, "--out", back, "--json")
    assert code == 0, errors
    assert [d["site"] for d in json.loads(said)["directions"]] == ["resid_post.1", "resid_post.2"]
    assert all(d.scale == found[d.label].scale for d in load_directions(back))
    code, said, errors = run_cli(
        "convert", ours, *model, "--out", control, "--dose", -2, "--unit", "relative", "--json"
    )
    assert code == 0, errors
    written = json.loads(said)
    assert (written["strength_1"], written["left_out"]) == ("-2 relative", ["resid_post.0"])
    tensor = GGUFReader(control).tensors[0].data
    assert np.linalg.norm(tensor) == pytest.approx(
        2 * found["mean_diff@resid_post.1"].scale.relative, rel=1e-5
    )


def test_a_vector_of_another_tool_steers_and_is_converted(
    run_cli, tiny_folder, load, tmp_path, words
):
    vector = torch.randn(32, generator=torch.Generator().manual_seed(0)) * 9
    torch.save(vector, tmp_path / "layer_1.pt")
    model = ["--model", tiny_folder("llama")]
    code, said, errors = run_cli(
        "steer", *model, "--vector", tmp_path / "layer_1.pt", "--prompt", "w20 w21", "--n-new", 6,
        "--temperature", 0, "--json",
    )  # fmt: skip
    assert code == 0, errors
    [direction] = import_directions(tmp_path / "layer_1.pt", load("llama"))
    cells = [Cell((Steering(direction, Dose(1.0)),))]
    [[expected]] = generate(load("llama"), ["w20 w21"], cells, n_new=6)
    result = json.loads(said)
    assert result["continuations"][0]["steered"] == expected.text
    assert result["steering"]["method"] == "imported:caa"
    assert result["steering"]["dose_absolute"] == pytest.approx(float(vector.norm()))
    code, said, errors = run_cli("lens", *model, "--vector", tmp_path / "layer_1.pt")
    assert (code, "imported:caa@resid_post.1" in said) == (0, True), errors
    (tmp_path / "p.txt").write_text("w5 w6 w7\nw8 w9\n")
    out = tmp_path / "v.safetensors"
    code, said, errors = run_cli(
        "convert", tmp_path / "layer_1.pt", *model, "--out", out, "--prompts", tmp_path / "p.txt"
    )
    assert code == 0, errors
    [measured] = import_directions(
        tmp_path / "layer_1.pt", load("llama"), prompts=["w5 w6 w7", "w8 w9"]
    )
    [saved] = load_directions(out)
    assert saved.scale == measured.scale != direction.scale
    assert torch.equal(saved.unit, direction.unit)


def test_a_dose_in_nats_with_a_schedule_on_the_command_line(run_cli, load, tiny_folder, tmp_path):
    file = tmp_path / "v.safetensors"
    direction = random_direction(load("llama"), Site("resid_post", 1))
    save_directions(file, [direction])
    options = ["steer", "--model", tiny_folder("llama"), "--vector", file, "--prompt", "w20 w21"]
    code, said, _ = run_cli(
        *options, "--dose", 0.3, "--unit", "kl", "--strength", "0.5*ramp:4", "--scope", "prompt|steps:1:3",
        "--n-new", 2, "--json",
    )  # fmt: skip
    found = json.loads(said)["steering"]
    prompt = ["w20 w21"]
    scope = Scope.parse("prompt|steps:1:3")
    expected = calibrate(load("llama"), direction, 0.3, prompt, scope=scope).absolute
    assert (code, found["strength"], found["scope"]) == (0, "0.5*ramp:4", "prompt|steps:1:3")
    assert found["dose_absolute"] == pytest.approx(expected, rel=1e-3)
    code, _, complaint = run_cli(*options, "--dose", 1e6, "--unit", "kl")
    assert code == 2
    assert "no dose gives 1e+06 nats here: the KL never exceeds" in complaint


def test_vectors_gathers_what_a_method_needs(run_cli, tiny_folder, words, tmp_path):
    file = tmp_path / "v.safetensors"
    common = ("vectors", "--model", tiny_folder("llama"), "--contrasts", words, "--layers", "1")
    for method in ("pca_weighted", "sspace_mean", "pca_pair_centred"):
        code, _, errors = run_cli(*common, "--method", method, "--read", "-2:", "--out", file)
        assert code == 0, errors
    assert load_directions(file)[0].provenance.read == "tokens -2:"
    code, _, errors = run_cli(*common, "--method", "other_concept", "--out", file)
    assert code == 2
    assert "--other" in errors
    code, _, errors = run_cli(*common, "--method", "other_concept", "--other", words, "--out", file)
    assert code == 0, errors


def test_projecting_out_on_the_command_line(run_cli, tiny_folder, words, tmp_path):
    file = tmp_path / "v.safetensors"
    run_cli(
        "vectors",
        "--model",
        tiny_folder("llama"),
        "--contrasts",
        words,
        "--layers",
        "1",
        "--out",
        file,
    )
    code, said, errors = run_cli(
        "steer", "--model", tiny_folder("llama"), "--vector", file, "--operator", "project_out",
        "--prompt", "w20 w21", "--n-new", 3, "--json",
    )  # fmt: skip
    assert code == 0, errors
    assert json.loads(said)["steering"]["operator"] == "project_out"


def test_lens_reads_a_vector_or_a_prompt(run_cli, tiny_folder, words, tmp_path):
    model = ["--model", tiny_folder("llama")]
    file = tmp_path / "v.safetensors"
    run_cli("vectors", *model, "--contrasts", words, "--layers", "1", "--out", file)
    code, said, _ = run_cli("lens", *model, "--vector", file, "--top", 3)
    assert code == 0
    assert len(said.splitlines()) == 2 + 3
    code, said, _ = run_cli("lens", *model, "--prompt", "w20 w21", "--top", 2, "--json")
    layers = json.loads(said)["layers"]
    assert [row["layer"] for row in layers] == [0, 1, 2]
    assert all(0 <= p <= 1 for row in layers for p in row["probabilities"])


def test_eigengap_prints_the_weakest_link_of_each_layer(run_cli, tiny_folder, tmp_path):
    prompts = tmp_path / "p.txt"
    prompts.write_text("w5 w6 w7 w8\nw9 w10 w11\nw12 w13 w14 w15\n")
    code, said, _ = run_cli(
        "eigengap", "--model", tiny_folder("llama"), "--prompts", prompts, "--json"
    )
    found = json.loads(said)["layers"]
    assert code == 0
    for row in found:
        assert row["gap"] == pytest.approx(min(row["gaps"]))
        assert row["gaps"].index(min(row["gaps"])) == row["weakest_head"]
        assert 0 <= row["low"] <= row["high"] <= 1


def test_a_sweep_prints_its_grid_and_can_be_drawn(run_cli, tiny_folder, words, tmp_path):
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
    assert "layer_sweep.html" in said
    assert "not yet confirmed on other prompts" in (tmp_path / "s" / "report.html").read_text()


def bad(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "--contrasts", "nowhere.jsonl"], "no contrast set 'nowhere.jsonl'"),
        (["report", "--contrasts", "{malformed}"], "line 2: not JSON"),
        (["report", "--contrasts", "{unequal}"], "line 1: needs the keys"),
        (["report", "--contrasts", "{empty}"], "line 1: the negative text is empty"),
        (["report", "--prompts", "nowhere.txt"], "no prompt set 'nowhere.txt'"),
        (["report", "--model", "nowhere"], "cannot load model 'nowhere'"),
        (["report", "--model", "./nowhere"], "no model folder ./nowhere"),
        (["report", "--method", "mean_dif"], "Did you mean 'mean_diff'"),
        (["report", "--stream", "resid"], "unknown stream 'resid'"),
        (["report", "--layers", "0-99", "--model", "{tiny}", "--contrasts", "{words}"], "layers 0 to 2"),
        (["report", "--layers", "x"], "cannot read layers 'x'"),
        (["report", "--doses", "1,x"], "cannot read doses '1,x'"),
        (["report", "--doses", "nan"], "positive numbers"),
        (["report", "--backbone", "hoked"], "unknown backbone 'hoked'"),
        (["report", "--scope", "suffix"], "unknown scope 'suffix'"),
        (["report", "--n-new", "90", "--model", "{tiny}", "--contrasts", "{words}"], "needs room for 90"),
        (["report", "--temprature", "1"], "No such option"),
        (["sweep", "--out", "{out}", "--unit", "naturel"], "Did you mean 'natural'"),
        (["sweep", "--out", "{out}", "--doses", "0"], "at least one dose that is not 0"),
        (["vectors", "--out", "{out}", "--method", "pca"], "unknown method 'pca'"),
        (["vectors", "--out", "{out}", "--read", "first"], "write last, mean or an index"),
        (["steer", "--vector", "nowhere", "--prompt", "x"], "no vector file nowhere"),
        (["steer", "--vector", "{foreign}", "--prompt", "w5", "--model", "{tiny}"], "find it again"),
        (["steer", "--vector", "{narrow}", "--prompt", "w5", "--model", "{tiny}"], "has 32 at"),
        (["steer", "--vector", "{nan}", "--prompt", "w5", "--model", "{tiny}"], "holds a NaN"),
        (["steer", "--vector", "{good}", "--prompt", "w5 " * 70, "--model", "{tiny}"], "context of"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--unit", "x"], "unknown dose unit"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--operator", "x"], "unknown operator"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--site", "q.1"], "unknown site"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--dose", "nan"], "not a number"),
        (["steer", "--vector", "{words}", "--prompt", "w5"], "ends in '.jsonl'"),
        (["steer", "--vector", "{caa}", "--prompt", "w5", "--model", "{tiny}"], "layers 0 to 2"),
        (["convert", "nowhere", "--out", "{out}.gguf"], "no vector file nowhere"),
        (["convert", "{good}", "--out", "{out}.pt"], "unknown format to write '.pt'"),
        (["convert", "{good}", "--out", "{out}.gguf", "--dose", "0", "--model", "{tiny}"], "dose of 0"),
        (["convert", "{good}", "--out", "{out}.gguf", "--unit", "x"], "unknown dose unit"),
        (["convert", "{head}", "--out", "{out}.gguf", "--model", "{tiny}"], "z.1.h0 has no place"),
        (["vectors", "--out", "{out}", "--gguf", "{out}.gguf", "--stream", "z"], "not at z"),
        (["lens", "--model", "{tiny}"], "either --vector or --prompt"),
        (["lens", "--model", "{tiny}", "--prompt", "w5", "--top", "0"], "outside 1..96"),
        (["figures", "nowhere"], "is not a run directory"),
        (["figures", "{run}", "--format", "gif"], "unknown figure format 'gif'"),
        (["eigengap", "--prompts", "{one}", "--model", "{tiny}"], "at least 2 prompts"),
        (["nonsense"], "No such command"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_line_and_leaves_nothing(
    run_cli, arguments, message, tiny_folder, words, tmp_path, load, request
):
    good = json.dumps({"positive": "a", "negative": "b", "concept": "c"})
    direction = random_direction(load("llama"), Site("resid_post", 1))
    files = {
        "malformed": bad(tmp_path, "m.jsonl", f"{good}\n{{oops\n"),
        "unequal": bad(tmp_path, "u.jsonl", '{"positive": "a", "concept": "c"}\n'),
        "empty": bad(tmp_path, "e.jsonl", '{"positive": "a", "negative": "", "concept": "c"}\n'),
        "one": bad(tmp_path, "one.txt", "w5 w6\n"),
        "tiny": tiny_folder("llama"),
        "words": words,
        "out": tmp_path / "out",
        "good": tmp_path / "good.safetensors",
        "foreign": tmp_path / "foreign.safetensors",
        "narrow": tmp_path / "narrow.safetensors",
        "nan": tmp_path / "nan.safetensors",
        "head": tmp_path / "head.safetensors",
        "caa": tmp_path / "layer_7.pt",
    }
    torch.save(torch.ones(32), files["caa"])
    if "{run}" in arguments:
        files["run"] = request.getfixturevalue("small_run")[0]
    save_directions(files["good"], [direction])
    other = random_direction(load("gpt2"), Site("resid_post", 1))
    save_directions(files["foreign"], [other])
    head = random_direction(load("llama"), Site("z", 1, 0))
    save_directions(files["head"], [head])
    kind = type(head)
    moved = kind(Site("resid_post", 1), head.unit, head.scale, "random", head.provenance)
    save_directions(files["narrow"], [moved])
    raw = bytearray(files["good"].read_bytes())
    raw[-4:] = np.float32(math.nan).tobytes()
    files["nan"].write_bytes(raw)
    before = {p for p in tmp_path.rglob("*") if p.is_file()}
    code, said, errors = run_cli(*(str(a).format(**files) for a in arguments), *(
        ["--out", tmp_path / "out"] if arguments[0] == "report" else []
    ))  # fmt: skip
    assert code == 2
    assert said == ""
    assert errors.count("\n") == 1, errors
    assert errors.startswith("error: ")
    assert message in errors
    assert "Traceback" not in errors
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_fault_of_ours_shows_its_traceback_and_exits_1(run_cli, monkeypatch, small_run):
    import steerscope.report as report

    def fail(run):
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(report, "write_report", fail)
    code, _, errors = run_cli("figures", small_run[0])
    assert code == 1
    assert "Traceback" in errors


def test_help_and_no_command_exit_0(run_cli):
    for arguments in ([], ["--help"], ["report", "--help"]):
        code, said, _ = run_cli(*arguments)
        assert code == 0
        assert "Usage" in said

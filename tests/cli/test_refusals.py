"""How commands refuse what cannot be used, and say what went wrong."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from steerscope.directions import save_directions
from steerscope.sites import Site
from tests.helpers import random_direction


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
        (["sweep", "--out", "{out}", "--max-select", "0"], "max_select is 0"),
        (["sweep", "--out", "{out}", "--layers", "1", "--all-layers"], "--all-layers is not used here"),
        (["report", "--layers", "1", "--all-layers"], "--all-layers is not used here"),
        (["chat", "--model", "{tiny}", "--dose", "3"], "--dose is not used here"),
        (["report", "--model", "{tiny}", "--contrasts", "{words}", "--judge-labels", "terse"], "labelled texts"),
        (["sweep", "--out", "{out}", "--judge-labels", "terse"], "the oracle reads them"),
        (["report", "--out", "{out}", "--max-test", "0"], "max_test is 0"),
        (["vectors", "--out", "{out}", "--method", "pca"], "unknown method 'pca'"),
        (["vectors", "--out", "{out}", "--read", "first"], "write last, mean or an index"),
        (["steer", "--vector", "nowhere", "--prompt", "x"], "no vector file nowhere"),
        (["steer", "--vector", "{foreign}", "--prompt", "w5", "--model", "{tiny}"], "find it again"),
        (["steer", "--vector", "{narrow}", "--prompt", "w5", "--model", "{tiny}"], "has 32 at"),
        (["steer", "--vector", "{nan}", "--prompt", "w5", "--model", "{tiny}"], "is not finite"),
        (["steer", "--vector", "{good}", "--prompt", "w5 " * 70, "--model", "{tiny}"], "context of"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--unit", "x"], "unknown dose unit"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--operator", "x"], "unknown operator"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--site", "q.1"], "unknown site"),
        (["steer", "--vector", "{good}", "--prompt", "w5", "--dose", "nan"], "not a number"),
        (["steer", "--vector", "{words}", "--prompt", "w5"], "ends in '.jsonl'"),
        (["steer", "--vector", "{caa}", "--prompt", "w5", "--model", "{tiny}"], "layers 0 to 2"),
        (["convert", "nowhere", "--out", "{out}.gguf"], "no vector file nowhere"),
        (["convert", "{good}", "--out", "{out}.pt"], "say with --to for which tool"),
        (["convert", "{good}", "--out", "{out}.bin"], "unknown format to write '.bin'"),
        (["convert", "{good}", "--to", "vllm", "--out", "{out}.pt"], "unknown tool to write for"),
        (["convert", "{good}", "--out", "{out}.gguf", "--dose", "0", "--model", "{tiny}"], "dose of 0"),
        (["convert", "{good}", "--out", "{out}.gguf", "--unit", "x"], "unknown dose unit"),
        (["convert", "{head}", "--out", "{out}.gguf", "--model", "{tiny}"], "z.1.h0 has no place"),
        (["vectors", "--out", "{out}", "--gguf", "{out}.gguf", "--stream", "z"], "not at z"),
        (["lens", "--model", "{tiny}"], "either --vector or --prompt"),
        (["lens", "--model", "{tiny}", "--prompt", "w5", "--top", "0"], "outside 1..96"),
        (["sweep", "--out", "{out}", "--unit", "kl"], "unknown dose unit 'kl'"),
        (["vectors", "--out", "{out}.gguf"], "is to hold safetensors, and ends in .gguf"),
        (["bench", "--tasks", "x.csv", "--out", "{out}", "--doses", "1,2"], "neither --vector nor --adapter"),
        (["bench", "--tasks", "x.csv", "--out", "{out}", "--scope", "new"], "no --vector is given"),
        (["calibrate", "--vector", "{good}", "--target", "kl", "--value", "1", "--rounds", "9"], "--rounds is not used"),
        (["calibrate", "--vector", "{good}", "--value", "1", "--instruction", "x"], "says what to reach"),
        (["calibrate", "--vector", "{good}", "--value", "1", "--examples", "2"], "says what to reach"),
        (["calibrate", "--vector", "{good}", "--target", "kl", "--value", "1", "--n-new", "9"], "--n-new is not used"),
        (["calibrate", "--vector", "{good}", "--target", "kl", "--value", "1", "--samples", "3"], "--samples is not"),
        (["calibrate", "--vector", "{good}", "--target", "length", "--judge-url", "x"], "--judge-url is not used"),
        (["bench", "--tasks", "x.csv", "--out", "{out}", "--vector", "{good}", "--doses", "0"], "which is plain"),
        (["chat", "--samples", "3"], "--samples is not used"),
        (["drift", "--vector", "{good}", "--lenses", "{words}", "--no-check", "--out", "{out}"], "No such option"),
        (["tokenizers", "{tiny}", "--out", "{someones}"], "someones"),
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
        "someones": tmp_path / "someones",
    }
    files["someones"].mkdir()
    bad(files["someones"], "notes.txt", "mine")
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


def test_a_seed_may_be_as_large_under_either_of_its_names(run_cli):
    for name in ("--seed", "-s"):
        code, _, errors = run_cli(
            "vectors", name, "3000000000", "--method", "pca", "--out", "x.safetensors"
        )
        assert code == 2
        assert "unknown method 'pca'" in errors

"""Where may be written: a new place or one of our own; never an input, never what is the user's."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from steerscope.directions import export_gguf, save_directions
from steerscope.errors import (
    BadValueError,
    NotFiniteError,
    OutputError,
    RunError,
    UnknownNameError,
)
from steerscope.runs.outputs import check_apart, check_file, check_folder, marked, write_mark
from steerscope.runs.results import check_run_folder
from steerscope.runs.whole_files import whole_file, whole_folder, write_json
from steerscope.sites import Site
from steerscope.studies.steering.measure import run_sweep
from steerscope.studies.steering.plan import SweepPlan
from steerscope.texts.contrasts import load_contrasts
from steerscope.weights.adapter import AdapterDesign, fresh_adapter, merge
from steerscope.weights.places import Place
from tests.helpers import random_direction


def never(_path):
    return False


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_new_file_and_one_of_ours_may_be_written_and_no_other(tmp_path):
    letter = tmp_path / "letter"
    assert check_file(letter, own=never) == letter
    letter.write_text("dear")
    with pytest.raises(OutputError, match="is of something else; choose another name"):
        check_file(letter, own=never)
    check_file(letter, own=lambda _path: True)
    check_file(letter, own=never, force=True)
    with pytest.raises(OutputError, match="it is a folder"):
        check_file(tmp_path, own=never, force=True)


def test_an_input_is_never_written_not_even_by_force(tmp_path):
    letter, link = tmp_path / "letter", tmp_path / "link"
    letter.write_text("dear")
    link.symlink_to(letter)
    for name in (letter, link, tmp_path / "." / "letter"):
        with pytest.raises(OutputError, match="which is read"):
            check_file(
                name, own=lambda _path: True, inputs=[None, "microworld", letter], force=True
            )
    with pytest.raises(OutputError, match="is or holds"):
        check_folder(tmp_path, own=lambda _path: True, inputs=[letter])
    with pytest.raises(OutputError, match="is of .*, which is read"):
        check_file(letter, own=never, inputs=[tmp_path], force=True)
    check_file(letter, own=lambda _path: True, inputs=[tmp_path])
    check_file(tmp_path / "new", own=never, inputs=[tmp_path])


def test_a_new_or_empty_folder_may_be_written_and_no_file(tmp_path):
    check_folder(tmp_path / "new", own=never)
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty", own=never)
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(OutputError, match="is a file"):
        check_folder(tmp_path / "letter", own=never)
    with pytest.raises(OutputError, match="holds something else"):
        check_folder(tmp_path, own=never)


def test_a_signed_folder_is_ours_until_something_is_put_into_it(tmp_path):
    with whole_folder(tmp_path / "f") as unfinished:
        (unfinished / "a").write_text("1")
        write_mark(unfinished, "a thing")
    check_folder(tmp_path / "f", own=marked("a thing"))
    with pytest.raises(OutputError):
        check_folder(tmp_path / "f", own=marked("another thing"))
    (tmp_path / "f" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError):
        check_folder(tmp_path / "f", own=marked("a thing"))


@pytest.mark.parametrize("place", ["/proc/nowhere/out", "{}/letter/below"])
def test_a_place_where_nothing_can_be_written_is_refused_before_anything_is_measured(
    place, tmp_path
):
    (tmp_path / "letter").write_text("dear")
    path = Path(place.format(tmp_path))
    for check in (check_file, check_folder):
        with pytest.raises(OutputError, match=r"cannot write .*choose another place"):
            check(path, own=never)
    with pytest.raises(OutputError, match="cannot write"):
        check_run_folder(path)


def test_two_outputs_have_two_places(tmp_path):
    check_apart(tmp_path / "a", None, tmp_path / "b", None)
    with pytest.raises(OutputError, match="two outputs"):
        check_apart(tmp_path / "a", tmp_path / "x" / ".." / "a")


@pytest.mark.parametrize("whole", [whole_file, whole_folder])
def test_what_fails_half_way_leaves_what_was_there_and_nothing_beside_it(whole, tmp_path):
    before = tmp_path / "out" / "place"
    before.parent.mkdir()
    if whole is whole_file:
        before.write_text("before")
    else:
        before.mkdir()
        (before / "a").write_text("before")
    was = contents(tmp_path)

    def fail():
        with whole(before) as unfinished:
            (unfinished if whole is whole_file else unfinished / "a").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert contents(tmp_path) == was
    with whole(before) as unfinished:
        (unfinished if whole is whole_file else unfinished / "b").write_text("after")
    assert [*contents(tmp_path).values()] == [b"after"]


@pytest.mark.parametrize("write", [save_directions, export_gguf])
def test_vectors_replace_vectors_and_nothing_else(write, tmp_path, load):
    found = [random_direction(load(), Site("resid_post", 1))]
    path = tmp_path / "v"
    path.write_text("dear")
    with pytest.raises(OutputError):
        write(path, found)
    assert path.read_text() == "dear"
    write(path, found, force=True)
    write(path, found)
    with pytest.raises(OutputError):
        write(tmp_path, found)


def test_vectors_and_control_vector_of_one_command_have_two_places(run_cli, tmp_path):
    out = tmp_path / "v"
    code, _, said = run_cli("vectors", "--out", out, "--gguf", out)
    assert code == 2
    assert "two outputs" in said
    assert not contents(tmp_path)


def test_convert_does_not_replace_what_it_reads(run_cli, tmp_path, load):
    path = tmp_path / "v.safetensors"
    save_directions(path, [random_direction(load(), Site("resid_post", 1))])
    was = contents(tmp_path)
    for more in ([], ["--force"]):
        code, _, said = run_cli("convert", path, "--out", path, *more)
        assert code == 2
        assert "which is read" in said
    assert contents(tmp_path) == was


OTHERS = [
    ["vectors", "--out", "{file}"],
    ["vectors", "--out", "{new}", "--gguf", "{file}"],
    ["adapter", "train", "--out", "{file}"],
    ["adapter", "evaluate", "{file}", "--out", "{folder}"],
    ["sae", "features", "microworld", "--out", "{file}"],
    ["sae", "train", "--out", "{folder}"],
    ["sae", "train", "--out", "{file}"],
    ["styles", "--out", "{folder}"],
    ["claims", "check", "--out", "{folder}"],
    ["claims", "store", "layer_sweep", "--out", "{folder}"],
    ["run", "quickstart", "--out", "{folder}"],
    ["report", "--out", "{folder}"],
    ["sweep", "--out", "{folder}"],
    ["weights", "sweep", "--out", "{folder}"],
]


@pytest.mark.parametrize("arguments", OTHERS, ids=lambda a: " ".join(a[:2]) + " " + a[-1])
def test_no_command_writes_into_what_is_of_something_else(
    arguments, run_cli, tmp_path, monkeypatch
):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a").write_text("dear")
    was = contents(tmp_path)
    places = {"file": tmp_path / "letters/a", "folder": tmp_path / "letters", "new": tmp_path / "n"}
    given = [a.format(**places) for a in arguments]
    # Refused before a model is loaded, but for those whose run is checked with all it names.
    if arguments[0] in {"vectors", "adapter", "sae", "styles", "claims", "run"}:
        monkeypatch.setattr("steerscope.models.loading.load_model", None)
    code, _, said = run_cli(*given)
    assert code == 2, said
    assert contents(tmp_path) == was


def test_a_model_is_merged_into_a_folder_of_its_own(tiny_folder, tmp_path, load, words):
    source = tiny_folder("llama")
    design = AdapterDesign(matrices=(Place("down", 1),), rank=4)
    adapter = fresh_adapter(load(), design, load_contrasts(words))
    was = contents(source)
    with pytest.raises(OutputError, match="which is read"):
        merge(source, adapter, 1.0, source)
    for coefficient in (float("nan"), float("inf")):
        with pytest.raises(BadValueError, match="finite"):
            merge(source, adapter, coefficient, tmp_path / "m")
    turned = adapter.with_parameters(
        {m: {n: t + 1 for n, t in part.items()} for m, part in adapter.parameters.items()}
    )
    with pytest.raises(NotFiniteError):
        merge(source, turned, 1e9, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    assert contents(source) == was
    merge(source, adapter, 1.0, tmp_path / "m")
    first = contents(tmp_path / "m")
    merge(source, adapter, 1.0, tmp_path / "m")
    assert contents(tmp_path / "m") == first
    (tmp_path / "m" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="something else"):
        merge(source, adapter, 1.0, tmp_path / "m")


def test_evidence_is_looked_for_before_anything_is_replaced(run_cli, tmp_path):
    out = tmp_path / "evidence"
    (out / "runs").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (tmp_path / "runs").mkdir()
    was = contents(tmp_path)
    for place in (out, tmp_path / "runs", tmp_path / "new"):
        code, _, said = run_cli(
            "claims", "store", "layer_sweep", "--runs", tmp_path / "runs", "--out", place
        )
        assert code == 2, said
        assert contents(tmp_path) == was


def test_a_long_list_of_known_names_is_cut_to_the_nearest():
    known = [f"name-{i:03}" for i in range(200)]
    said = str(UnknownNameError("thing", "name-042x", known))
    assert "Did you mean 'name-042'?" in said
    assert "and 192 more" in said
    assert len(said) < 300
    assert ", ".join(known[:20]) in str(UnknownNameError("thing", "other", known[:20]))


def test_a_disk_that_refuses_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunError, match="cannot write"),
        whole_folder(tmp_path / "file" / "x" / "y") as unfinished,
    ):
        (unfinished / "a").write_text("1")
    assert json.dumps(contents(tmp_path), default=str) == '{"file": "b\'\'"}'


def test_prompts_of_one_token_are_refused_before_anything_is_measured(tiny_folder, words, tmp_path):
    plan = SweepPlan(
        model=str(tiny_folder("llama")), contrasts=str(words), bos="never", layers=(1,), n_new=2
    )
    with pytest.raises(
        BadValueError, match="no token but position 0; use longer prompts, or --bos"
    ):
        run_sweep(plan, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_keys_that_do_not_vary_cost_a_run_nothing_but_its_eigengap(tiny_folder, tmp_path):
    pairs = [
        {"positive": f"w{i} w5 w6", "negative": f"w{i} w5 w8", "concept": "c"}
        for i in range(10, 22)
    ]
    (tmp_path / "same.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    plan = SweepPlan(
        model=str(tiny_folder("llama")), contrasts=str(tmp_path / "same.jsonl"), bos="never",
        layers=(1,), doses=(1.0,), n_new=2, max_select=1,
    )  # fmt: skip
    methods = set(run_sweep(plan, tmp_path / "run").table().method)
    assert "mean_diff" in methods
    assert "eigengap" not in methods


def test_what_is_written_as_json_every_parser_takes(tmp_path):
    path = tmp_path / "a" / "numbers.json"
    write_json(path, {"x": [math.nan, (1.5, -math.inf)], "y": {"z": np.float64("inf"), "w": "NaN"}})
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert found == {"x": [None, [1.5, None]], "y": {"z": None, "w": "NaN"}}

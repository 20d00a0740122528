"""The tools: vectors, steering, lens and eigengap, run as a stranger would."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file

from steerscope.cli.options import Talk, Trying, typed
from steerscope.cli.shared import parse_layers
from steerscope.directions import import_directions, import_gguf, load_directions, save_directions
from steerscope.doses import Dose
from steerscope.engine.calibration import calibrate
from steerscope.engine.generation import generate
from steerscope.errors import BadValueError
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import parse_strength
from tests.helpers import random_direction


def test_options_are_typed_again_where_they_are_not_usual():
    assert typed(Talk(), Trying(), {"seed": (0, 0)}) == ""
    talk = Talk(chat=True, system="it's", template=["a=1", "b c=2"])
    words = shlex.split(
        typed(talk, Trying(bos="never", check=False), {"text": ("my file", "usual")})
    )
    assert words == [
        "--chat", "--system", "it's", "--template", "a=1", "--template", "b c=2", "--bos", "never",
        "--no-check", "--text", "my file",
    ]  # fmt: skip


def test_layers_are_spans_and_lists():
    assert parse_layers("0-3") == (0, 1, 2, 3)
    assert parse_layers("5,1-2,1") == (5, 1, 2)
    assert parse_layers(None) is None
    for bad in ("3-1", "a", "1,,2", "-1"):
        with pytest.raises(BadValueError, match="write them as 0-7"):
            parse_layers(bad)


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
    cells = [Cell(), Cell((Steering(direction, Dose(1.0)),))]  # the batch of the command
    _, [expected] = generate(load("llama"), ["w20 w21"], cells, n_new=6)
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


def test_a_file_with_a_direction_per_layer_is_one_control_vector(
    run_cli, tiny_folder, load, tmp_path
):
    model = load("llama")
    directions = [random_direction(model, Site("resid_post", i), seed=i) for i in (0, 1, 2)]
    save_directions(tmp_path / "v.safetensors", directions)
    steer = ["steer", "--model", tiny_folder("llama"), "--vector", tmp_path / "v.safetensors"]
    steer += ["--prompt", "w20 w21", "--n-new", 6, "--temperature", 0, "--dose", 2, "--json"]
    named = ("resid_post.0", "model.layers.2")
    for sites, wanted in (([], directions), (named, [directions[0], directions[2]])):
        options = [part for site in sites for part in ("--site", site)]
        code, said, errors = run_cli(*steer, *options)
        assert code == 0, errors
        cells = [Cell(), Cell(tuple(Steering(d, Dose(2.0)) for d in wanted))]
        _, [expected] = generate(model, ["w20 w21"], cells, n_new=6)
        result = json.loads(said)
        assert result["continuations"][0]["steered"] == expected.text
        assert result["steering"]["layers"] == ("0-2" if not sites else "0,2")
    again = random_direction(model, Site("resid_post", 1), seed=9)
    crowded = [*directions, dataclasses.replace(again, method="other")]
    save_directions(tmp_path / "v.safetensors", crowded)
    code, _, errors = run_cli(*steer)
    assert code == 2
    assert "2 directions at resid_post.1, so it is no control vector as a whole" in errors


def test_of_several_directions_at_a_site_one_is_named_and_none_taken_unsaid(
    run_cli, tiny_folder, load, tmp_path
):
    model, site = load("llama"), Site("resid_post", 1)
    null = random_direction(model, site, seed=3)
    nulls = [
        dataclasses.replace(null, provenance=dataclasses.replace(null.provenance, seed=seed))
        for seed in (0, 1)
    ]
    found = dataclasses.replace(random_direction(model, site, seed=4), method="mean_diff")
    found = dataclasses.replace(found, provenance=dataclasses.replace(found.provenance, seed=None))
    file = tmp_path / "v.safetensors"
    for more in ([], [random_direction(model, Site("resid_post", 2), seed=5)]):
        save_directions(file, [*nulls, found, *more])
        steer = ["steer", "--model", tiny_folder("llama"), "--vector", file, "--prompt", "w20 w21"]
        steer += ["--n-new", 6, "--temperature", 0, "--dose", 30, "--json"]
        lens = ["lens", "--model", tiny_folder("llama"), "--vector", file]
        for command in (steer, lens):
            for site_given in ([], ["--site", "resid_post.1"]):
                code, _, errors = run_cli(*command, *site_given)
                assert code == 2
                assert "3 directions at resid_post.1" in errors
            advised = re.search(r"such as (\S+)", errors)[1]
            code, _, errors = run_cli(*command, "--site", advised)
            assert code == 0, errors
        for name, direction in (("mean_diff@resid_post.1", found), (nulls[1].label, nulls[1])):
            code, said, errors = run_cli(*steer, "--site", name)
            assert code == 0, errors
            cells = [Cell(), Cell(Steering(direction, 30.0))]
            _, [expected] = generate(model, ["w20 w21"], cells, n_new=6)
            assert json.loads(said)["continuations"][0]["steered"] == expected.text
        for unknown in ("other@resid_post.1", f"{null.method}@resid_post.1#7"):
            code, _, errors = run_cli(*steer, "--site", unknown)
            assert code == 2
            assert "unknown direction in this vector file" in errors


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
    share = parse_strength("0.5*ramp:4")
    found_again = calibrate(load("llama"), direction, 0.3, prompt, scope=scope, strength=share)
    expected = found_again.absolute
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
    assert code == 2
    assert "are the concept's own" in errors
    other = tmp_path / "other.jsonl"
    other.write_text(words.read_text().replace("w6", "w16"))
    code, _, errors = run_cli(*common, "--method", "other_concept", "--other", other, "--out", file)
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


@pytest.mark.parametrize(
    ("scope", "inside"),
    [("all", True), ("generated", False), ("from_token:21", True), ("from_token:40", False)],
)
def test_no_kl_is_told_of_a_prompt_that_no_scope_holds(
    run_cli, load, tiny_folder, tmp_path, scope, inside
):
    file = tmp_path / "v.safetensors"
    save_directions(file, [random_direction(load("llama"), Site("resid_post", 1))])
    code, said, _ = run_cli(
        "steer", "--model", tiny_folder("llama"), "--vector", file, "--dose", 30, "--scope", scope,
        "--prompt", "w20 w21 w22", "--n-new", 3, "--temperature", 0,
    )  # fmt: skip
    assert code == 0
    assert ("none is in scope; in what is written it is not measured" in said) is not inside
    assert ("0.000 nats" in said) is not inside


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

"""Files for other tools, each read back by that tool's rules, or by the tool where it is installed."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import torch

from steerscope.directions.exports import FORMATS, export_directions
from steerscope.doses import Dose
from steerscope.errors import (
    BadValueError,
    OutputError,
    UnknownNameError,
    UnsupportedSiteError,
    VectorFileError,
)
from steerscope.models.block_paths import block_paths
from steerscope.sites import Site
from steerscope.steering.interventions import Steering, steer
from steerscope.steering.scopes import Scope
from tests.helpers import random_direction

LAYERS = (0, 2)
DOSE = Dose(1.5, "natural")


@pytest.fixture
def directions(load):
    return [random_direction(load(), Site("resid_post", i), seed=i) for i in LAYERS]


def steered_logits(model, directions, ids):
    moved = [Steering(d, DOSE, scope=Scope.everywhere()) for d in directions]
    with steer(model, *moved):
        return model.forward(torch.tensor([ids]))


@pytest.mark.parametrize(
    ("family", "first"), [("llama", "layers.0"), ("gpt2", "h.0"), ("neox", "layers.0")]
)
def test_blocks_are_named_as_transformers_names_them(tiny_folder, family, first):
    paths = block_paths(str(tiny_folder(family)))
    assert paths[0] == first
    assert len(paths) == 3


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_lm_eval_steers_with_the_file_as_steerscope_does(load, tiny_folder, tmp_path, family):
    pytest.importorskip("lm_eval", reason="needs steerscope[bench]")
    from lm_eval.models.hf_steered import SteeredModel

    model, path = load(family), tmp_path / "vector.pt"
    moved = [random_direction(model, Site("resid_post", i), seed=i) for i in LAYERS]
    blocks = block_paths(str(tiny_folder(family)))
    export_directions(path, moved, to="lm-eval", blocks=blocks, dose=DOSE)
    theirs = SteeredModel(
        pretrained=str(tiny_folder(family)), steer_path=str(path), device="cpu", dtype="float32"
    )
    ids = model.tokens("w5 w6 w7 w8")
    expected = steered_logits(model, moved, ids)
    torch.testing.assert_close(
        theirs._model_call(torch.tensor([ids])), expected, rtol=1e-4, atol=1e-4
    )
    plain = model.forward(torch.tensor([ids]))
    assert float((plain - expected).abs().max()) > 0.01


def test_the_file_of_lm_eval_holds_what_its_rules_ask_for(directions, tmp_path):
    path = tmp_path / "vector.pt"
    export_directions(path, directions, to="lm-eval", blocks=["h.0", "h.1", "h.2"], dose=DOSE)
    found = torch.load(path, weights_only=True)
    assert list(found) == ["h.0", "h.2"]
    for direction, entry in zip(directions, found.values(), strict=True):
        assert entry["action"] == "add"
        assert entry["bias"] is None  # the tool refuses one beside `add`
        added = entry["steering_vector"] * float(entry["steering_coefficient"])
        torch.testing.assert_close(added, direction.unit * DOSE.absolute(direction.scale))


def test_hotwire_finds_each_block_in_its_row(directions, tmp_path):
    path = tmp_path / "joy.pt"
    found = export_directions(path, directions, to="hotwire", blocks=["a"] * 3, dose=DOSE)
    read = torch.load(path, map_location="cpu", weights_only=True)
    rows = next(v for v in read.values() if isinstance(v, torch.Tensor))  # the first tensor wins
    assert rows.shape == (3, len(directions[0].unit))
    for direction in directions:
        expected = direction.unit * DOSE.absolute(direction.scale)
        torch.testing.assert_close(rows[direction.site.layer], expected)
    assert not bool(rows[1].any())
    said = json.loads(found.use.split("hotwire = ")[1])
    assert said == [{"id": "joy", "layer": i, "scale": 1.0} for i in LAYERS]
    assert found.use.startswith(f"HOTWIRE_VECTORS={path} ")


def test_vllm_lens_reads_activations_by_layer(directions, tmp_path):
    path = tmp_path / "joy.json"
    export_directions(path, directions, to="vllm-lens", blocks=["a"] * 3, dose=DOSE)
    said = json.loads(path.read_text())
    packed = said["activations"]
    assert "compression" not in packed  # as it is then read: no zstd
    raw = base64.b64decode(packed["data"])
    rows = np.frombuffer(raw, dtype=np.dtype(packed["dtype"])).reshape(packed["shape"])
    assert rows.ndim == 2
    assert rows.shape[0] == len(said["layer_indices"])
    assert said["layer_indices"] == list(LAYERS)
    assert (said["scale"], said["norm_match"], said["position_indices"]) == (1.0, False, None)
    for row, direction in zip(rows, directions, strict=True):
        expected = direction.unit * DOSE.absolute(direction.scale)
        np.testing.assert_allclose(row, expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize("to", FORMATS)
def test_every_file_says_what_it_cannot_carry_and_is_known_as_ours(directions, tmp_path, to):
    path = tmp_path / f"vector{FORMATS[to].suffix}"
    found = export_directions(path, directions, to=to, blocks=["a", "b", "c"])
    for word in ("scope", "gates", "operators", "model"):
        assert any(lost.startswith((word, f"the {word}")) for lost in found.lost), word
    assert FORMATS[to].is_ours(path)
    export_directions(path, directions, to=to, blocks=["a", "b", "c"])  # ours is replaced
    path.write_text("mine")
    with pytest.raises(OutputError):
        export_directions(path, directions, to=to, blocks=["a", "b", "c"])


def test_what_has_no_place_in_such_a_file_is_refused(load, directions, tmp_path):
    path, blocks = tmp_path / "vector.pt", ["a", "b", "c"]
    other = random_direction(load(), Site("mlp_out", 1))
    with pytest.raises(UnsupportedSiteError, match="no place in a file of hotwire"):
        export_directions(path, [other], to="hotwire", blocks=blocks)
    with pytest.raises(VectorFileError, match="two directions at block 0"):
        export_directions(path, [directions[0]] * 2, to="lm-eval", blocks=blocks)
    with pytest.raises(VectorFileError, match=r"reads \.json files"):
        export_directions(path, directions, to="vllm-lens", blocks=blocks)
    with pytest.raises(UnknownNameError, match="tool"):
        export_directions(path, directions, to="vllm", blocks=blocks)
    with pytest.raises(BadValueError, match="does nothing"):
        export_directions(path, directions, to="lm-eval", blocks=blocks, dose=Dose(0.0))
    assert not path.exists()


def test_the_command_writes_one_and_says_what_is_lost(
    run_cli, load, tiny_folder, directions, tmp_path
):
    from steerscope.directions import save_directions

    source, out = tmp_path / "ours.safetensors", tmp_path / "theirs.pt"
    save_directions(source, directions)
    model = ["--model", tiny_folder("llama")]
    code, said, _ = run_cli(
        "convert", source, *model, "--to", "lm-eval", "--dose", 1.5, "--out", out
    )
    assert code == 0
    assert "strength 1 = +1.5 natural" in said
    assert "not carried, scope" in said
    assert list(torch.load(out, weights_only=True)) == ["layers.0", "layers.2"]
    code, _, errors = run_cli("convert", source, *model, "--out", tmp_path / "which.pt")
    assert code == 2
    assert "lm-eval, hotwire" in errors

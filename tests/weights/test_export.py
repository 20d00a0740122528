"""An edited model as a folder: it is the model under the edit, and no other."""

from __future__ import annotations

import warnings

import pytest
import torch

from steerscope.errors import BackboneWarning, BadValueError
from steerscope.models.loading import load_model
from steerscope.steering.interventions import steer
from steerscope.weights.adapter import merge
from steerscope.weights.adapter.fixed import FixedEdit
from steerscope.weights.weight_edit import WeightEdit

PLACES = "down:0:0.3,down:1-2:-0.2"


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_exported_model_is_the_edited_one(load, tiny_folder, tmp_path, family):
    model, edit = load(family), WeightEdit.parse("power", PLACES)
    ids = torch.tensor([model.tokens("w5 w6 w7 w8")])
    plain = model.forward(ids)
    with steer(model, edit):
        expected = model.forward(ids)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackboneWarning)
        source = load_model(tiny_folder(family), check=False)
        merge(tiny_folder(family), FixedEdit(edit, source), 1.0, tmp_path / "out")
        found = load_model(tmp_path / "out").forward(ids)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert float((found - plain).abs().max()) > 1e-3
    assert torch.equal(model.forward(ids), plain)


def test_an_edit_is_made_whole_or_not_at_all(load):
    fixed = FixedEdit(WeightEdit.parse("gain", "down:1:0.3"), load("llama"))
    assert fixed.deltas(0) == {}
    assert [str(place) for place in fixed.deltas(1)] == [str(p) for p in fixed.matrices]
    with pytest.raises(BadValueError, match="made whole"):
        fixed.deltas(0.5)


def test_the_command_writes_a_model_and_refuses_what_needs_pairs(run_cli, tiny_folder, tmp_path):
    model = ["--model", tiny_folder("llama")]
    code, said, errors = run_cli("weights", "export", PLACES, *model, "--out", tmp_path / "out")
    assert code == 0, errors
    assert "power down.0:+0.3" in said
    assert load_model(tmp_path / "out").shape == load_model(tiny_folder("llama")).shape
    code, _, errors = run_cli(
        "weights", "export", "down:1:1", *model, "--edit", "deflate", "--out", tmp_path / "no"
    )
    assert code == 2
    assert "looks at pairs" in errors

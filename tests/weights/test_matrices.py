"""The weight matrices of a block: one meaning on every backbone and architecture."""

from __future__ import annotations

import pytest
import torch

from steerscope.errors import ModelLoadError, UnknownNameError, UnsupportedWeightError
from steerscope.models.matrices import WEIGHTS, weight_matrix
from steerscope.sites import Site
from tests.helpers import FAMILIES, count_hooks

TOKENS = torch.tensor([[1, 5, 7, 9, 11], [1, 4, 6, 8, 10]])


def noise(like, scale=0.1):
    return scale * torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


def matrices(model):
    """The weights of block 1 that the model has, by name."""
    found = {}
    for name in WEIGHTS:
        if name == "gate" and not model.has(Site("mlp_pre_linear", 1)):
            continue
        found[name] = weight_matrix(model, name, 1)
    return found


def try_load(load, family, backbone):
    try:
        return load(family, backbone)
    except ModelLoadError:
        pytest.skip("no such backbone for this architecture")


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
@pytest.mark.parametrize("family", [*FAMILIES, "opt"])
def test_replacing_the_numbers_is_adding_the_change_and_both_leave_no_trace(load, family, backbone):
    model = try_load(load, family, backbone)
    plain, hooks = model.forward(TOKENS), count_hooks(model)
    for name, matrix in matrices(model).items():
        before, weight = matrix.checksum, matrix.read()
        change = noise(weight)
        with matrix.replaced(weight + change):
            replaced = model.forward(TOKENS)
        row = torch.tensor([1])
        with matrix.adding(lambda x, change=change, row=row: (row, x[row] @ change)):
            added = model.forward(TOKENS)
        assert torch.equal(added[0], plain[0]), name
        assert not torch.allclose(added[1], plain[1], atol=1e-3), name
        torch.testing.assert_close(added[1], replaced[1], atol=1e-4, rtol=1e-4)
        assert matrix.checksum == before
    assert torch.equal(model.forward(TOKENS), plain)
    assert count_hooks(model) == hooks


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "phi3", "neox"])
def test_both_backbones_show_the_same_matrices_and_mean_the_same_by_them(load, family):
    hooked, bridge = load(family, "hooked"), load(family, "bridge")
    ours, theirs = matrices(hooked), matrices(bridge)
    assert list(ours) == list(theirs)
    for name in ours:
        weight = ours[name].read()
        torch.testing.assert_close(weight, theirs[name].read())
        assert ours[name].gain_cancels == theirs[name].gain_cancels
        logits = []
        for model, matrix in ((hooked, ours[name]), (bridge, theirs[name])):
            with matrix.replaced(weight + noise(weight)):
                logits.append(model.forward(TOKENS))
        torch.testing.assert_close(*logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("family", "cancelling"),
    [
        ("llama", ""),
        ("gpt2", ""),
        ("qwen3", "q k"),
        ("gemma3", "q k v o up down"),
        ("llama4", "q k"),
        ("bitnet", "v gate up"),
    ],
)
def test_a_gain_cancels_where_a_norm_follows(load, family, cancelling):
    model = load(family, "bridge")
    plain = model.forward(TOKENS)
    for name, matrix in matrices(model).items():
        assert matrix.gain_cancels == (name in cancelling.split()), name
        with matrix.replaced(1.5 * matrix.read()):
            same = torch.allclose(model.forward(TOKENS), plain, atol=2e-2)
        assert same == matrix.gain_cancels, name


def test_queries_that_come_with_their_gates_are_no_matrix_of_queries(load):
    model = load("qwen3_5", "bridge")
    with pytest.raises(UnsupportedWeightError, match="makes their gates as well"):
        weight_matrix(model, "q", 1)
    assert weight_matrix(model, "k", 1).gain_cancels


def test_what_reads_the_input_of_a_matrix_comes_after_a_later_hook(load):
    model = load("llama", "hooked")
    matrix = weight_matrix(model, "down", 1)
    change = noise(matrix.read())
    twice = Site("mlp_post", 1)
    with matrix.replaced(matrix.read() + change), model.hook(twice, lambda x: 2 * x):
        wanted = model.forward(TOKENS)
    with matrix.adding(lambda x: (None, x @ change)), model.hook(twice, lambda x: 2 * x):
        torch.testing.assert_close(model.forward(TOKENS), wanted, atol=1e-4, rtol=1e-4)


def test_grouped_heads_come_once(load):
    model = load("llama", "hooked")
    assert weight_matrix(model, "k", 0).read().shape == (32, 16)
    assert weight_matrix(model, "q", 0).read().shape == (32, 32)


def test_what_a_model_lacks_is_refused_by_name(load):
    model = load("gpt2", "hooked")
    with pytest.raises(UnknownNameError, match="down"):
        weight_matrix(model, "dwon", 0)
    with pytest.raises(UnsupportedWeightError, match="blocks 0 to 2"):
        weight_matrix(model, "down", 3)
    with pytest.raises(UnsupportedWeightError, match="gate of block 0"):
        weight_matrix(model, "gate", 0)
    with pytest.raises(UnsupportedWeightError, match="q of block 0"):
        weight_matrix(load("lfm2", "bridge"), "q", 0)


def test_a_weight_that_two_blocks_share_is_refused(load):
    model = load("llama", "bridge")
    blocks = model.transformer.blocks
    component = blocks[0].mlp.out.original_component
    own, other = component.weight, blocks[2].mlp.out.original_component.weight
    component.weight = other
    try:
        with pytest.raises(UnsupportedWeightError, match="shared"):
            weight_matrix(model, "down", 0)
    finally:
        component.weight = own
    assert weight_matrix(model, "down", 0).parameter is own

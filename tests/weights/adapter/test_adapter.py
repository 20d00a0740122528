"""Identities of the SVD adapter: what turns, what stays, and what it is in the grid engine."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from steerscope.engine.generation import generate
from steerscope.engine.score import kl_from_plain
from steerscope.errors import (
    BadValueError,
    UnknownNameError,
    UnsupportedWeightError,
    VectorMismatchError,
)
from steerscope.models.matrices import check_weight, weight_matrix
from steerscope.sites import Site
from steerscope.steering.interventions import (
    Cell,
    Intervention,
    Rows,
    Steering,
    steer,
)
from steerscope.steering.one_batch import attach_cells
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from steerscope.weights.adapter import Adapted, AdapterDesign, factorise, fresh_adapter
from steerscope.weights.adapter.cayley import bounded, cayley, largest_angle, skew
from steerscope.weights.places import Place
from tests.helpers import count_hooks, random_direction, rounding
from tests.same_text import assert_same_texts

PAIRS = ContrastSet(
    "made up",
    tuple(ContrastPair(f"w{i} w10 w{i + 3}", f"w{i} w20 w{i + 3}", "w") for i in range(30, 42)),
)
TOKENS = torch.tensor([[1, 7, 30, 12, 55], [1, 8, 9, 40, 61]])
ALL = tuple(Place(n, 1) for n in ("q", "k", "v", "o", "gate", "up", "down"))


def trained(model, design, seed=0):
    """An adapter with random numbers in place of trained ones."""
    generator = torch.Generator().manual_seed(seed)
    adapter = fresh_adapter(model, design, PAIRS)
    return adapter.with_parameters(
        {
            m: {n: torch.randn(t.shape, generator=generator) for n, t in part.items()}
            for m, part in adapter.parameters.items()
        }
    )


@pytest.fixture(scope="module")
def adapter(load):
    return trained(load(), AdapterDesign(matrices=ALL, rank=6, turn="both"))


def test_cayley_is_a_rotation_that_turns_back_with_its_sign():
    generator = torch.Generator().manual_seed(0)
    matrix = skew(torch.randn(45, dtype=torch.float64, generator=generator), 10)
    off = rounding(10_000, 1.0, torch.float64)
    forth, back = cayley(matrix), cayley(-matrix)
    identity = torch.eye(10, dtype=torch.float64)
    assert float((forth @ forth.T - identity).abs().max()) < off
    assert float((back @ forth - identity).abs().max()) < off
    torch.testing.assert_close(back, forth.T)
    assert torch.linalg.det(forth) == pytest.approx(1)
    assert torch.equal(cayley(torch.zeros(4, 4)), torch.eye(4))


def test_cayley_of_one_plane_is_the_rotation_by_twice_the_arctangent_of_half():
    turn = cayley(skew(torch.tensor([0.8], dtype=torch.float64), 2))
    angle = 2 * math.atan(0.4)
    expected = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    torch.testing.assert_close(turn, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("rank", [2, 3, 16])
def test_no_plane_turns_further_than_the_bound(size, rank):
    generator = torch.Generator().manual_seed(rank)
    upper = size * torch.randn(rank * (rank - 1) // 2, dtype=torch.float64, generator=generator)
    angle = largest_angle(cayley(bounded(skew(upper, rank), 0.7)))
    assert angle < 0.7 + 1e-9
    if size > 1000:
        assert angle > 0.69  # the bound is reached, so that it is no tighter than it says


@pytest.mark.parametrize("columns", ["singular", "data"])
def test_the_chosen_triples_and_the_residual_are_the_weight_to_the_last_bit(columns):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, 20, generator=generator)
    data = torch.randn(9, 20, generator=generator) if columns == "data" else None
    factors = factorise(weight, 5, where="w", differences=data)
    assert torch.equal((factors.part() + factors.residual(weight)).float(), weight)
    left = torch.linalg.svdvals(factors.residual(weight))
    assert int((left > 1e-5).sum()) == 12 - 5  # the residual holds the other triples alone
    torch.testing.assert_close(factors.inputs.T @ factors.inputs, torch.eye(5))
    torch.testing.assert_close(factors.outputs.T @ factors.outputs, torch.eye(5))


def test_the_data_choose_the_triple_that_tells_the_classes_apart():
    generator = torch.Generator().manual_seed(0)
    u, s, vt = torch.linalg.svd(torch.randn(10, 8, generator=generator), full_matrices=False)
    weight = (u * s) @ vt
    differences = torch.randn(30, 1, generator=generator) * vt[6] * s[6]
    found = factorise(weight, 1, where="w", differences=differences)
    assert abs(float(found.outputs[:, 0] @ vt[6])) > 0.999


@pytest.mark.parametrize("coefficient", [-2.0, -1.0, 0.0, 0.5, 2.0])
def test_a_fresh_adapter_leaves_the_logits_bit_equal(tiny, coefficient):
    fresh = fresh_adapter(tiny, AdapterDesign(matrices=ALL, rank=6, turn="both"), PAIRS)
    before = tiny.forward(TOKENS)
    with steer(tiny, Adapted(fresh, coefficient)):
        assert torch.equal(tiny.forward(TOKENS), before)


def test_an_adapter_at_zero_touches_nothing(tiny, adapter):
    before, hooks = tiny.forward(TOKENS), count_hooks(tiny)
    with steer(tiny, Adapted(adapter, 0.0)):
        assert count_hooks(tiny) == hooks
        assert torch.equal(tiny.forward(TOKENS), before)
    assert Adapted(adapter, 0.0).first_block(4) is None
    assert Adapted(adapter, 0.1).first_block(4) == 1


@pytest.mark.parametrize("scaling", ["exp", "add", "tanh", "none"])
def test_the_change_of_a_weight_is_what_the_definition_says(load, scaling):
    design = AdapterDesign(
        matrices=(Place("down", 1),), rank=5, turn="both", scaling=scaling, columns="singular"
    )
    adapter = trained(load(), design)
    factors, numbers = adapter.factors[Place("down", 1)], adapter.parameters[Place("down", 1)]
    c, s = 0.7, factors.values.double()
    scale = numbers.get("scale", torch.zeros(5)).double()
    values = {
        "exp": s * torch.exp(c * scale),
        "add": s + c * scale,
        "tanh": s + c * torch.tanh(scale) * s,
        "none": s,
    }[scaling]
    identity = torch.eye(5, dtype=torch.float64)
    turned = []
    for name in ("turn_inputs", "turn_outputs"):
        a = torch.zeros(5, 5, dtype=torch.float64)
        a[tuple(torch.triu_indices(5, 5, 1))] = numbers[name].double()
        a = a - a.T
        largest = float(torch.linalg.eigvals(a).abs().max())
        a = c * a / math.sqrt(1 + (largest / (2 * math.tan(0.5))) ** 2)
        turned.append(torch.linalg.inv(identity - a / 2) @ (identity + a / 2))
    v, u = factors.inputs.double() @ turned[0], factors.outputs.double() @ turned[1]
    expected = (v * values) @ u.T - factors.part()
    found = adapter.deltas(c)[Place("down", 1)].dense.double()
    off = rounding(40, float((v.abs() * values.abs()).max()))  # its numbers are float32
    torch.testing.assert_close(found, expected, atol=off, rtol=0)


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
@pytest.mark.parametrize("name", ["q", "k", "v", "o", "gate", "up", "down"])
def test_every_matrix_is_changed_as_if_its_weight_were(load, tiny_folder, backbone, name):
    """Against a model whose weights were overwritten."""
    model = load("llama", backbone)
    change = trained(model, AdapterDesign(matrices=(Place(name, 1),), rank=4))
    from steerscope.models.loading import load_original
    from steerscope.weights.adapter.merge import apply

    original = load_original(tiny_folder("llama"))
    torch.testing.assert_close(original.weight(name, 1), weight_matrix(model, name, 1).read())
    apply(original, change, 1.0)
    with steer(model, Adapted(change, 1.0)):
        found = model.forward(TOKENS)
    expected = original.network(TOKENS).logits
    assert float((found - model.forward(TOKENS)).abs().max()) > 1e-3
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


def test_it_is_an_intervention_with_the_labels_of_a_row(adapter):
    made = Adapted(adapter, 0.5)
    assert isinstance(made, Intervention)
    assert made.labels()["dose_natural"] == 0.5
    assert made.labels()["stream"] == "q+k+v+o+gate+up+down"


def test_a_cell_of_a_grid_is_the_cell_alone(tiny, adapter):
    direction = random_direction(tiny, Site("resid_post", 0))
    from steerscope.doses import Dose

    cells = [
        Cell((Adapted(adapter, 1.0),)),
        Cell(),
        Cell((Steering(direction, Dose(1.0, "natural")), Adapted(adapter, -1.0))),
        Cell((Adapted(adapter, 0.3),)),
    ]
    prompts = ["w3 w4 w5", "w7 w8 w9 w11"]
    together = generate(tiny, prompts, cells, n_new=6)
    for cell, found in zip(cells, together, strict=True):
        alone = generate(tiny, prompts, [cell], n_new=6, use_cache=False)
        assert_same_texts(tiny, (prompts, [cell]), [found], alone)
    nats = kl_from_plain(tiny, prompts, cells)
    assert float(nats[1].max()) < rounding(96, 1.0)  # a sum over the vocabulary
    for cell, found in zip(cells, nats, strict=True):
        torch.testing.assert_close(found, kl_from_plain(tiny, prompts, [cell])[0])


def test_rows_of_others_stay_bit_equal(tiny, adapter):
    before = tiny.forward(TOKENS)
    with attach_cells(tiny, [(Cell((Adapted(adapter, 1.0),)), Rows(torch.tensor([1])))]):
        after = tiny.forward(TOKENS)
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1])


def test_after_an_exception_all_is_as_before(tiny, adapter):
    before, hooks = tiny.forward(TOKENS), count_hooks(tiny)
    weights = {n: t.clone() for n, t in tiny.transformer.state_dict().items()}
    with (  # noqa: PT012 - the middle is the point
        pytest.raises(RuntimeError, match="in the middle"),
        steer(tiny, Adapted(adapter, 1.0)),
    ):
        tiny.forward(TOKENS)
        raise RuntimeError("in the middle")
    assert count_hooks(tiny) == hooks
    assert torch.equal(tiny.forward(TOKENS), before)
    assert all(torch.equal(t, weights[n]) for n, t in tiny.transformer.state_dict().items())


def test_negating_an_adapter_turns_its_coefficient_round(adapter):
    for matrix in adapter.matrices:
        torch.testing.assert_close(adapter.negated().core(matrix, 0.7), adapter.core(matrix, -0.7))


def test_what_cannot_be_is_refused_by_name(load, adapter):
    down = (Place("down", 1),)
    with pytest.raises(BadValueError, match=r"rank 33 for down.1.*between 1 and 32"):
        fresh_adapter(load(), AdapterDesign(matrices=down, rank=33), PAIRS)
    with pytest.raises(UnsupportedWeightError, match="gate of block 1.*no such matrix"):
        fresh_adapter(load("gpt2"), AdapterDesign(matrices=(Place("gate", 1),)), PAIRS)
    with pytest.raises(UnsupportedWeightError, match="blocks 0 to 2; choose"):
        fresh_adapter(load(), AdapterDesign(matrices=(Place("down", 9),)), PAIRS)
    with pytest.raises(VectorMismatchError, match="train it again"):
        steer(load("gpt2"), Adapted(adapter, 1.0)).__enter__()
    with pytest.raises(UnknownNameError, match="weight 'sideways'"):
        check_weight("sideways")
    with pytest.raises(UnknownNameError, match="scaling 'log'"):
        AdapterDesign(matrices=down, scaling="log")
    with pytest.raises(BadValueError, match="changes nothing"):
        AdapterDesign(matrices=down, turn="none", scaling="none")
    with pytest.raises(BadValueError, match="between 0 and π"):
        AdapterDesign(matrices=down, angle=4.0)
    with pytest.raises(BadValueError, match="finite"):
        Adapted(replace(adapter), math.nan)

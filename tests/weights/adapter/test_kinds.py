"""Every kind of adapter: nothing at c = 0, peft's own weights at c = 1, saved, loaded, merged."""

from __future__ import annotations

import math

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from steerscope.engine.generation import generate
from steerscope.errors import BadValueError, UnsupportedWeightError, VectorFileError
from steerscope.steering.interventions import Cell, steer
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from steerscope.weights.adapter import (
    KINDS,
    Adapted,
    AdapterDesign,
    LearnedDesign,
    Sizes,
    TrainingPlan,
    find_objective,
    fresh_adapter,
    fresh_learned,
    frozen_ruler,
    is_adapter_file,
    load_adapter,
    merge,
    save_adapter,
    train_adapter,
)
from steerscope.weights.adapter.kinds.rotations import shuffled
from steerscope.weights.places import Place

FAMILIES = (
    "llama",
    "gpt2",
    "neox",
)  # modules of their own, fused without and with heads interleaved
PLACES = (Place("q", 0), Place("o", 1), Place("up", 1), Place("down", 2))
SIZES = Sizes(rank=3, block=4)
TOKENS = torch.tensor([[1, 7, 30, 12, 55], [1, 8, 9, 40, 61]])
PAIRS = ContrastSet(
    "made up",
    tuple(ContrastPair(f"w{i} w10 w{i + 3} w5", f"w{i} w20 w4", "w") for i in range(30, 38)),
)
D, OUT = 16, 24


def numbers(fresh, seed=0, size=0.3):
    """The trained numbers, drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    return {n: t + size * torch.randn(t.shape, generator=generator) for n, t in fresh.items()}


SVD = "svd"  # a rotation of singular vectors, which is no kind of its registry
EVERY = (*KINDS, SVD)


def fresh_of(model, kind):
    if kind == SVD:
        return fresh_adapter(model, AdapterDesign(matrices=PLACES, rank=4), PAIRS)
    return fresh_learned(model, LearnedDesign(matrices=PLACES, kind=kind, sizes=SIZES))


def adapter_of(model, kind, seed=0):
    adapter = fresh_of(model, kind)
    return adapter.with_parameters(
        {m: numbers(part, seed + i) for i, (m, part) in enumerate(adapter.parameters.items())}
    )


@pytest.fixture(scope="module")
def weight():
    return torch.randn(D, OUT, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", EVERY)
def test_before_training_and_at_0_nothing_is_changed_to_the_bit(kind, family, load):
    model = load(family)
    plain = model.forward(TOKENS)
    fresh = fresh_of(model, kind)
    for change, c in ((fresh, 1.0), (fresh, -2.0), (adapter_of(model, kind), 0.0)):
        with steer(model, Adapted(change, c)):
            assert torch.equal(model.forward(TOKENS), plain)
    with steer(model, Adapted(adapter_of(model, kind), 1.0)):
        assert not torch.allclose(model.forward(TOKENS), plain, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_says_of_its_reversal_holds(kind, weight):
    made = KINDS[kind]
    generator = torch.Generator().manual_seed(0)
    parts = made.fixed(weight, SIZES, generator) | numbers(
        made.fresh(weight, SIZES, generator), size=0.1
    )

    def moved(c):
        change = made.change(weight, parts, c)
        bias = torch.zeros(OUT) if change.bias is None else change.bias
        return torch.cat([change.dense, bias[None]])

    even = {c: float((moved(c) + moved(-c)).norm() / moved(c).norm()) for c in (0.02, 0.2)}
    if made.reversal.startswith("exact: W") or made.reversal.startswith("exact: what"):
        assert max(even.values()) < 1e-4
    else:  # to first order: what does not turn falls as fast as c
        assert even[0.02] < 0.2 * even[0.2]
    if kind == "oft":
        there, back = (weight + moved(c)[:-1] for c in (1.0, -1.0))
        turn = there @ torch.linalg.pinv(weight)
        torch.testing.assert_close(turn @ back, weight, atol=1e-4, rtol=1e-4)


class Layer(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.layer = nn.Linear(*weight.shape, bias=False)
        self.layer.weight.data = weight.T.clone()

    def forward(self, x):
        return self.layer(x)


def of_peft(weight, config, fill):
    """The weight, inputs x outputs, that peft makes of one layer with some numbers."""
    wrapped = peft.get_peft_model(Layer(weight), config)
    inner = wrapped.base_model.model.layer
    with torch.no_grad():
        fill(inner)
        return inner(torch.eye(len(weight)))


def put(holder, tensor):
    (held,) = holder.values() if hasattr(holder, "values") else (holder,)
    (getattr(held, "weight", held)).data.copy_(tensor.reshape(getattr(held, "weight", held).shape))


def peft_lora(layer, p):
    put(layer.lora_A, p["a"].T)
    put(layer.lora_B, p["b"].T)


def peft_dora(layer, p):
    peft_lora(layer, p)
    held = layer.lora_magnitude_vector["default"].weight
    held.data += p["length"].reshape(held.shape)


def peft_vera(layer, p):
    layer.vera_A["default"].copy_(p["a"].T)
    layer.vera_B["default"].copy_(p["b"].T)
    put(layer.vera_lambda_d, p["d"])
    put(layer.vera_lambda_b, p["e"])


def peft_delora(layer, p):
    put(layer.delora_A, p["a"].T)
    put(layer.delora_B, p["b"].T)
    put(layer.delora_lambda, p["bound"])


TARGET = {"target_modules": ["layer"]}
OF_PEFT = {
    "lora": (peft.LoraConfig(r=3, lora_alpha=3, **TARGET), peft_lora),
    "dora": (peft.LoraConfig(r=3, lora_alpha=3, use_dora=True, **TARGET), peft_dora),
    "vera": (peft.VeraConfig(r=3, **TARGET), peft_vera),
    "delora": (peft.DeloraConfig(r=3, **TARGET), peft_delora),
    "ia3": (
        peft.IA3Config(feedforward_modules=[], **TARGET),
        lambda layer, p: put(layer.ia3_l, 1 + p["scale"]),
    ),
    "oft": (
        peft.OFTConfig(r=0, oft_block_size=4, use_cayley_neumann=False, **TARGET),
        lambda layer, p: put(layer.oft_R, p["planes"]),
    ),
    "road": (
        peft.RoadConfig(variant="road_1", group_size=4, **TARGET),
        lambda layer, p: (put(layer.road_theta, p["angle"]), put(layer.road_alpha, 1 + p["scale"])),
    ),
}


@pytest.mark.parametrize("kind", OF_PEFT)
def test_at_1_the_weight_is_that_of_peft(kind, weight):
    made, generator = KINDS[kind], torch.Generator().manual_seed(0)
    fixed = made.fixed(weight, SIZES, generator)
    parts = {**fixed, **numbers(made.fresh(weight, SIZES, generator))}
    config, fill = OF_PEFT[kind]
    expected = of_peft(weight, config, lambda layer: fill(layer, parts))
    assert not torch.allclose(expected, weight, atol=1e-2)
    torch.testing.assert_close(
        weight + made.change(weight, parts, 1.0).dense, expected, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("number", [0, 1])
def test_the_butterfly_shuffles_as_that_of_peft(number):
    from peft.tuners.boft.layer import BOFTLayer

    n = D // 4
    order = BOFTLayer.block_butterfly_perm(None, D, n // 2**number, 2, 1)
    if number:  # of the blocks that one factor turns, and of those of twice their size
        assert not torch.equal(order, torch.arange(D))
    assert torch.equal(shuffled(D, n // 2**number, 2), order)


def test_biases_alone_are_vectors_added_to_what_weights_give(load):
    model = load()
    adapter = adapter_of(model, "bias")
    vector = adapter.parameters[Place("down", 2)]["bias"]
    seen = {}

    def note(name):
        return lambda x: seen.update({name: x.clone()}) or None

    from steerscope.sites import Site

    with model.hook(Site("mlp_out", 2), note("plain")):
        model.forward(TOKENS)
    alone = fresh_learned(
        model, LearnedDesign(matrices=(Place("down", 2),), kind="bias", sizes=SIZES)
    ).with_parameters({Place("down", 2): {"bias": vector}})
    with steer(model, Adapted(alone, -2.0)), model.hook(Site("mlp_out", 2), note("moved")):
        model.forward(TOKENS)
    moved = (seen["moved"] - seen["plain"]).reshape(-1, len(vector))
    torch.testing.assert_close(moved, (-2 * vector).expand_as(moved), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", EVERY)
def test_a_kind_is_saved_loaded_and_merged(kind, family, load, tiny_folder, tmp_path):
    model = load(family)
    adapter = adapter_of(model, kind)
    path = tmp_path / "a.safetensors"
    save_adapter(path, adapter)
    assert is_adapter_file(path)
    again = load_adapter(path, model)
    with steer(model, Adapted(adapter, -0.5)):
        expected = model.forward(TOKENS)
    with steer(model, Adapted(again, -0.5)):
        assert torch.equal(model.forward(TOKENS), expected)
    out = tmp_path / "merged"
    if kind == "bias" and family == "llama":
        with pytest.raises(UnsupportedWeightError, match="has no bias in this architecture"):
            merge(tiny_folder(family), again, -0.5, out)
        assert not out.exists()
        return
    merge(tiny_folder(family), again, -0.5, out)
    outside = AutoModelForCausalLM.from_pretrained(out)
    with torch.no_grad():
        torch.testing.assert_close(outside(TOKENS).logits, expected, atol=2e-4, rtol=1e-4)


def test_coefficients_of_one_adapter_share_a_batch(load):
    model = load()
    cells = [Cell((Adapted(adapter_of(model, "oft"), c),)) for c in (-1.0, 0.5)]
    together = generate(model, ["w30 w10"], cells, n_new=4)
    alone = [generate(model, ["w30 w10"], [cell], n_new=4)[0] for cell in cells]
    assert [t[0].tokens for t in together] == [a[0].tokens for a in alone]


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_its_sign_is_that_of_the_pairs(kind, load):
    model = load()
    design = LearnedDesign(
        matrices=(Place("o", 1), Place("down", 1)), kind=kind, sizes=Sizes(rank=4, block=4)
    )
    plan = TrainingPlan(epochs=2, learning_rate=3e-2, batch_pairs=4)
    found, trained = train_adapter(
        model, (PAIRS, PAIRS), design=design, ruler=frozen_ruler(model, PAIRS, (1,)),
        objective=find_objective("preference"), plan=plan,
    )  # fmt: skip
    losses = [epoch.validation for epoch in trained.history]
    assert losses[-1] < losses[0]
    assert math.isfinite(losses[-1])
    assert found.record is not None
    assert found.n_parameters > 0


def test_what_does_not_fit_a_weight_is_refused_with_its_place(load, tmp_path):
    model = load()
    with pytest.raises(BadValueError, match="down.2: blocks of 5 do not fill the 64 inputs"):
        fresh_learned(
            model, LearnedDesign(matrices=(Place("down", 2),), kind="oft", sizes=Sizes(block=5))
        )
    path = tmp_path / "a.safetensors"
    adapter = adapter_of(model, "lora")
    save_adapter(
        path,
        adapter.with_parameters({m: {**p, "b": p["b"][:2]} for m, p in adapter.parameters.items()}),
    )
    with pytest.raises(VectorFileError, match="their shapes differ"):
        load_adapter(path, model)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_reads_the_sizes_that_it_is_said_to(kind):
    def trained(**sizes):
        fresh = KINDS[kind].fresh(
            torch.ones(D, OUT), Sizes(**sizes), torch.Generator().manual_seed(0)
        )
        return {name: part.shape for name, part in fresh.items()}

    usual = trained(rank=4, block=2)
    changed = {"rank": trained(rank=2, block=2), "block": trained(rank=4, block=4)}
    assert tuple(name for name, found in changed.items() if found != usual) == KINDS[kind].sizes

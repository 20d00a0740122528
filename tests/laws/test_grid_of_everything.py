"""The laws for every operator, scope and strength that is registered, alone and in one batch.

A new name in a registry fails here until it has an example, and is then held to every law.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.score import kl_from_plain
from steerscope.errors import BadValueError
from steerscope.metrics import kl_divergence
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Rows, Steering, steer
from steerscope.steering.operators import OPERATORS
from steerscope.steering.scopes import KINDS, Scope
from steerscope.steering.strengths import (
    STRENGTHS,
    CosineGate,
    EigengapGate,
    KeyGapGate,
    ProjectionGate,
    Strength,
    parse_strength,
)
from tests.helpers import random_direction, spectra_with_gaps
from tests.same_text import assert_same_text, assert_same_texts, greedy_by_hand

TOKENS = torch.tensor([[1, 10, 20, 30, 40, 50], [1, 60, 61, 62, 63, 64]])
PROMPTS = [[1, 5, 9], [1, 50, 51, 52]]
SITES = [Site("resid_post", 1), Site("mlp_out", 1), Site("z", 1, 2), Site("resid_pre", 2)]

DOSES = {"length": Dose(25.0, "absolute"), "angle": Dose(70.0, "degrees"), "nothing": None}
SCOPES = {
    "all": "all",
    "everywhere": "everywhere-last:1",
    "prompt": "(prompt|generated)-last:2",
    "generated": "generated",
    "last": "last:1|steps:3",
    "window": "window:2:7",
    "steps": "all&steps:2",
}


def gap_table():
    return spectra_with_gaps(torch.tensor([[0.3, 0.6]] * 3), (0, 1, 2))


def strengths(model) -> dict[str, list[Strength]]:
    """At least one strength of every registered name."""
    early = random_direction(model, Site("resid_post", 0), seed=9)
    inside = random_direction(model, Site("k", 1, 1), seed=8)
    # The bridge does not tell the keys of earlier tokens.
    of_keys = {"key_gap": [KeyGapGate(1, 0.55), KeyGapGate(0, 0.55, head=1)]}
    return (of_keys if model.backbone == "hooked" else {}) | {
        "constant": [parse_strength("1"), parse_strength("0.4")],
        "ramp": [parse_strength("ramp:3")],
        "decay": [parse_strength("decay:1.5")],
        "pulse": [parse_strength("pulse:3:1")],
        "first": [parse_strength("first:2")],
        "cosine": [parse_strength("cosine:0"), CosineGate(0.0, condition=early) * 0.7],
        "projection": [
            parse_strength("projection:0:below*ramp:2"),
            ProjectionGate(0.0, condition=inside),
        ],
        "eigengap": [EigengapGate(gap_table(), 0.5, proportional=True, group=2)],
    }


def steering(model, operator, **choices):
    site = choices.pop("site", SITES[0])
    direction = random_direction(model, site, seed=choices.pop("seed", 0))
    return Steering(direction, DOSES[OPERATORS[operator].takes], operator, **choices)


@contextmanager
def watched(model, monkeypatch) -> Iterator[list[object]]:
    """What every hook of an intervention returns."""
    returned: list[object] = []
    hook = model.hook

    def spy(site, function):
        return hook(site, lambda x: returned.append(function(x)) or returned[-1])

    with monkeypatch.context() as patch:
        patch.setattr(model, "hook", spy)
        yield returned


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def activation(model, site, tokens=TOKENS):
    found = {}
    with model.hook(site, lambda x: found.update(x=x.clone())):
        model.forward(tokens)
    return found["x"]


@pytest.mark.hooked
def test_every_registered_name_has_an_example(load):
    assert set(SCOPES) == set(KINDS)
    assert all(kind in SCOPES[kind] for kind in KINDS)
    assert set(strengths(load())) == set(STRENGTHS)
    assert {operator.takes for operator in OPERATORS.values()} <= set(DOSES)


@pytest.mark.parametrize("operator", OPERATORS)
def test_zero_strength_and_zero_dose_change_no_bit_and_write_nothing(tiny, operator, monkeypatch):
    plain = tiny.forward(TOKENS)
    for number, text in enumerate(SCOPES.values()):
        choices = {"scope": Scope.parse(text), "site": SITES[number % len(SITES)]}
        off = steering(tiny, operator, strength=0.0, **choices)
        with watched(tiny, monkeypatch) as returned, steer(tiny, off):
            assert torch.equal(tiny.forward(TOKENS), plain)
        assert returned == [None]
    if not OPERATORS[operator].sets:
        direction = random_direction(tiny, SITES[0])
        zero = Dose(0.0, "degrees" if OPERATORS[operator].takes == "angle" else "absolute")
        with steer(tiny, Steering(direction, zero, operator)):
            assert torch.equal(tiny.forward(TOKENS), plain)


@pytest.mark.parametrize("operator", OPERATORS)
def test_only_positions_in_scope_move_and_by_what_the_operator_says(tiny, operator):
    plain = tiny.read(TOKENS, SITES)
    for number, text in enumerate(SCOPES.values()):
        site, scope = SITES[number % len(SITES)], Scope.parse(text)
        tested = steering(tiny, operator, scope=scope, site=site, strength=0.8)
        before = plain[site]
        with steer(tiny, tested):
            after = activation(tiny, site)
        inside = [p for p in range(6) if scope.includes(p, 6)]
        outside = [p for p in range(6) if p not in inside]
        assert torch.equal(after[:, outside], before[:, outside])
        unit, amount = tested.direction.unit, 0.0 if tested.dose is None else tested.dose.value
        goal = OPERATORS[operator].apply(before, unit, amount)
        expected = before + 0.8 * (goal - before)
        torch.testing.assert_close(after[:, inside], expected[:, inside], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("operator", [name for name, o in OPERATORS.items() if o.sets])
def test_what_sets_a_property_does_it_once(tiny, operator):
    for text in ("everywhere", SCOPES["prompt"]):
        once = steering(tiny, operator, scope=Scope.parse(text))
        with steer(tiny, once):
            first = activation(tiny, SITES[0])
        with steer(tiny, once, once):
            second = activation(tiny, SITES[0])
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)


def cells_of_everything(model):
    """Every operator with every scope and every strength, pairs spread over few cells."""
    shares = [s for examples in strengths(model).values() for s in examples]
    cells = [Cell()]
    for i, operator in enumerate(OPERATORS):
        for j, text in enumerate(SCOPES.values()):
            cells.append(
                Cell(
                    (
                        steering(
                            model,
                            operator,
                            scope=Scope.parse(text),
                            strength=shares[(i + j) % len(shares)],
                            site=SITES[(i + 2 * j) % len(SITES)],
                            seed=i,
                        ),
                    )
                )
            )
    return cells


def test_every_cell_of_a_grid_of_everything_is_that_cell_alone_token_for_token(tiny):
    cells = cells_of_everything(tiny)
    together = generate(tiny, PROMPTS, cells, n_new=4)
    for number in range(0, len(cells), 1 if tiny.backbone == "hooked" else 2):
        cell, p = cells[number], number % 3 % len(PROMPTS)
        alone = generate(tiny, [PROMPTS[p]], [cell], n_new=4, use_cache=False)[0][0]
        assert_same_text(tiny, (PROMPTS[p], cell), together[number][p], alone)
    changed = sum(row != together[0] for row in together[1:])
    assert changed > 0.6 * len(cells)


def test_a_batch_in_three_parts_whose_rows_end_early_writes_what_one_batch_writes(tiny):
    cells = cells_of_everything(tiny)
    prompts = [*PROMPTS, [1, 20, 21, 22, 23, 24], [1, 30]]
    plain = generate(tiny, prompts, n_new=6)[0]
    end = tiny.tokenizer.eos_token
    frequent = Counter(token for c in plain for token in c.tokens[1:]).most_common(1)[0][0]
    tiny.tokenizer.eos_token = tiny.tokenizer.convert_ids_to_tokens(frequent)
    try:
        whole = generate(tiny, prompts, cells, n_new=6)
        third = -(-len(cells) * len(prompts) // 3)
        parts = generate(tiny, prompts, cells, n_new=6, batch_size=third)
        uncached = generate(tiny, prompts, cells, n_new=6, use_cache=False)
        assert_same_texts(tiny, (prompts, cells), parts, whole)
        assert_same_texts(tiny, (prompts, cells), uncached, whole)
    finally:
        tiny.tokenizer.eos_token = end
    ended = [c.ended for row in whole for c in row]
    assert 0.05 < sum(ended) / len(ended) < 0.95


def test_the_kl_of_a_grid_of_everything_is_that_of_each_cell_alone(tiny):
    cells = cells_of_everything(tiny)[::3]
    together = kl_from_plain(tiny, PROMPTS, cells)
    for number, cell in enumerate(cells):
        alone = kl_from_plain(tiny, PROMPTS[:1], [cell])
        assert float(alone[0, 0]) == pytest.approx(float(together[number, 0]), abs=1e-5, rel=1e-3)


def both_ways(model, site):
    """A gate, and prompts of one length whose last token meets it and does not meet it."""
    direction = random_direction(model, site, seed=5)
    prompts = [[1, 5, t] for t in range(6, 30)]
    x = activation(model, site, torch.tensor(prompts))[:, -1]
    cosine = torch.nn.functional.cosine_similarity(x, direction.unit[None])
    low, high = int(cosine.argmin()), int(cosine.argmax())
    gate = CosineGate(float(cosine.min() + cosine.max()) / 2, condition=direction)
    return gate, prompts[high], prompts[low]


@pytest.mark.parametrize("where", [Site("resid_post", 0), Site("resid_post", 1)])
def test_a_gate_decides_for_every_row_and_not_by_row_0_as_cast_does(tiny, where):
    gate, meets, fails = both_ways(tiny, where)
    gated = steering(tiny, "add", scope=Scope.last(1), strength=gate)
    always = steering(tiny, "add", scope=Scope.last(1))
    for order in ([meets, fails], [fails, meets]):
        tokens = torch.tensor(order)
        plain = activation(tiny, SITES[0], tokens)
        with steer(tiny, gated):
            found = activation(tiny, SITES[0], tokens)
        with steer(tiny, always):
            steered = activation(tiny, SITES[0], tokens)
        open_, shut = order.index(meets), order.index(fails)
        assert torch.equal(found[shut], plain[shut])
        assert torch.equal(found[open_], steered[open_])
        assert not torch.equal(steered[open_], plain[open_])


def test_gated_rows_in_a_mixed_batch_are_continued_as_alone(tiny):
    gate, meets, fails = both_ways(tiny, Site("resid_post", 0))
    cell = Cell((steering(tiny, "add", strength=gate),))
    prompts = [fails, meets, [*fails, 7, 8], meets[:2]]
    together = generate(tiny, prompts, [Cell(), cell], n_new=6)
    for place, prompt in enumerate(prompts):
        [[alone]] = generate(tiny, [prompt], [cell], n_new=6)
        assert_same_text(tiny, (prompt, cell), together[1][place], alone)
    assert together[0] != together[1]


def test_a_condition_is_read_for_the_rows_of_the_steering_alone(tiny):
    gate, meets, fails = both_ways(tiny, Site("resid_post", 0))
    gated = steering(tiny, "add", scope=Scope.last(1), strength=gate)
    tokens = torch.tensor([meets, fails, meets])
    plain = activation(tiny, SITES[0], tokens)
    with gated.attach(tiny, Rows(torch.tensor([2, 1]))):
        found = activation(tiny, SITES[0], tokens)
    assert [torch.equal(a, b) for a, b in zip(found, plain, strict=True)] == [True, True, False]


def test_conditions_share_no_block_of_a_prompt_above_what_their_gate_reads(tiny):
    gate = CosineGate(0.0, condition=random_direction(tiny, Site("resid_post", 0), seed=9))
    gated = steering(tiny, "add", site=Site("resid_post", 2), strength=gate)
    assert gated.first_block(6) == 1
    assert steering(tiny, "add", scope=Scope.generated(), strength=gate).first_block(6) is None
    plain = tiny.forward(TOKENS)
    with steer(tiny, gated):
        expected = kl_divergence(tiny.forward(TOKENS), plain)[:, 1:].mean(dim=1)
    found = kl_from_plain(tiny, TOKENS.tolist(), [Cell((gated,))])[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-3)


def test_a_pass_that_skips_the_condition_is_refused_and_not_gated_by_an_older_one(load):
    model = load("llama", "hooked")
    gate = CosineGate(-1.0, condition=random_direction(model, Site("resid_post", 0)))
    gated = steering(model, "add", site=Site("resid_post", 2), strength=gate)
    plain = model.plain_pass(TOKENS)
    with steer(model, gated):
        model.forward(TOKENS)
        with pytest.raises(BadValueError, match="did not run resid_post.0; start it at block 1"):
            plain.resume(torch.tensor([0, 1]), 2)
    keys = steering(
        model, "add", site=Site("resid_post", 2), strength=parse_strength("key_gap:1:0.3")
    )
    with steer(model, keys), pytest.raises(BadValueError, match="did not run the keys of layer 1"):
        plain.resume(torch.tensor([0, 1]), 2)


def test_no_row_is_steered_at_a_padding_position_as_repeng_steers_it(tiny):
    prompts = [[1, 5], [1, 50, 51, 52, 53, 54, 55], [1, 8, 30]]
    cell = Cell((steering(tiny, "add", scope=Scope.everywhere()),))
    together = generate(tiny, prompts, [Cell(), cell], n_new=6)
    for place, prompt in enumerate(prompts):
        with steer(tiny, *cell.interventions):
            by_hand = greedy_by_hand(tiny, prompt, lambda ids: tiny.forward(torch.tensor([ids])), 6)
        assert_same_text(tiny, (prompt, cell), together[1][place], by_hand)
    assert together[0] != together[1]


@pytest.mark.parametrize("text", ["generated", "steps:2", "window:4"])
def test_a_scope_acts_under_a_cache_where_that_of_steering_vectors_does_nothing(tiny, text):
    cell = Cell((steering(tiny, "add", scope=Scope.parse(text)),))
    cells = [Cell(), cell]
    cached = generate(tiny, PROMPTS, cells, n_new=8)
    uncached = generate(tiny, PROMPTS, cells, n_new=8, use_cache=False)
    assert_same_texts(tiny, (PROMPTS, cells), cached, uncached)
    assert cached[0] != cached[1]


@pytest.mark.parametrize("text", ["ramp:4", "decay:1", "pulse:2:1", "first:3"])
def test_a_schedule_counts_the_generated_tokens_with_a_cache_as_without(tiny, text):
    cells = [
        Cell((steering(tiny, "add", scope=Scope.generated(), strength=parse_strength(s)),))
        for s in ("1", text)
    ]
    cached = generate(tiny, PROMPTS, cells, n_new=9)
    uncached = generate(tiny, PROMPTS, cells, n_new=9, use_cache=False)
    assert_same_texts(tiny, (PROMPTS, cells), cached, uncached)
    assert cached[0] != cached[1]


def test_the_first_generated_token_is_step_1_of_a_schedule_and_of_a_scope(tiny):
    choices = [("generated", "first:2"), ("steps:1:3", "1"), ("generated", "first:3")]
    cells = [
        Cell((steering(tiny, "add", scope=Scope.parse(a), strength=parse_strength(b)),))
        for a, b in choices
    ]
    by_schedule, by_scope, longer = generate(tiny, PROMPTS, cells, n_new=8)
    assert_same_texts(tiny, (PROMPTS, cells[:1]), [by_schedule], [by_scope])
    assert by_schedule != longer


def test_an_eigengap_gate_of_another_grouping_of_heads_is_refused(tiny):
    for gate in (EigengapGate(gap_table(), 0.5), 0.5 * EigengapGate(gap_table(), 0.5, group=4)):
        wrong = steering(tiny, "add", site=Site("z", 1, 1), strength=gate)
        with pytest.raises(BadValueError, match="give group=2"):
            generate(tiny, PROMPTS[:1], [Cell(wrong)], n_new=1)
        key = steering(tiny, "add", site=Site("k", 1, 1), strength=gate)
        with steer(tiny, key):  # a key head is its own, whatever the group
            tiny.forward(TOKENS)


def test_an_eigengap_gate_steers_the_head_it_lets_through(tiny):
    gate = EigengapGate(gap_table(), 0.5, group=2)
    plain = tiny.forward(TOKENS)
    for head, steered in ((0, False), (3, True)):
        gated = steering(tiny, "add", site=Site("z", 1, head), strength=gate)
        with steer(tiny, gated):
            assert torch.equal(tiny.forward(TOKENS), plain) != steered

"""What conditions share of a prompt is run once, and is what they would have run alone."""

from __future__ import annotations

import pytest
import torch

from steerscope.doses import Dose
from steerscope.engine.answers import answer_scores
from steerscope.engine.decoding import Decoder
from steerscope.engine.generation import attempt, generate
from steerscope.engine.score import kl_from_plain, log_likelihoods, preferences
from steerscope.metrics import kl_divergence
from steerscope.models import shared_pass
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from steerscope.steering.strengths import CosineGate, parse_strength
from tests.helpers import random_direction
from tests.same_text import assert_same_texts

PROMPTS = [[1, 5, 9, 11], [1, 7, 20, 33], [1, 8, 30]]


def steering(model, stream, layer, dose, scope=None):
    direction = random_direction(model, Site(stream, layer), seed=layer)
    return Steering(direction, Dose(dose), scope=scope or Scope.everywhere())


def blocks_run(model, call):
    """Rows times tokens that each block saw."""
    seen = [0] * model.shape.n_layers

    def count(layer):
        def hook(_module, arguments):
            seen[layer] += arguments[0].shape[0] * arguments[0].shape[1]

        return hook

    handles = [
        block.register_forward_pre_hook(count(i))
        for i, block in enumerate(model.transformer.blocks)
    ]
    call()
    for handle in handles:
        handle.remove()
    return seen


def test_blocks_below_the_site_run_once_for_all_conditions(load):
    model = load("llama", "hooked")
    cells = [Cell((steering(model, "resid_post", 1, d),)) for d in (1.0, 2.0, 3.0)]
    cells.append(Cell((steering(model, "resid_post", 0, 1.0, Scope.generated()),)))
    seen = blocks_run(model, lambda: generate(model, PROMPTS[:1], cells, n_new=1))
    assert seen == [4, 4, 4 + 3 * 4]


@pytest.mark.parametrize("stream", ["resid_pre", "resid_post", "attn_out", "k"])
def test_a_model_that_is_steered_already_is_steered_once(tiny, stream):
    outer = steering(tiny, stream, 1, 2.0)
    cells = [Cell(), *(Cell((steering(tiny, "resid_post", i, 1.5),)) for i in range(3))]
    with steer(tiny, outer):
        shared = generate(tiny, PROMPTS, cells, n_new=5)
        whole = generate(tiny, PROMPTS, cells, n_new=5, use_cache=False)
        assert_same_texts(tiny, (PROMPTS, cells), shared, whole)


def outer_gates(model):
    """Steerings that look at one place of a pass and act at a later one."""
    early, late = (random_direction(model, Site("resid_post", i), seed=i) for i in (0, 2))
    strengths = [CosineGate(0.0, condition=early)]
    strengths += [parse_strength("key_gap:1:0.3")] if model.backbone == "hooked" else []
    return [Steering(late, Dose(6.0), strength=s) for s in strengths]


def test_a_gate_from_outside_acts_as_in_a_whole_pass(tiny):
    cells = [Cell(), *(Cell(steering(tiny, "resid_post", i, 1.5)) for i in range(3))]
    answers, after = [(ids[:-1], ids[-1:]) for ids in LONG], [len(ids) - 1 for ids in LONG]
    plain = [log_likelihoods(tiny, LONG, cell) for cell in cells]
    for outer in outer_gates(tiny):
        with steer(tiny, outer):
            shared = generate(tiny, LONG, cells, n_new=5)
            whole = generate(tiny, LONG, cells, n_new=5, use_cache=False)
            assert_same_texts(tiny, (LONG, cells), shared, whole)
            kl = kl_from_plain(tiny, LONG, cells)
            scores = answer_scores(tiny, answers, cells).log_likelihood
            for c, cell in enumerate(cells):
                found = log_likelihoods(tiny, LONG, cell)
                last = log_likelihoods(tiny, LONG, cell, after=after)
                for t, ids in enumerate(LONG):
                    tokens = torch.tensor([ids])
                    with torch.no_grad():
                        base = tiny.forward(tokens)
                        with steer(tiny, *cell.interventions):
                            steered = tiny.forward(tokens)
                    logp = steered.log_softmax(-1)[0, :-1].gather(-1, tokens[0, 1:, None])[:, 0]
                    torch.testing.assert_close(found[t], logp, atol=1e-5, rtol=1e-4)
                    expected = float(kl_divergence(steered, base)[0, 1:].mean())
                    assert float(kl[c, t]) == pytest.approx(expected, abs=1e-5, rel=1e-3)
                    assert float(scores[c, t]) == pytest.approx(float(last[t][0]), abs=1e-4)
                assert float((torch.cat(found) - torch.cat(plain[c])).abs().max()) > 1e-2


def test_a_plain_pass_resumed_anywhere_ends_in_the_same_logits(load):
    model = load("gpt2", "hooked")
    tokens = torch.tensor(PROMPTS[:2])
    with torch.no_grad():
        plain = model.plain_pass(tokens)
        whole = model.forward(tokens)
        for block in range(model.shape.n_layers + 1):
            again = plain.resume(torch.tensor([1, 0, 1]), block)
            torch.testing.assert_close(again, whole[[1, 0, 1]], atol=1e-5, rtol=1e-5)


BEGINNING = [1, 40, 41, 42, 43, 44, 45, 46, 47, 48]
LONG = [[*BEGINNING, *end] for end in ([5, 9], [7, 20], [8, 30], [9, 9], [60, 61])]


def measured(model, cells):
    """Everything that is measured of conditions on prompts that begin alike."""
    texts = [" ".join(f"w{i}" for i in ids[1:]) for ids in LONG]
    pairs = [(texts[0], texts[1]), (texts[2], texts[3])]
    return (
        generate(model, LONG, cells, n_new=4),
        kl_from_plain(model, LONG, cells),
        preferences(model, pairs, cells),
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "neox"])
@pytest.mark.parametrize(
    "scope", ["all", "everywhere", "prompt", "last:3", "window:3:11", "from_token:43"]
)
def test_what_prompts_begin_with_alike_runs_once_a_condition(load, monkeypatch, family, scope):
    model = load(family, "hooked")
    where = [("resid_post", 0), ("resid_pre", 1), ("attn_out", 0), ("k", 1), ("resid_pre", 0)]
    cells = [Cell((steering(model, *at, 2.0, Scope.parse(scope)),)) for at in where]
    cells.append(Cell((*cells[0].interventions, *cells[3].interventions)))
    shared = measured(model, cells)
    monkeypatch.setattr(shared_pass, "_WORTH", 10**9)
    whole = measured(model, cells)
    assert_same_texts(model, (LONG, cells), shared[0], whole[0])
    for one, other in zip(shared[1:], whole[1:], strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_the_beginning_of_five_prompts_is_run_once_for_every_dose(load):
    model = load("llama", "hooked")
    cells = [Cell((steering(model, "resid_post", 0, d),)) for d in (1.0, 2.0, 3.0)]
    n, rest = len(BEGINNING), len(LONG[0]) - len(BEGINNING)
    seen = blocks_run(model, lambda: kl_from_plain(model, LONG, cells))
    once, steered = 5 * (n + rest), 3 * n + 15 * rest
    assert seen == [once, once + steered, once + steered]
    seen = blocks_run(model, lambda: generate(model, LONG, cells, n_new=1))
    assert seen == [once, once + steered, once + steered]


def test_what_reads_more_of_a_prompt_than_a_part_runs_it_whole(load):
    model = load("llama", "hooked")
    gated = Steering(
        random_direction(model, Site("resid_post", 0), seed=0),
        Dose(2.0),
        strength=CosineGate(0.1),
    )
    plain = Cell((steering(model, "resid_post", 0, 2.0),))
    n = len(LONG[0])
    seen = blocks_run(model, lambda: kl_from_plain(model, LONG, [Cell((gated,)), plain]))
    assert seen == [5 * n, 15 * n, 15 * n]
    with steer(model, steering(model, "resid_post", 0, 1.0)):
        seen = blocks_run(model, lambda: kl_from_plain(model, LONG, [plain]))
    assert seen == [5 * n, 10 * n, 10 * n]


def test_conditions_of_all_layers_go_through_the_blocks_together(load):
    model, calls = load("llama", "hooked"), [0] * 3

    def count(layer):
        def hook(_module, _arguments):
            calls[layer] += 1

        return hook

    cells = [Cell((steering(model, "resid_post", i, 2.0),)) for i in (2, 0, 1)]
    blocks = model.transformer.blocks
    handles = [block.register_forward_pre_hook(count(i)) for i, block in enumerate(blocks)]
    generate(model, PROMPTS[:2], cells, n_new=1)
    for handle in handles:
        handle.remove()
    assert calls == [1, 2, 2]  # plain; then those steered after block 0, and after block 1 two


@pytest.mark.parametrize("prompts", [PROMPTS, LONG], ids=["apart", "alike"])
def test_whoever_has_not_joined_the_pass_is_not_touched_in_it(load, prompts):
    """Hooks of all conditions fire at every block that runs, also before their own rows are there."""
    model = load("llama", "hooked")
    read_before = random_direction(model, Site("resid_post", 0), seed=5)
    elsewhere = CosineGate(0.0, condition=read_before)
    gated = Steering(
        random_direction(model, Site("resid_post", 2), seed=2), Dose(2.0),
        scope=Scope.generated(), strength=elsewhere,
    )  # fmt: skip
    cells = [
        Cell((gated,)),
        *(Cell((steering(model, "resid_post", i, 2.0),)) for i in (2, 0, 1)),
        Cell((steering(model, "resid_pre", 1, 2.0, Scope.parse("from_token:5")),)),
        Cell((steering(model, "resid_post", 0, 2.0, Scope.generated()),)),
        Cell(),
    ]
    for acting in (cells, cells[1:4], cells[::-1]):
        shared = generate(model, prompts, acting, n_new=4)
        whole = generate(model, prompts, acting, n_new=4, use_cache=False)
        assert_same_texts(model, (prompts, acting), shared, whole)


def test_what_acts_from_outside_goes_with_rows_that_begin_together(load):
    """It may keep what it sees of all rows at one block for a later one."""
    model, kept = load("llama", "hooked"), []
    blocks = model.transformer.blocks

    def keep(_module, _inputs, x):
        kept.append(len(x))

    def compare(_module, _inputs, x):
        assert len(x) == kept[-1]

    handles = [blocks[0].hook_resid_post.register_forward_hook(keep)]
    handles.append(blocks[2].hook_resid_post.register_forward_hook(compare))
    cells = [Cell((steering(model, "resid_pre", i, 2.0),)) for i in range(3)]
    generate(model, PROMPTS[:2], cells[:2], n_new=2)
    for handle in handles:
        handle.remove()


def test_conditions_are_told_their_rows_again_only_where_these_change(load, monkeypatch):
    model = load("llama", "hooked")
    cells = [Cell(steering(model, "resid_post", 0, d)) for d in (1.0, 40.0)]
    alone = [generate(model, PROMPTS[:1], [cell], n_new=6)[0][0].tokens for cell in cells]
    seen = []
    told = Decoder._assign

    def watched(self, rows):
        told(self, rows)
        seen.append([id(mine.index) for mine in self.rows_of])

    monkeypatch.setattr(Decoder, "_assign", watched)
    together = generate(model, PROMPTS[:1], cells, n_new=6)
    assert [row[0].tokens for row in together] == alone
    assert len(seen) > 5
    assert len(set(map(tuple, seen[-5:]))) == 1


def test_a_condition_whose_rows_leave_early_leaves_the_others_as_they_are_alone(load):
    model = load("llama", "hooked")
    cells = [Cell(steering(model, "resid_post", 1, d)) for d in (0.5, 30.0, -30.0)]
    first = [row.text.split()[0] for row in generate(model, PROMPTS, cells, n_new=8)[1]]
    alone = [attempt(model, PROMPTS, [cell], n_new=8, until=first)[0] for cell in cells]
    together = attempt(model, PROMPTS, cells, n_new=8, until=first)
    assert together == alone
    lengths = [[len(written.tokens) for written in row] for row in together]
    assert max(lengths[1]) < max(lengths[0])

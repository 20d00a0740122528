"""Our attention against TransformerLens' own, and the norm that its inputs share."""

import pytest
import torch

from steerscope.models.attention import rotated
from tests.conftest import HAS_HOOKED

if not HAS_HOOKED:
    pytest.skip("needs HookedTransformer", allow_module_level=True)

from transformer_lens import HookedTransformerConfig
from transformer_lens.components import Attention

IDS = torch.tensor([[1, 5, 9, 40, 7, 33, 60, 12], [1, 70, 8, 41, 6, 32, 61, 13]])


def passing(model, names):
    """The logits of a pass, and what passes these hook points of a block, in their order."""
    found, handles = [], []
    for name in names:
        point = model.transformer.get_submodule(f"blocks.1.{name}")
        keep = lambda _module, _inputs, x, name=name: found.append((name, x.clone()))  # noqa: E731
        handles.append(point.register_forward_hook(keep))
    with torch.no_grad():
        logits = model.forward(IDS)
    for handle in handles:
        handle.remove()
    return logits, found


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "neox"])
def test_it_is_transformer_lens_own_to_rounding_hooks_and_all(load, family):
    model = load(family, "hooked")
    names = ["attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z"]
    logits, ours = passing(model, names)
    others = model.transformer.blocks[0].attn.hook_pattern  # watched, it needs their code
    handle = others.register_forward_hook(lambda *_: None)
    expected, theirs = passing(model, names)
    handle.remove()
    assert [name for name, _ in ours] == [name for name, _ in theirs] == names
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    for (name, mine), (_, own) in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, own, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("by_pairs", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_queries_turn_as_transformer_lens_turns_them_also_beyond_its_tables(by_pairs, share):
    cfg = HookedTransformerConfig(
        n_layers=1, d_model=16, n_ctx=64, d_head=8, n_heads=2, d_vocab=4, act_fn="relu",
        positional_embedding_type="rotary", rotary_dim=int(8 * share), rotary_adjacent_pairs=by_pairs,
    )  # fmt: skip
    attention = Attention(cfg, "global", 0)
    attention._extend_rotary_embeddings(16)
    x = torch.randn(3, 1, 2, 8, generator=torch.Generator().manual_seed(0))
    starts = torch.tensor([0, 9, 40])
    each = rotated(attention, x, starts)
    assert len(attention.rotary_cos) > 40
    attention._extend_rotary_embeddings(16)
    for row, start in enumerate(starts.tolist()):
        alone = rotated(attention, x[row : row + 1], start)
        expected = attention.apply_rotary(x[row : row + 1], start)
        torch.testing.assert_close(alone, expected)
        torch.testing.assert_close(each[row : row + 1], expected)


def test_the_norm_before_an_attention_runs_once_and_keeps_nothing(load, monkeypatch):
    model, runs = load("llama", "hooked"), []
    real = torch.nn.functional.rms_norm
    counted = lambda *a, **k: runs.append(1) or real(*a, **k)  # noqa: E731
    monkeypatch.setattr(torch.nn.functional, "rms_norm", counted)
    with torch.no_grad():
        plain = model.forward(IDS)
    assert len(runs) == 2 * model.shape.n_layers + 1
    watched, seen = passing(model, ["ln1.hook_normalized"])
    assert len(seen) == 3  # for queries, keys and values, as TransformerLens has it
    torch.testing.assert_close(watched, plain, rtol=1e-4, atol=1e-5)


def test_outside_of_a_block_a_norm_remembers_nothing(load):
    model = load("llama", "hooked")
    block, x = model.transformer.blocks[1], torch.randn(1, 3, 32)
    with torch.no_grad():
        before = block.ln1(x)
        x.mul_(-1.0)
        torch.testing.assert_close(block.ln1(x), -before)

        def fails(*_):
            raise ValueError("here")

        handle = block.attn.register_forward_pre_hook(fails)
        with pytest.raises(ValueError, match="here"):
            block(x)
        handle.remove()
        after = block(x)
        x.mul_(2.0)
        assert not torch.allclose(block(x), after)
        torch.testing.assert_close(block(x), block(x.clone()))


def test_a_norm_that_is_steered_is_run_for_each_of_its_readers(load):
    model = load("llama", "hooked")
    point, calls = model.transformer.blocks[1].ln1.hook_normalized, []

    def only_the_second(_module, _inputs, x):  # what the keys read
        calls.append(1)
        return torch.zeros_like(x) if len(calls) == 2 else None

    handle = point.register_forward_hook(only_the_second)
    _, found = passing(model, ["attn.hook_q", "attn.hook_k", "attn.hook_v"])
    handle.remove()
    by_name = dict(found)
    assert float(by_name["attn.hook_k"].abs().max()) == 0.0
    assert float(by_name["attn.hook_q"].abs().min()) > 0.0
    assert float(by_name["attn.hook_v"].abs().min()) > 0.0

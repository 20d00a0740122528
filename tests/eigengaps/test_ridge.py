"""Attention as kernel ridge regression: the formula by hand, a head that is one, and real heads."""

from __future__ import annotations

import warnings

import pytest
import torch
import transformers as hf

from steerscope.eigengaps.patterns import attention_gaps
from steerscope.eigengaps.ridge import (
    KERNELS,
    attention_ridge,
    best_fit,
    fit_of,
    ridge_output,
    ridge_outputs,
    ridge_parts,
)
from steerscope.errors import BadValueError, ModelLoadError, UnknownNameError, UnsupportedSiteError
from steerscope.models.attention_patterns import attention_patterns
from steerscope.models.loading import load_model


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_one_token_by_hand():
    q, k, v = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0]])
    found = ridge_output(q, k, v, kernel="linear", ridge=0.5)
    assert float(found) == pytest.approx((2 / 2) / (1 + 0.5) * 3)  # k(q, k) = 1, k(k, k) = 1


@pytest.mark.parametrize("kernel", ["linear", "exponential"])
def test_each_position_knows_only_what_came_before(kernel):
    q, k, v = numbers(6, 4), numbers(6, 4, seed=1), numbers(6, 3, seed=2)
    whole = ridge_output(q, k, v, kernel=kernel, ridge=0.1)
    part = ridge_output(q[:4], k[:4], v[:4], kernel=kernel, ridge=0.1)
    torch.testing.assert_close(whole[:4], part, rtol=1e-6, atol=1e-8)


def test_at_a_key_that_was_seen_little_ridge_gives_its_value_back():
    k, v = numbers(4, 8, seed=1), numbers(4, 3, seed=2)
    k = 3 * k / k.norm(dim=1, keepdim=True)
    found = ridge_output(k, k, v, kernel="exponential", ridge=1e-9)
    torch.testing.assert_close(found, v.double(), rtol=1e-4, atol=1e-4)


def test_a_fit_is_one_for_the_output_itself_and_zero_for_its_mean():
    output = numbers(9, 3)
    assert fit_of(output, output.double()) == (1.0, 0.0)
    mean = output.double().mean(dim=0).expand(9, 3)
    assert fit_of(output, mean)[0] == pytest.approx(0.0, abs=1e-6)


def test_real_heads_have_a_row_for_every_kernel_and_ridge(microworld):
    prompts = ["One day, Clara was happy and went to the garden.", "Tom was sad."]
    table = attention_ridge(microworld, prompts, layers=[3], ridges=[0.1, 1.0])
    assert len(table) == microworld.shape.n_heads * 2 * 2
    best = best_fit(table)
    assert len(best) == microworld.shape.n_heads
    assert (best.r2 >= table.groupby("head").r2.max().to_numpy() - 1e-12).all()
    assert table.r2.max() <= 1
    assert table.r2_mean.notna().all()


def test_a_fit_of_which_a_prompt_is_unknown_is_not_perfect_and_not_the_best(load, monkeypatch):
    model, prompts = load("gpt2"), ["w5 w6 w7 w8 w9", "w20 w21 w22"]
    parts = ridge_parts(model, prompts, layers=[1], kernels=["linear"], ridges=[0.1, 1.0])
    lost = (parts["head"] == 0) | (parts["head"] == 1) & (parts.ridge == 0.1) & (parts.prompt == 1)
    parts = parts.assign(left=parts.left.mask(lost))
    monkeypatch.setattr("steerscope.eigengaps.ridge.ridge_parts", lambda *_, **__: parts)
    table = attention_ridge(model, prompts, kernels=["linear"])
    unknown = table[table.r2.isna()]
    assert set(zip(unknown["head"], unknown.ridge, strict=True)) == {(0, 0.1), (0, 1.0), (1, 0.1)}
    assert unknown.error.isna().all()
    best = best_fit(table).set_index("head")
    assert best.r2.isna().tolist() == [True, False, False, False]
    assert best.ridge[1] == 1.0


def test_what_has_no_meaning_is_refused(microworld):
    q = numbers(2, 4)
    with pytest.raises(UnknownNameError, match="kernel"):
        ridge_output(q, q, q, kernel="cubic", ridge=1.0)
    with pytest.raises(BadValueError, match="above 0"):
        ridge_output(q, q, q, kernel="linear", ridge=0.0)


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("bitnet", "no average of its values"),
        ("olmo_clipped", "no average of its values"),
        ("llama4", "normalises queries and keys in a way that is not known"),
    ],
)
def test_a_head_that_puts_out_something_else_than_its_attention_is_refused(load, family, words):
    model = load(family, "bridge")
    with pytest.raises(UnsupportedSiteError, match=words):
        attention_ridge(model, ["w5 w6 w7"], ridges=[0.1])


def test_a_head_that_may_look_at_nothing_puts_out_a_share_of_its_values(load):
    assert attention_ridge(load("gpt_oss", "bridge"), ["w5 w6 w7"], ridges=[0.1]).r2.notna().all()


def test_several_heads_and_ridges_at_once_are_each_alone():
    q, k, v = numbers(3, 5, 4), numbers(3, 5, 4, seed=1), numbers(3, 5, 2, seed=2)
    for kernel in KERNELS:
        found = ridge_outputs(q, k, v, kernel=kernel, ridges=[0.1, 2.0])
        for head in range(3):
            for number, ridge in enumerate((0.1, 2.0)):
                for t in range(5):  # the formula itself, by a solve
                    at, so_far = q[head, t].double(), k[head, : t + 1].double()
                    pairs, gram = so_far @ at, so_far @ so_far.T
                    if kernel == "linear":
                        pairs, gram = pairs / 4, gram / 4
                    else:
                        pairs, gram = (pairs / 2).exp(), (gram / 2).exp()
                    damped = gram + ridge * gram.diagonal().mean() * torch.eye(t + 1)
                    expected = pairs @ torch.linalg.solve(damped, v[head, : t + 1].double())
                    torch.testing.assert_close(found[number, head, t], expected)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("part", range(3))
def test_a_head_that_is_not_finite_is_unknown_and_the_others_are_as_without_it(part, value):
    given = [numbers(3, 5, 4), numbers(3, 5, 4, seed=1), numbers(3, 5, 2, seed=2)]
    for kernel in KERNELS:
        without = ridge_outputs(*(x[1:] for x in given), kernel=kernel, ridges=[0.1, 2.0])
        spoiled = [x.clone() for x in given]
        spoiled[part][0, 2, 1] = value
        found = ridge_outputs(*spoiled, kernel=kernel, ridges=[0.1, 2.0])
        assert found[:, 0].isnan().all()
        torch.testing.assert_close(found[:, 1:], without)
        lost = [torch.full_like(x, value) for x in given]
        assert ridge_outputs(*lost, kernel=kernel, ridges=[0.1]).isnan().all()


def test_the_kernel_average_of_rotated_keys_is_attention_itself(load):
    model = load("gpt2")  # positions are in the embedding, so that nothing is rotated
    table = attention_ridge(model, ["w5 w6 w7 w8 w9", "w20 w21 w22"], ridges=[0.1])
    assert table.r2_smoother.min() > 0.999
    assert (table.r2 < 0.999).all()


_SIZES = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_GPT2 = {"vocab_size": 96, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
_NEO = {"attention_types": [[["global", "local"], 1]], "window_size": 16, "num_layers": 2}
_NEO |= {"vocab_size": 96, "hidden_size": 32, "num_heads": 4, "max_position_embeddings": 64}
ATTENTIONS = {
    "gpt2": hf.GPT2Config(**_GPT2, scale_attn_by_inverse_layer_idx=True),
    "gpt_neo": hf.GPTNeoConfig(**_NEO),
    "qwen3": hf.Qwen3Config(**_SIZES, head_dim=8),
    "olmo2": hf.Olmo2Config(**_SIZES),
    "gemma3": hf.Gemma3TextConfig(**_SIZES, head_dim=8, query_pre_attn_scalar=24),
    "granite": hf.GraniteConfig(**_SIZES, attention_multiplier=0.9),
}


def unturned(model):
    """The model, of which nothing is rotated by position."""
    for module in model.transformer.modules():
        for name, numbers in module.named_buffers(recurse=False):
            if name.endswith("rotary_cos"):
                numbers.fill_(1)
            elif name.endswith(("rotary_sin", "inv_freq")):
                numbers.zero_()
    return model


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
@pytest.mark.parametrize("family", ATTENTIONS)
def test_without_rotation_the_kernel_average_is_the_attention_of_any_model(
    family, backbone, tiny_folder, tmp_path
):
    made = hf.AutoModelForCausalLM.from_config(ATTENTIONS[family])
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, 0.0 if parameter.ndim > 1 else 1.0, 0.4)
    made.save_pretrained(tmp_path)
    hf.AutoTokenizer.from_pretrained(tiny_folder("gpt2")).save_pretrained(tmp_path)
    try:
        with warnings.catch_warnings(action="ignore"):
            model = unturned(load_model(tmp_path, backbone=backbone))
    except ModelLoadError:
        pytest.skip("no such backbone for this architecture")
    table = attention_ridge(model, ["w5 w6 w7 w8 w9", "w20 w21 w22"], ridges=[0.1])
    assert table.r2_smoother.min() > 0.9999


@pytest.mark.hooked
def test_the_gap_of_attention_of_a_head_is_that_of_its_singular_values(load):
    model = load("llama")
    text = "w5 w6 w7 w8 w9"
    tokens = torch.tensor(model.tokens(text))
    [(_, own)] = attention_patterns(model, tokens, [1]).items()
    torch.testing.assert_close(own.sum(dim=-1), torch.ones(own.shape[:2]))
    assert not bool(own.triu(diagonal=1).any())
    table = attention_gaps(model, [text], layers=[1])
    assert len(table) == model.shape.n_heads
    singular = torch.linalg.svdvals(own[0, 1:].double())
    expected = 1 - float(singular[1] / singular[0]) ** 2
    assert table.attention_gap[0] == pytest.approx(expected, rel=1e-6)
    assert table[["attention_gap", "attention_gap_centred", "key_gap"]].stack().between(0, 1).all()
    with pytest.raises(BadValueError, match="too short"):
        attention_gaps(model, ["w5"])

"""What is refused at load, or not offered, because it is not what transformers computes."""

from __future__ import annotations

import warnings

import pytest
import torch
import transformers as hf

from steerscope.engine.generation import generate
from steerscope.errors import BackboneWarning, ModelLoadError, UnsupportedSiteError
from steerscope.models.caches import Recompute
from steerscope.models.examination import examine
from steerscope.models.loading import load_model
from steerscope.models.truth import Truth, witness
from steerscope.sites import Site
from tests.conftest import word_tokenizer
from tests.models.random_models import (
    FALCON,
    GROUPED,
    LONG,
    MAMBA,
    PROMPTS,
    SIZES,
    load,
    original,
)


def test_an_encoder_is_no_language_model(saved):
    with pytest.raises(ModelLoadError, match="tokens see those behind them"):
        load(saved(hf.BertConfig(**SIZES)))
    assert load(saved(hf.BertConfig(**SIZES, is_decoder=True))).backbone == "bridge"


@pytest.mark.hooked
def test_a_model_that_no_backbone_runs_as_transformers_does_is_refused(saved):
    folder = saved(hf.CohereConfig(**GROUPED, logit_scale=0.25))
    with pytest.raises(ModelLoadError, match="TransformerBridge cannot, since its logits differ"):
        load(folder)
    with pytest.raises(ModelLoadError, match="or --dtype float32, which was not tried"):
        load(folder, dtype="bfloat16")
    with pytest.raises(ModelLoadError) as refused:
        load(folder, backbone="bridge")
    assert "float32" not in str(refused.value)
    with pytest.warns(BackboneWarning) as notes:
        load_model(folder, check=False)
    assert any("was not examined: nothing says" in str(note.message) for note in notes)


def faulty(model, site, fault):
    """The model with a fault in what one of its hook points tells or takes."""
    sound = model.hook
    model.hook = lambda at, function: sound(at, fault(function) if at == site else function)
    return model


def tells_another(function):
    return lambda x: function(x + 0.05)


def takes_nothing(function):
    return lambda x: (function(x), None)[1]


def never_runs(_function):
    return lambda _x: None


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_every_fault_of_a_site_takes_that_site_away(tiny_folder, backbone):
    folder = tiny_folder("llama")
    truth = witness(original(folder))
    assert examine(load(folder, backbone=backbone), truth).lacking == {}
    for stream, fault, words in [
        ("resid_post", tells_another, "it is not hidden_states[2] of transformers"),
        ("resid_pre", tells_another, "it is not hidden_states[1] of transformers"),
        ("attn_out", tells_another, "it is not what block 1 adds to its residual stream"),
        ("mlp_out", tells_another, "it is not what block 1 adds to its residual stream"),
        ("resid_post", takes_nothing, "a vector added there changes no logit"),
        ("k", takes_nothing, "a vector added there changes no logit"),
        ("mlp_pre_linear", takes_nothing, "a vector added there changes no logit"),
        ("z", never_runs, "its hook never runs"),
    ]:
        model = faulty(load(folder, backbone=backbone), Site(stream, 1), fault)
        assert examine(model, truth).lacking == {(stream, 1): words}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_a_small_part_of_a_large_stream_is_checked_in_half_precision(llama, backbone, dtype):
    """As in the late blocks of a large model, of which each adds a few percent of the stream."""
    embedding = "model.embed_tokens.weight"
    folder = llama(lambda w: w | {embedding: 200 * w[embedding]})
    half = hf.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="eager", dtype=getattr(torch, dtype)
    )
    truth = witness(half.eval())
    assert examine(load(folder, backbone=backbone, dtype=dtype), truth).lacking == {}
    for stream in ("attn_out", "mlp_out"):
        for factor in (0, -1, 1.5):
            model = load(folder, backbone=backbone, dtype=dtype)
            faulty(model, Site(stream, 1), lambda f, factor=factor: lambda x: f(factor * x))
            found = examine(model, truth).lacking
            assert found[stream, 1] == "it is not what block 1 adds to its residual stream"
            assert set(found) == {(stream, 1)}


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_a_site_that_is_taken_away_says_why_and_what_else_there_is(tiny_folder, backbone):
    model = load(tiny_folder("llama"), backbone=backbone)
    site = Site("attn_out", 1)
    faulty(model, site, takes_nothing)
    model.offer = examine(model, witness(original(tiny_folder("llama"))))
    assert not model.has(site)
    assert model.has(Site("attn_out", 0))
    with pytest.raises(
        UnsupportedSiteError, match="changes no logit; it has .*resid_post, mlp_out"
    ):
        model.check(site)


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_other_logits_refuse_a_model(tiny_folder, backbone):
    model = load(tiny_folder("llama"), backbone=backbone)
    sound = model.forward
    model.forward = lambda *a, **k: 1.01 * sound(*a, **k)
    with pytest.raises(ModelLoadError, match="logits differ from transformers' by"):
        examine(model, witness(original(tiny_folder("llama"))))


@pytest.mark.parametrize(("dtype", "factor"), [("bfloat16", 1.06), ("float16", 1.015)])
@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_in_half_precision_logits_may_differ_by_what_rounding_explains(
    tmp_path, backbone, dtype, factor
):
    torch.manual_seed(0)
    made = hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED))  # as initialised: little rounds far
    made.save_pretrained(tmp_path)
    word_tokenizer().save_pretrained(tmp_path)
    model = load(tmp_path, backbone=backbone, dtype=dtype)
    truth = witness(made.to(getattr(torch, dtype)).eval())
    assert examine(model, truth).lacking == {}
    sound = model.forward
    model.forward = lambda *a, **k: factor * sound(*a, **k)
    with pytest.raises(ModelLoadError, match=r"logits differ .*, where rounding explains 0\.0"):
        examine(model, truth)


@pytest.mark.hooked
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("context", [400, 180])
def test_a_backbone_that_overlooks_a_window_is_not_used_in_any_format(saved, dtype, context):
    """HookedTransformer knows no window of Qwen2; of a context of 180 tokens the last 30 are past it."""
    sizes = {**GROUPED, "max_position_embeddings": context, "max_window_layers": 0}
    folder = saved(hf.Qwen2Config(**sizes, use_sliding_window=True, sliding_window=150))
    with pytest.warns(BackboneWarning, match="logits differ") as notes:
        model = load_model(folder, dtype=dtype)
    assert model.backbone == "bridge"
    assert len(notes) == 1  # and it keeps its cache
    with pytest.raises(ModelLoadError, match="logits differ"):
        load_model(folder, backbone="hooked", dtype=dtype)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_logits_are_those_of_transformers_where_only_a_long_text_turns_positions_otherwise(
    saved, kind
):
    rope = LONG | {"original_max_position_embeddings": 100, "attention_factor": 1.0}
    if kind == "dynamic":  # of which the context is the length, whatever else is named
        rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0} | {
            "original_max_position_embeddings": 100
        }
    folder = saved(hf.LlamaConfig(**GROUPED, rope_parameters=rope))
    model, tokens = load(folder), torch.arange(SIZES["max_position_embeddings"])[None] % 96
    assert not model.offer.no_cache
    theirs = original(folder)(tokens).logits
    torch.testing.assert_close(model.forward(tokens), theirs, atol=1e-3, rtol=1e-3)
    if kind == "longrope":
        with pytest.raises(
            ModelLoadError, match="turn otherwise in a text of more than 100 tokens"
        ):
            load(folder, backbone="hooked")


def test_rounding_is_the_same_of_a_model_that_a_bridge_has_wrapped(tiny_folder):
    """Its hook points and what it leaves out in training round nothing."""
    network = original(tiny_folder("gpt2")).to(torch.float16)
    tokenizer, first = hf.AutoTokenizer.from_pretrained(tiny_folder("gpt2")), witness(network)
    load(network, tokenizer=tokenizer, backbone="bridge")
    again = witness(network)
    assert again.limit() == pytest.approx(first.limit(), rel=0.3)


def test_whatever_fails_in_an_examination_is_a_refusal_in_words(tiny_folder):
    folder = tiny_folder("llama")
    model, truth = load(folder), witness(original(folder))
    sound = model.forward

    def unable(tokens, **options):
        if tokens.shape == (2, 8) and not options:
            raise ValueError("two texts at once are not for me")
        return sound(tokens, **options)

    model.forward = unable
    with pytest.raises(ModelLoadError, match=r"examination fails \(two texts at once are not"):
        examine(model, truth)


def test_a_configuration_without_sizes_is_named(tiny_folder):
    network = original(tiny_folder("llama"))
    network.config = hf.PretrainedConfig()
    with pytest.raises(
        ModelLoadError, match=r"^its configuration lacks a size .*hidden_size.*; use another"
    ):
        witness(network)


def test_state_spaces_alone_for_which_transformers_makes_no_cache_write_without_one(saved):
    folder = saved(hf.BambaConfig(**GROUPED, **MAMBA))
    model, outside = load(folder), original(folder)
    assert "get_seq_length" in model.offer.no_cache
    for prompt, written in zip(PROMPTS, generate(model, PROMPTS, n_new=3)[0], strict=True):
        tokens = list(prompt)
        for _ in range(3):
            logits = outside(torch.tensor([tokens]), use_cache=False).logits
            tokens.append(int(logits[0, -1].argmax()))
        assert [t for t in tokens[len(prompt) :] if t != 2] == list(written.tokens)
    text = torch.tensor([PROMPTS[2]])
    told = outside(text, use_cache=False, output_hidden_states=True).hidden_states
    seen = model.read(text, [Site("resid_post", i) for i in range(2)])
    for site, activation in seen.items():
        torch.testing.assert_close(activation, told[site.layer + 1], atol=1e-4, rtol=1e-4)


def test_a_bridge_that_is_handed_over_writes_what_it_writes_without_its_cache(saved):
    """As the same folder does by name."""
    by_name = load(saved(hf.FalconConfig(**FALCON)))
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", BackboneWarning)
        model = load_model(by_name.transformer, tokenizer=by_name.tokenizer)
    told = [str(note.message) for note in notes if note.category is BackboneWarning]
    assert len(told) == 2
    assert "writes without a cache" in told[0]
    assert "by itself and not against transformers" in told[1]
    assert "a step from its cache is off by" in model.offer.no_cache
    assert generate(model, PROMPTS, n_new=5) == generate(model, PROMPTS, n_new=5, use_cache=False)
    assert set(model.offer.lacking) == set(by_name.offer.lacking)


class Forgetful(Recompute):
    """A cache that is always empty."""

    def extend(self, tokens):
        super().extend(tokens)
        return tokens


@pytest.mark.parametrize("backbone", ["hooked", "bridge"])
def test_a_cache_that_forgets_is_not_used(tiny_folder, backbone):
    model = load(tiny_folder("llama"), backbone=backbone)
    model.new_cache = lambda *_: Forgetful()
    model.offer = examine(model, witness(original(tiny_folder("llama"))))
    assert "a step from its cache is off by" in model.offer.no_cache
    plain = generate(load(tiny_folder("llama"), backbone=backbone), PROMPTS, n_new=5)
    assert generate(model, PROMPTS, n_new=5) == plain


def test_a_step_is_right_whoever_asks_for_it_where_transformers_keeps_nothing(saved):
    model = load(saved(hf.FalconConfig(**FALCON)))
    tokens = torch.tensor([PROMPTS[2]])
    cache = model.new_cache(1, 13)
    with torch.no_grad():
        model.forward(tokens[:, :-1], cache=cache)
        step = model.forward(tokens[:, -1:], cache=cache)
        torch.testing.assert_close(step, model.forward(tokens)[:, -1:], atol=1e-4, rtol=1e-4)


def test_the_text_is_longer_than_the_smallest_window_and_within_the_context():
    wide = hf.MistralConfig(**{**GROUPED, "max_position_embeddings": 512}, sliding_window=150)
    narrow = hf.MistralConfig(**GROUPED, sliding_window=8)
    short = hf.MistralConfig(**{**GROUPED, "max_position_embeddings": 40}, sliding_window=8)
    for config, n in (
        (wide, 214),
        (narrow, 67),
        (short, 40),
    ):  # 64 past a window, or as many as it has
        tokens = witness(hf.MistralForCausalLM(config).eval()).tokens
        assert tokens.shape == (1, n)
        assert not set(tokens.flatten().tolist()) & {1, 2}


def test_a_window_that_no_text_can_leave_is_none():
    for width, context, n in ((128, 128, 67), (4096, 128, 67), (100, 128, 128)):
        config = hf.MistralConfig(
            **{**GROUPED, "max_position_embeddings": context}, sliding_window=width
        )
        truth = witness(hf.MistralForCausalLM(config).eval())
        assert (truth.tokens.shape, truth.beyond) == ((1, n), n - 100 if width < context else 0)
        assert truth.unseen == 0


@pytest.mark.parametrize(("width", "free"), [(100, 2**16), (50_000, 2**40)])
def test_a_window_that_costs_too_much_to_leave_is_not_examined_and_said(
    saved, monkeypatch, width, free
):
    sizes = {**GROUPED, "max_position_embeddings": 100_000}
    folder = saved(hf.MistralConfig(**sizes, sliding_window=width))
    monkeypatch.setattr("steerscope.models.truth.free_memory", lambda _device: free)
    with pytest.warns(BackboneWarning, match=f"within its attention window of {width:,} tokens"):
        model = load_model(folder)
    assert model.offer.unseen == width


@pytest.mark.filterwarnings("always::steerscope.errors.BackboneWarning")
def test_a_command_says_what_goes_without_the_examination(run_cli, tiny_folder):
    arguments = ["lens", "--model", tiny_folder("llama"), "--prompt", "w5 w6", "--top", 1]
    code, told, errors = run_cli(*arguments, "--no-check")
    assert code == 0
    assert "was not examined: nothing says that it computes what transformers" in errors
    assert run_cli(*arguments) == (0, told, "")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_once", [1, 24, 2**20])
def test_a_difference_taken_in_pieces_is_that_of_the_whole(dtype, at_once, monkeypatch):
    monkeypatch.setattr("steerscope.models.truth.NUMBERS_AT_ONCE", at_once)
    drawn = torch.Generator().manual_seed(0)
    theirs, noise = (torch.randn(9, 8, generator=drawn) for _ in range(2))
    truth = Truth(torch.zeros(1, 9, dtype=torch.long), theirs, (), dtype)
    ours = theirs + 0.01 * noise
    off = 0.01 * noise / theirs.std()
    typical = off.pow(2).mean(-1).sqrt().median()
    expected = off.abs().max() if dtype == torch.float32 else typical
    assert truth.gap(ours, theirs) == pytest.approx(float(expected), rel=1e-3)
    ours[3, 5] = torch.nan
    assert truth.gap(ours, theirs) == torch.inf or dtype != torch.float32
    assert truth.gap(ours[:8], theirs) == torch.inf


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_added_to_a_stream_is_told_from_something_else_however_small_it_is(dtype):
    drawn = torch.Generator().manual_seed(0)
    truth = Truth(torch.zeros(1, 64, dtype=torch.long), torch.zeros(64, 8), (), dtype)
    stream = torch.randn(64, 512, generator=drawn).to(dtype)
    for size in (2.0, 0.08, 0.02):
        one, two = ((size * torch.randn(64, 512, generator=drawn)).to(dtype) for _ in "ab")
        assert truth.adds_up(stream + one, stream, one)
        assert truth.adds_up(stream + one + two, stream, one, two)
        assert truth.adds_up(stream + (two + one), stream, one, two)
        for other in (0 * one, -one, two, one * torch.nan):
            assert not truth.adds_up(stream + one, stream, other)
            assert not truth.adds_up(stream + one + two, stream, other, two)

from __future__ import annotations

import pytest
import torch

from steerscope.errors import (
    BadValueError,
    ModelLoadError,
    PromptTooLongError,
    UnknownNameError,
    UnsupportedSiteError,
)
from steerscope.models.attention import grouped_attention
from steerscope.models.clock import Clock
from steerscope.models.loading import load_model
from steerscope.models.weight_hashes import weights_fingerprint
from steerscope.sites import STREAMS, Site
from steerscope.studies.steering.plan import SweepPlan
from steerscope.studies.steering.prepare import sites_at
from tests.helpers import FAMILIES

TOKENS = torch.tensor([[1, 10, 20, 30]])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_width_of_every_site_is_that_of_its_activations(load, family):
    for backbone in ("hooked", "bridge"):
        if backbone == "hooked" and family in {"gemma3", "lfm2"}:
            continue
        model = load(family, backbone)
        for stream in STREAMS:
            for layer in range(model.shape.n_layers):
                site = Site(stream, layer)
                if not model.has(site):
                    continue
                with torch.no_grad():
                    seen = model.read(TOKENS, [site])[site]
                assert seen.shape == (1, 4, model.width(site)), (family, backbone, site)


def test_the_beginning_token_comes_exactly_once(tiny):
    assert tiny.tokens("w5 w6") == [1, 5, 6]
    assert tiny.tokens("<s> w5 w6") == [1, 5, 6]
    assert tiny.tokens("w5 w6", bos="never") == [5, 6]
    assert tiny.tokens("<s> w5 w6", bos="never") == [1, 5, 6]


def test_ids_are_taken_as_they_are(tiny):
    for bos in ("auto", "always", "never"):
        assert tiny.tokens([5, 6], bos=bos) == [5, 6]
        assert tiny.tokens([1, 5, 6], bos=bos) == [1, 5, 6]


def test_a_tokenizer_that_adds_it_by_itself_gets_no_second_one(microworld):
    first = microworld.tokenizer.bos_token_id
    for text in ("Mia smiled.", microworld.tokenizer("Mia smiled.").input_ids):
        assert microworld.tokens(text).count(first) == 1
    bare = microworld.tokens("Mia smiled.", bos="never")
    assert bare == microworld.tokens("Mia smiled.")[1:]
    assert microworld.text(microworld.tokens("Mia smiled.")) == "Mia smiled."


def test_impossible_prompts_are_named(tiny):
    with pytest.raises(PromptTooLongError, match="has 65 tokens; the context of llama holds 64"):
        tiny.tokens([5] * 65)
    assert len(tiny.tokens([5] * 64)) == 64
    with pytest.raises(BadValueError, match="outside 0..95"):
        tiny.tokens([5, 96])
    with pytest.raises(BadValueError, match="no tokens"):
        tiny.tokens([])


def test_sites_that_are_not_there_are_named(tiny):
    with pytest.raises(UnsupportedSiteError, match="has layers 0 to 2"):
        tiny.check(Site("resid_post", 3))
    with pytest.raises(UnsupportedSiteError, match="k heads 0 to 1"):
        tiny.check(Site("k", 0, 2))
    tiny.check(Site("q", 0, 3))


def test_a_module_before_a_norm_is_not_taken_for_what_the_block_adds(load):
    model = load("gemma3", "bridge")
    for name in ("model.layers.1.mlp.down_proj", "model.layers.1.self_attn.o_proj", "down_proj.1"):
        place = Site.parse(name)
        with pytest.raises(UnsupportedSiteError, match=f"a norm between .*; write {place} if"):
            model.check(place)
        model.check(Site(place.stream, place.layer))
    model.check(Site.parse("blocks.1.hook_mlp_out"))
    model.check(Site.parse("model.layers.1"))
    plain = load("llama", "bridge")
    plain.check(Site.parse("model.layers.1.mlp.down_proj"))
    assert Site.parse("model.layers.1.mlp.down_proj") == Site("mlp_out", 1)


def test_models_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ModelLoadError, match="not bundled .microworld."):
        load_model("no-such-model")
    with pytest.raises(ModelLoadError, match="no model folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelLoadError, match="has no config.json"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelLoadError, match="cannot load model"):
        load_model(tmp_path)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n"
    (tmp_path / "model.safetensors").write_text(pointer)
    with pytest.raises(ModelLoadError, match="model.safetensors is a git-lfs pointer.*lfs pull"):
        load_model(tmp_path)
    with pytest.raises(UnknownNameError, match="auto, bridge, hooked"):
        load_model("microworld", backbone="hoked")
    with pytest.raises(UnknownNameError, match="bfloat16, float16, float32"):
        load_model("microworld", dtype="float8")


@pytest.mark.hooked
def test_a_folder_whose_name_is_another_familys_loads_as_what_it_is(tiny_folder, tmp_path):
    disguised = tmp_path / "my-llama-and-gemma"
    disguised.symlink_to(tiny_folder("gpt2"))
    model = load_model(disguised)
    assert model.backbone == "hooked"
    assert model.shape.n_key_value_heads == 4


def test_bfloat16_has_the_fingerprint_of_float32(tiny_folder, load):
    narrow = load_model(tiny_folder("llama"), dtype="bfloat16")
    assert narrow.dtype == torch.bfloat16
    assert narrow.fingerprint == load("llama").fingerprint


def test_the_fingerprint_sees_architecture_names_and_numbers():
    weights = {"a": torch.ones(3), "b": torch.zeros(2, 2)}
    prints = {
        weights_fingerprint("X", weights),
        weights_fingerprint("Y", weights),
        weights_fingerprint("X", weights | {"a": torch.full((3,), 1.1)}),
        weights_fingerprint("X", {"a": torch.ones(3), "c": torch.zeros(2, 2)}),
        weights_fingerprint("X", weights | {"b": torch.zeros(4)}),
    }
    assert len(prints) == 5


def test_the_clock_follows_the_cache(tiny):
    cache = tiny.new_cache(1, 4)
    with torch.no_grad():
        tiny.forward(TOKENS[:, :3], cache=cache)
        assert (tiny.clock.start, tiny.clock.prompt_length) == (0, 3)
        tiny.forward(TOKENS[:, 3:], cache=cache)
    assert (tiny.clock.start, tiny.clock.prompt_length) == (3, 3)
    assert tiny.clock.positions(2, torch.device("cpu")).tolist() == [[3, 4]]


def test_a_held_prompt_length_stays():
    clock = Clock()
    with clock.hold(4):
        clock.begin(0, 9)
        assert clock.prompt_length == 4
    clock.begin(0, 9)
    assert clock.prompt_length == 9


def test_the_last_position_alone_is_the_last_of_all(tiny):
    with torch.no_grad():
        whole = tiny.forward(TOKENS)
        last = tiny.forward(TOKENS, last=1)
    torch.testing.assert_close(last, whole[:, -1:])


def test_unembedding_the_last_block_gives_the_logits(tiny):
    seen = {}
    with torch.no_grad(), tiny.hook(Site("resid_post", 2), lambda x: seen.update(x=x)):
        logits = tiny.forward(TOKENS)
        torch.testing.assert_close(tiny.unembed(seen["x"]), logits, atol=1e-5, rtol=1e-5)


def test_a_plan_takes_the_stream_of_a_module_as_a_site_does(load):
    for name, stream in (
        ("mlp.down_proj", "mlp_out"),
        ("k_proj", "k"),
        ("hook_mlp_out", "mlp_out"),
    ):
        assert SweepPlan(stream=name).stream == stream
    plan = SweepPlan(stream="mlp.down_proj")
    named = plan.module or plan.stream
    assert sites_at(load("llama", "bridge"), named, [1]) == [Site("mlp_out", 1)]
    for layers in ([1], None):
        with pytest.raises(UnsupportedSiteError, match="a norm between mlp.down_proj"):
            sites_at(load("gemma3", "bridge"), named, layers)
    assert sites_at(load("gemma3", "bridge"), "mlp_out", [1]) == [Site("mlp_out", 1)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_pos", [1, 3])
def test_a_step_in_half_precision_attends_as_the_whole_text_does(dtype, n_pos):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 24, 4, 16, generator=generator).mul(4).to(dtype) for _ in range(3))
    k, v = (x[:, :, :2].transpose(1, 2).contiguous() for x in (k, v))
    exact = grouped_attention(q.float(), k.float(), v.float(), 4.0)[:, -n_pos:]
    step = grouped_attention(q[:, -n_pos:], k, v, 4.0)
    one_step = torch.finfo(dtype).eps * float(v.abs().max())
    assert float((step.float() - exact).abs().max()) < one_step
    ragged = grouped_attention(q[:, -1:], k, v, 4.0, torch.tensor([24, 24]))
    assert float((ragged.float() - exact[:, -1:]).abs().max()) < one_step

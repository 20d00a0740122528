from __future__ import annotations

import pytest

from steerscope.errors import BadValueError, UnknownNameError
from steerscope.sites import STREAMS, Site


@pytest.mark.parametrize("site", [Site("resid_post", 6), Site("z", 6, 3), Site("mlp_pre", 0)])
def test_a_site_is_read_back_from_its_name(site):
    assert Site.parse(str(site)) == site


@pytest.mark.parametrize("stream", STREAMS)
def test_a_site_is_found_by_its_hook_name(stream):
    assert Site.at_hook(Site(stream, 6).hook_name) == Site(stream, 6)


@pytest.mark.parametrize("name", ["hook_embed", "blocks.6.hook_resid", "blocks.x.hook_z", ""])
def test_other_hook_names_are_no_sites(name):
    with pytest.raises(BadValueError, match="no site at hook point .*hook_resid_post"):
        Site.at_hook(name)


def test_sites_are_written_as_stream_layer_head():
    assert str(Site("resid_post", 6)) == "resid_post.6"
    assert str(Site("z", 6, 3)) == "z.6.h3"


def test_every_stream_has_a_hook_name_and_words():
    for stream in STREAMS:
        site = Site(stream, 2)
        assert site.hook_name.startswith("blocks.2.")
        assert "block 2" in site.words


def test_the_layer_convention_is_spelled_out():
    assert Site("resid_post", 6).words == (
        "output of block 6, 0-based = HF hidden_states[7], before any final norm"
    )
    assert Site("resid_pre", 6).words == "input of block 6, 0-based = HF hidden_states[6]"


@pytest.mark.parametrize("text", ["resid_post", "resid_post.-1", "resid_post.1.2", "z.1.3", ""])
def test_a_malformed_site_says_how_to_write_it(text):
    with pytest.raises(BadValueError, match="write it as stream.layer"):
        Site.parse(text)


@pytest.mark.parametrize(
    ("text", "site"),
    [
        ("5", "resid_post.5"),
        ("layers.5", "resid_post.5"),
        ("model.layers.5", "resid_post.5"),
        ("transformer.h.5", "resid_post.5"),
        ("model.language_model.layers.5", "resid_post.5"),
        ("model.layers.5.mlp", "mlp_out.5"),
        ("model.layers.5.mlp.down_proj", "mlp_out.5"),
        ("model.layers.5.mlp.down_proj.weight", "mlp_out.5"),
        ("model.layers.5.mlp.gate_proj", "mlp_pre.5"),
        ("model.layers.5.mlp.up_proj", "mlp_pre_linear.5"),
        ("model.layers.5.self_attn", "attn_out.5"),
        ("model.layers.5.self_attn.k_proj", "k.5"),
        ("model.layers.5.self_attn.o_proj", "attn_out.5"),
        ("transformer.h.5.attn.c_proj", "attn_out.5"),
        ("transformer.h.5.mlp.c_proj", "mlp_out.5"),
        ("gpt_neox.layers.5.mlp.dense_4h_to_h", "mlp_out.5"),
        ("gpt_neox.layers.5.attention.dense", "attn_out.5"),
        ("k_proj.5", "k.5"),
        ("down_proj.5", "mlp_out.5"),
        ("hook_resid_pre.5", "resid_pre.5"),
        ("hook_z.5.h3", "z.5.h3"),
        *((Site(stream, 5).hook_name, f"{stream}.5") for stream in STREAMS),
    ],
)
def test_names_of_transformers_and_transformerlens_are_sites(text, site):
    assert str(Site.parse(text)) == site


@pytest.mark.parametrize(
    "text",
    [
        "model.layers.5.input_layernorm", "model.layers.5.mlp.gate", "transformer.h.5.attn.c_attn",
        "model.layers.5.mlp.experts.3.down_proj", "model.layers.5.mlp.shared_expert.down_proj",
        "model.layers.5.mlp.experts", "model.embed_tokens", "blocks.5.hook_resid", "layers.5.6",
    ],
)  # fmt: skip
def test_modules_that_are_no_place_in_a_block_are_refused(text):
    with pytest.raises((BadValueError, UnknownNameError), match="cannot read site|unknown stream"):
        Site.parse(text)


def test_an_unknown_stream_lists_the_known_ones_and_guesses():
    with pytest.raises(UnknownNameError, match="Did you mean 'resid_post'.*attn_out.*z"):
        Site.parse("resid_pots.3")


def test_negative_layers_and_misplaced_heads_are_refused():
    with pytest.raises(BadValueError, match="negative"):
        Site("resid_post", -1)
    with pytest.raises(BadValueError, match="has no heads"):
        Site("resid_post", 1, 0)
    with pytest.raises(BadValueError, match="head -1 is negative"):
        Site("z", 1, -1)

"""Codes and reconstructions agree with sae-lens and with hand arithmetic."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from steerscope.errors import AutoencoderFileError, BadValueError, NotFiniteError
from steerscope.sae.conversion import from_sae_lens, to_sae_lens
from tests.sae.builders import identity_dictionary, random_inner

ARCHITECTURES = {
    "standard": {},
    "topk": {"k": 5, "rescale_acts_by_decoder_norm": True},
    "topk of raw pre-activations": {"k": 5},
    "jumprelu": {},
}
X = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) * 2 + 0.5


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("kind", ARCHITECTURES)
@torch.no_grad()
def test_an_autoencoder_of_sae_lens_speaks_the_same_here(kind, centred, normalisation):
    inner = random_inner(
        kind.split()[0],
        **ARCHITECTURES[kind],
        apply_b_dec_to_input=centred,
        normalize_activations=normalisation,
    )
    ours = from_sae_lens(inner, "x")
    codes, rebuilt = inner.encode(X), inner(X)
    torch.testing.assert_close(ours.decoder.norm(dim=-1), torch.ones(24))
    # A code is a length along a unit row, so sae-lens' is shorter by the norm of its row. Where
    # sae-lens multiplies by that norm before it chooses, its codes are lengths already.
    factor = (
        1.0 if "rescale_acts_by_decoder_norm" in ARCHITECTURES[kind] else inner.W_dec.norm(dim=-1)
    )
    torch.testing.assert_close(ours.encode(X), codes * factor, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.reconstruct(X), rebuilt, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(to_sae_lens(ours)(X), rebuilt, rtol=1e-4, atol=1e-4)


def test_a_small_case_by_hand():
    sae = replace(
        identity_dictionary(2), encoder_bias=torch.tensor([0.0, -1.0, 0.5, 0.0]), name="hand"
    )
    x = torch.tensor([3.0, -2.0])
    assert sae.pre_activations(x).tolist() == [3.0, -3.0, -2.5, 2.0]
    assert sae.encode(x).tolist() == [3.0, 0.0, 0.0, 2.0]
    assert sae.reconstruct(x).tolist() == [3.0, -2.0]
    one = replace(sae, architecture="topk", k=1)
    assert one.encode(x).tolist() == [3.0, 0.0, 0.0, 0.0]
    ranked = replace(one, ranking=torch.tensor([0.1, 1.0, 1.0, 1.0]))
    assert ranked.encode(x).tolist() == [0.0, 0.0, 0.0, 2.0]
    above = replace(sae, architecture="jumprelu", threshold=torch.full((4,), 2.0))
    assert above.encode(x).tolist() == [3.0, 0.0, 0.0, 0.0]  # 2 is not above 2


@pytest.mark.parametrize("on_input", [True, False])
@pytest.mark.parametrize("normalisation", ["none", "layer_norm"])
def test_a_code_is_that_of_the_stream_without_its_mean(on_input, normalisation):
    inner = random_inner(
        "standard", apply_b_dec_to_input=on_input, normalize_activations=normalisation
    )
    inner.b_dec.data += 1.0
    plain = from_sae_lens(inner, "x")
    inner.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": True}
    ours, centred = from_sae_lens(inner, "x"), X - X.mean(dim=-1, keepdim=True)
    for x in (X, X + 3.0):
        torch.testing.assert_close(ours.encode(x), plain.encode(centred), rtol=1e-4, atol=1e-4)
    inner.cfg.normalize_activations = "constant_norm_rescale"
    with pytest.raises(AutoencoderFileError, match="center_writing_weights"):
        from_sae_lens(inner, "x")


def test_centring_takes_nothing_from_what_is_not_written_to_the_stream():
    inner = random_inner("standard", metadata={"hook_name": "blocks.1.mlp.hook_post"})
    plain = from_sae_lens(inner, "x")
    inner.cfg.metadata.model_from_pretrained_kwargs = {"center_writing_weights": True}
    assert torch.equal(from_sae_lens(inner, "x").encode(X), plain.encode(X))


def test_options_of_loading_are_refused_where_they_change_what_is_read():
    inner = random_inner("standard")
    plain = from_sae_lens(inner, "x")
    for options in (
        {"n_devices": 2},
        {"fold_ln": True, "center_unembed": True, "dtype": "float16"},
        {"fold_value_biases": True},
        {"checkpoint_index": None, "fold_ln": False},
    ):
        inner.cfg.metadata.model_from_pretrained_kwargs = options
        assert torch.equal(from_sae_lens(inner, "x").encode(X), plain.encode(X))
    inner.cfg.metadata.model_from_pretrained_kwargs = {"checkpoint_index": 0, "n_devices": 2}
    with pytest.raises(AutoencoderFileError, match=r"\{'checkpoint_index': 0\}"):
        from_sae_lens(inner, "x")
    inner.cfg.metadata.model_from_pretrained_kwargs = {"fold_value_biases": True}
    inner.cfg.metadata.hook_name = "blocks.1.attn.hook_z"
    with pytest.raises(AutoencoderFileError, match="fold_value_biases"):
        from_sae_lens(inner, "x")


def test_a_feature_without_a_decoder_row_never_speaks():
    inner = random_inner("jumprelu")
    inner.W_dec.data[4] = 0
    inner.b_enc.data[4] = 100.0
    ours = from_sae_lens(inner, "x")
    assert not ours.encode(X)[:, 4].any()
    with torch.no_grad():
        torch.testing.assert_close(ours.reconstruct(X), inner(X), rtol=1e-4, atol=1e-4)


def test_what_cannot_be_is_refused_by_name():
    sae = identity_dictionary(2)
    with pytest.raises(NotFiniteError, match="identity"):
        replace(sae, encoder=sae.encoder * float("nan"))
    with pytest.raises(AutoencoderFileError, match="norm is not 1"):
        replace(sae, decoder=sae.decoder * 2)
    with pytest.raises(AutoencoderFileError, match="no threshold"):
        replace(sae, architecture="jumprelu")
    for k in (None, 0, 5):
        with pytest.raises(BadValueError, match="choose 1 to 4"):
            replace(sae, architecture="topk", k=k)
    with pytest.raises(BadValueError, match="`like`"):
        replace(sae, normalisation="layer_norm").decode(torch.ones(4))

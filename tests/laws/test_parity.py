"""Equal to independent tools: transformers, steering-vectors and repeng."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.errors import BackboneWarning, ModelLoadError, UnsupportedSiteError
from steerscope.extraction.activations import extract
from steerscope.models.loading import load_model
from steerscope.sites import STREAMS, Site
from steerscope.steering.interventions import Cell, Steering, steer
from steerscope.steering.scopes import Scope
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from tests.helpers import FAMILIES, random_direction
from tests.same_text import assert_same_text

TOKENS = torch.tensor([[1, 10, 20, 30, 40, 50, 60, 70], [1, 9, 8, 7, 6, 5, 4, 3]])
HOOKED = [f for f in FAMILIES if f not in {"gemma3", "lfm2"}]


def original(folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_and_block_outputs_are_those_of_transformers(tiny_folder, load, family):
    outside = original(tiny_folder(family))(TOKENS, output_hidden_states=True)
    for backbone in ("hooked", "bridge") if family in HOOKED else ("bridge",):
        model = load(family, backbone)
        block = Site("resid_post", 0)
        torch.testing.assert_close(model.forward(TOKENS), outside.logits, atol=1e-4, rtol=1e-4)
        ours = model.read(TOKENS, [block])[block]
        torch.testing.assert_close(ours, outside.hidden_states[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", HOOKED)
@pytest.mark.parametrize("stream", STREAMS)
def test_a_hook_has_the_same_activation_and_the_same_effect_on_both_backbones(load, family, stream):
    site = Site(stream, 1)
    found, steered = [], []
    for backbone in ("hooked", "bridge"):
        model = load(family, backbone)
        if not model.has(site):
            found.append(None)
            continue
        found.append(model.read(TOKENS, [site])[site].clone())
        with steer(model, Steering(random_direction(model, site), Dose(2.0))):
            steered.append(model.forward(TOKENS))
    if found[0] is None:  # such as resid_mid of parallel blocks, or the gate of a plain MLP
        with pytest.raises(UnsupportedSiteError, match="has no such hook point"):
            load(family, "hooked").check(site)
        return
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(steered[0], steered[1], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_steering_a_block_output_is_a_hook_on_that_block_in_transformers(tiny_folder, load, family):
    outside = original(tiny_folder(family))
    inner = getattr(outside, outside.base_model_prefix)
    block = (inner.h if family == "gpt2" else inner.layers)[1]
    for backbone in ("hooked", "bridge") if family in HOOKED else ("bridge",):
        model = load(family, backbone)
        direction = random_direction(model, Site("resid_post", 1), natural=2.0)

        def push(_module, _inputs, output, unit=direction.unit):
            hidden = output[0] if isinstance(output, tuple) else output
            moved = hidden.clone()
            moved[:, 1:] += 3.0 * unit
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        handle = block.register_forward_hook(push)
        expected = outside(TOKENS).logits
        handle.remove()
        with steer(model, Steering(direction, Dose(1.5))):
            torch.testing.assert_close(model.forward(TOKENS), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", ["gemma3", "lfm2"])
@pytest.mark.hooked
def test_where_transformerlens_cannot_convert_the_bridge_takes_over_and_says_so(
    tiny_folder, family
):
    with pytest.warns(BackboneWarning, match="runs on TransformerBridge, since HookedTransformer"):
        model = load_model(tiny_folder(family))
    assert model.backbone == "bridge"
    with pytest.raises(ModelLoadError, match="cannot run .*use the bridge"):
        load_model(tiny_folder(family), backbone="hooked")


@pytest.mark.parametrize("family", HOOKED)
@pytest.mark.hooked
def test_the_hooked_backbone_comes_first_and_shares_the_fingerprint(tiny_folder, load, family):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_model(tiny_folder(family)).backbone == "hooked"
    hooked, bridge = load(family, "hooked"), load(family, "bridge")
    assert hooked.fingerprint == bridge.fingerprint
    assert hooked.shape == bridge.shape


@pytest.fixture(scope="module", params=["hooked", "bridge"])
def stories(request, shared):
    return load_model(shared / "models" / "stories260K", backbone=request.param)


@pytest.fixture(scope="module")
def golden(shared):
    text = (shared / "goldens" / "peers_stories260K.json").read_text()
    arrays = np.load(shared / "goldens" / "peers_stories260K.npz")
    return json.loads(text), arrays


@pytest.fixture(scope="module")
def contrasts(stories, golden):
    words, _ = golden
    pairs = tuple(
        ContrastPair(p, n, "mood")
        for p, n in zip(words["positive"], words["negative"], strict=True)
    )
    sites = [Site("resid_post", layer) for layer in range(stories.shape.n_layers)]
    return extract(stories, ContrastSet("golden", pairs), sites)


def test_tokens_are_those_of_the_peers(stories, golden):
    words, _ = golden
    assert [stories.tokens(p) for p in words["prompts"]] == words["prompt_ids"]
    pairs = zip(words["positive"], words["negative"], strict=True)
    assert [[stories.tokens(p), stories.tokens(n)] for p, n in pairs] == words["pair_ids"]


def test_mean_differences_are_those_of_steering_vectors(contrasts, golden):
    _, arrays = golden
    for site, contrast in contrasts.items():
        direction = find_direction("mean_diff", contrast)
        ours = (direction.unit * direction.scale.natural).numpy()
        np.testing.assert_allclose(ours, arrays[f"sv_mean.{site.layer}"], atol=1e-5)


def test_uncentred_pca_is_that_of_steering_vectors_up_to_sign(contrasts, golden):
    _, arrays = golden
    for site, contrast in contrasts.items():
        ours = find_direction("pca_uncentred", contrast).unit.numpy()
        theirs = arrays[f"sv_pca.{site.layer}"].squeeze()
        theirs = theirs / np.linalg.norm(theirs)
        np.testing.assert_allclose(ours * np.sign(ours @ theirs), theirs, atol=1e-4)


def test_centred_pca_is_that_of_repeng_up_to_sign(stories, contrasts, golden):
    _, arrays = golden
    for site, contrast in contrasts.items():
        if site.layer in {0, stories.shape.n_layers - 1}:
            continue  # repeng leaves block 0 out, and reads the last block after the final norm
        ours = find_direction("pca_centred", contrast).unit.numpy()
        theirs = arrays[f"repeng_pca_diff.{site.layer}"].squeeze()
        np.testing.assert_allclose(ours * np.sign(ours @ theirs), theirs, atol=1e-3)


def steering_of(case, contrasts):
    contrast = contrasts[Site("resid_post", case["layer"])]
    direction = find_direction("mean_diff", contrast)
    if case["operator"] == "project_out":
        return Steering(direction, operator="project_out", scope=Scope.everywhere())
    return Steering(direction, Dose(case["coefficient_natural"]), scope=Scope.everywhere())


def test_steered_logits_are_those_of_steering_vectors(stories, contrasts, golden):
    words, arrays = golden
    tokens = torch.tensor([words["prompt_ids"][0]])
    plain = stories.forward(tokens)[0, -1].numpy()
    np.testing.assert_allclose(plain, arrays["hf_logits_last.0"].squeeze(), atol=1e-3)
    stored = [name for name in arrays.files if name.startswith("steered_logits.")]
    assert len(stored) == len(words["steered"])
    for case in words["steered"]:
        dose = case["coefficient_natural"]
        name = f"steered_logits.{case['layer']}.{case['operator']}.{dose}"
        with steer(stories, steering_of(case, contrasts)):
            ours = stories.forward(tokens)[0, -1].numpy()
        np.testing.assert_allclose(ours, arrays[name].squeeze(), atol=1e-3)


def test_greedy_tokens_are_those_of_steering_vectors(stories, contrasts, golden):
    words, _ = golden
    cells = [Cell()] + [Cell((steering_of(case, contrasts),)) for case in words["steered"]]
    n_new = len(words["plain_tokens"][0])
    found = generate(stories, words["prompt_ids"], cells, n_new=n_new)
    expected = [words["plain_tokens"]] + [case["tokens"] for case in words["steered"]]
    for cell, ours, theirs in zip(cells, found, expected, strict=True):
        for prompt, text, tokens in zip(words["prompt_ids"], ours, theirs, strict=True):
            wanted = replace(text, tokens=tuple(tokens[: len(text.tokens)]))
            assert_same_text(stories, (prompt, cell), text, wanted)
            assert len(text.tokens) == n_new or text.ended

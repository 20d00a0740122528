"""A direction without steerscope: TransformerLens and transformers say what we say."""

from __future__ import annotations

import pytest
import torch
import transformers

import steerscope as ss
from steerscope.errors import BadValueError, UnsupportedSiteError, VectorMismatchError

PAIRS = [("w3 w4 w5", "w3 w4 w6"), ("w7 w8 w5", "w7 w8 w6"), ("w9 w5", "w9 w6")]
TEXT, DOSE = "w3 w4 w5 w8", 3.0
FAMILIES = ["gpt2", "llama"]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def network(family, tiny_folder):
    return transformers.AutoModelForCausalLM.from_pretrained(tiny_folder(family)).eval()


def direction_at(model, site):
    return ss.find_direction("mean_diff", ss.extract(model, PAIRS, site))


def ours(model, direction, **scope):
    with ss.steer(model, ss.Steering(direction, DOSE, **scope)):
        return model.forward(torch.tensor([model.tokens(TEXT)])).log_softmax(-1)


@pytest.mark.parametrize("site", ["resid_post.1", "resid_pre.1", "mlp_out.1", "z.1"])
@pytest.mark.parametrize(("scope", "first"), [("all", False), ("everywhere", True)])
def test_the_hook_gives_transformer_lens_our_logits(load, family, site, scope, first):
    model = load(family, "hooked")
    direction = direction_at(model, site)
    tokens = torch.tensor([model.tokens(TEXT)])
    hooks = [direction.hook(DOSE, first=first)]
    theirs = model.transformer.run_with_hooks(tokens, fwd_hooks=hooks).log_softmax(-1)
    torch.testing.assert_close(theirs, ours(model, direction, scope=scope), atol=1e-5, rtol=1e-4)
    plain = model.forward(tokens).log_softmax(-1)
    assert not torch.allclose(theirs, plain, atol=1e-3)


@pytest.mark.parametrize("site", ["resid_post.1", "resid_pre.2", "resid_post.2"])
@pytest.mark.parametrize(("scope", "first"), [("all", False), ("everywhere", True)])
def test_transformers_alone_has_our_logits(load, network, family, site, scope, first):
    model = load(family, "hooked")
    direction = direction_at(model, site)
    tokens = torch.tensor([model.tokens(TEXT)])
    before = network(tokens).logits
    with direction.to_transformers(network, DOSE, first=first) as steered, torch.no_grad():
        theirs = steered(tokens).logits.log_softmax(-1)
    torch.testing.assert_close(theirs, ours(model, direction, scope=scope), atol=1e-4, rtol=1e-3)
    assert torch.equal(network(tokens).logits, before)
    assert not torch.allclose(theirs, before.log_softmax(-1), atol=1e-3)


def test_transformers_writes_alike_cached_or_not_and_padded_or_alone(load, network, family):
    model = load(family, "hooked")
    direction = direction_at(model, "resid_post.0")
    short, long = model.tokens("w3 w4"), model.tokens("w3 w4 w5 w8 w9")
    pad = [0] * (len(long) - len(short))
    mask = torch.tensor([[0] * len(pad) + [1] * len(short), [1] * len(long)])
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with direction.to_transformers(network, DOSE):
        alone = network.generate(torch.tensor([short]), **options)[0, len(short) :]
        slow = network.generate(torch.tensor([short]), use_cache=False, **options)
        both = network.generate(torch.tensor([pad + short, long]), attention_mask=mask, **options)
    assert torch.equal(slow[0, len(short) :], alone)
    assert torch.equal(both[0, len(long) :], alone)
    with ss.steer(model, ss.Steering(direction, DOSE)):
        [[written]] = ss.generate(model, [short], n_new=6)
    assert list(written.tokens) == alone.tolist()[: len(written.tokens)]


def test_a_model_that_also_looks_at_pictures_is_steered_alike_padded_or_alone(load, tiny_folder):
    model = load("gemma3_pictures", "bridge")
    network = transformers.AutoModelForCausalLM.from_pretrained(tiny_folder("gemma3_pictures"))
    direction = direction_at(model, "resid_post.1")
    ids = torch.tensor([model.tokens(TEXT)])
    padded, mask = (torch.cat([torch.zeros_like(x[:, :2]), x], 1) for x in (ids, ids * 0 + 1))
    with direction.to_transformers(network.eval(), DOSE), torch.no_grad():
        alone = network(ids).logits.log_softmax(-1)
        behind = network(padded, attention_mask=mask).logits[:, 2:].log_softmax(-1)
    torch.testing.assert_close(alone, ours(model, direction), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(behind, alone, atol=1e-4, rtol=1e-3)


def test_a_model_is_as_it_was_after_an_exception(load, network, family):
    direction = direction_at(load(family, "hooked"), "resid_post.1")
    tokens = torch.tensor([[1, 3, 4]])
    before = network(tokens).logits
    with pytest.raises(RuntimeError, match="mine"), direction.to_transformers(network, DOSE):
        raise RuntimeError("mine")
    assert torch.equal(network(tokens).logits, before)


def test_what_transformers_cannot_do_is_refused_with_the_way_out(load, network, family):
    model = load(family, "hooked")
    at_mlp, ahead = direction_at(model, "mlp_out.1"), direction_at(model, "resid_post.1")
    refused = [
        (at_mlp, network, 1.0, UnsupportedSiteError, "find the direction there"),
        (ahead, network, ss.Dose(10.0, "degrees"), BadValueError, "angle"),
        (ahead, torch.nn.Linear(2, 2), 1.0, BadValueError, "load_model"),
    ]
    for direction, given, dose, error, says in refused:
        with pytest.raises(error, match=says), direction.to_transformers(given, dose):
            pass
    other = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(n_embd=8, n_layer=3, n_head=2, vocab_size=9)
    )
    with pytest.raises(VectorMismatchError, match="8"), ahead.to_transformers(other):
        pass

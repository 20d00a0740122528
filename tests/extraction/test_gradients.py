from __future__ import annotations

import dataclasses

import pytest
import torch

from steerscope.directions import find_direction
from steerscope.doses import Dose
from steerscope.engine.score import log_likelihoods
from steerscope.errors import BadValueError, NotFiniteError, UnknownNameError
from steerscope.extraction.activations import ReadToken, extract
from steerscope.extraction.gradients import add_gradients
from steerscope.extraction.losses import BoundedSeparation, Margin, PreferenceLoss, Separation
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.texts.contrasts import ContrastPair, ContrastSet, load_contrasts
from tests.helpers import PASS, assert_rounded, count_hooks

PAIRS = ContrastSet(
    "words",
    (
        ContrastPair("w5 w6 w7 w30", "w8 w9 w31", "c"),
        ContrastPair("w10 w11 w32", "w12 w13 w14 w15 w33", "c"),
        ContrastPair("w20 w21 w22 w34", "w20 w21 w25 w34", "c"),
    ),
)
SITES = [
    Site("resid_pre", 0),
    Site("resid_mid", 1),
    Site("resid_post", 0),
    Site("resid_post", 2),
    Site("attn_out", 1),
    Site("mlp_out", 1),
    Site("q", 1),
    Site("k", 1),
    Site("v", 0),
    Site("z", 1),
    Site("z", 1, 2),
    Site("mlp_pre", 2),
    Site("mlp_pre_linear", 1),
    Site("mlp_post", 1),
]
BOUNDED = BoundedSeparation(weight=3.0, margin=-0.5)


def swapped(contrasts: ContrastSet) -> ContrastSet:
    pairs = (
        dataclasses.replace(p, positive=p.negative, negative=p.positive) for p in contrasts.pairs
    )
    return ContrastSet("swapped", tuple(pairs))


def outputs(model, text, read, site=None, shift=None):
    """Mean log-likelihood and last activation of a text whose activation at a site is shifted."""
    tokens = torch.tensor([model.tokens(text)])
    chosen = slice(1, None) if read.kind == "mean" else read.index
    seen = {}

    def move(x):
        y = x.clone()
        y[:, chosen] = y[:, chosen] + shift
        return y

    last = Site("resid_post", model.shape.n_layers - 1)
    with torch.no_grad():
        if site is None:
            with model.hook(last, lambda x: seen.update(h=read(x))):
                logits = model.forward(tokens)
        else:
            with model.hook(site, move), model.hook(last, lambda x: seen.update(h=read(x))):
                logits = model.forward(tokens)
    log_p = logits[0, :-1].double().log_softmax(-1)
    return log_p[range(tokens.shape[1] - 1), tokens[0, 1:]].mean(), seen["h"][0].double()


def loss_of(loss, plain, now):
    """The loss of one pair, written once more, from (likelihood, state) of its two texts."""
    (lp, h), (ln, g) = now
    if isinstance(loss, Margin):
        return torch.log1p(torch.exp(-loss.beta * (lp - ln - loss.gamma)))
    total = -(h - g).norm()
    if isinstance(loss, BoundedSeparation):
        for before, after in zip(plain, now, strict=True):
            total = total + loss.weight * max(0.0, before[0] - loss.margin - after[0]) ** 2
    return total


def slope(model, loss, plain, text, side, read, site, shift):
    """Central difference of the loss of a pair for a small shift of one of its texts."""
    at = []
    for sign in (1, -1):
        now = list(plain)
        now[side] = outputs(model, text, read, site, sign * shift)
        at.append(float(loss_of(loss, plain, now)))
    return (at[0] - at[1]) / (2 * float(shift.norm()))


FEW = [SITES[1], SITES[9], SITES[13]]


@pytest.mark.parametrize(
    ("loss", "read", "sites"),
    [
        (Margin(beta=0.3), ReadToken.mean(), SITES),
        (Margin(beta=0.3), ReadToken.at(-2), FEW),
        (Separation(), ReadToken.last(), FEW),
        (BOUNDED, ReadToken.mean(), FEW),
    ],
    ids=["margin", "margin at a token", "separation", "bounded separation"],
)
def test_gradients_are_the_slopes_of_the_loss(tiny, loss, read, sites):
    sites = [s for s in sites if tiny.has(s)]
    assert len(sites) >= 3
    found = add_gradients(tiny, PAIRS, extract(tiny, PAIRS, sites), loss=loss, read=read)
    generator = torch.Generator().manual_seed(0)
    texts = [(p.positive, p.negative) for p in PAIRS.pairs]
    plain = [[outputs(tiny, t, read) for t in pair] for pair in texts]
    for number, site in enumerate(sites):
        i, side = number % 3, number % 2
        rows = (found[site].gradients.positive, found[site].gradients.negative)[side]
        assert rows.dtype == torch.float32
        other = torch.randn(rows.shape[1], generator=generator)
        unit = rows[i] / rows[i].norm() + other / other.norm()
        unit = unit / unit.norm()
        expected = slope(tiny, loss, plain[i], texts[i][side], side, read, site, 1e-3 * unit)
        assert float(rows[i] @ unit) == pytest.approx(expected, rel=1e-2), site


@pytest.mark.parametrize(
    ("family", "backbone", "stream"),
    [
        ("gpt2", "hooked", "resid_post"),
        ("gemma3", "bridge", "resid_post"),
        ("lfm2", "bridge", "resid_post"),
        ("granite", "bridge", "attn_out"),
        ("granite", "bridge", "mlp_out"),
    ],
)
def test_gradients_are_the_slopes_of_the_loss_on_other_architectures(
    load, family, backbone, stream
):
    model, site, read = load(family, backbone), Site(stream, 0), ReadToken.mean()
    loss, pair = Margin(beta=0.3), PAIRS.pairs[0]
    found = add_gradients(model, PAIRS, extract(model, PAIRS, [site]), loss=loss)[site]
    row = found.gradients.positive[0]
    plain = [outputs(model, t, read) for t in (pair.positive, pair.negative)]
    shift = 1e-3 * row / row.norm()
    expected = slope(model, loss, plain, pair.positive, 0, read, site, shift)
    assert float(row.norm()) == pytest.approx(expected, rel=1e-2)


def test_one_backward_pass_for_all_sites_and_texts_is_one_for_each(tiny):
    sites = [Site("resid_pre", 0), Site("z", 1, 2), Site("resid_post", 2)]
    bare = extract(tiny, PAIRS, sites)
    together = add_gradients(tiny, PAIRS, bare)
    for site in sites:
        alone = add_gradients(tiny, PAIRS, {site: bare[site]}, batch_size=1)[site]
        for part in ("positive", "negative", "output_norm"):
            one, other = (getattr(c.gradients, part) for c in (together[site], alone))
            assert_rounded(one, other, terms=2 * PASS)  # forth and back
        assert torch.equal(alone.positive, bare[site].positive)


def test_the_gradient_at_the_separated_activation_itself(tiny):
    site = Site("resid_post", 2)
    bare = extract(tiny, PAIRS, [site])
    found = add_gradients(tiny, PAIRS, bare, loss="separation", read=ReadToken.last())[site]
    apart = torch.nn.functional.normalize(bare[site].differences, dim=1)
    torch.testing.assert_close(found.gradients.positive, -apart, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.gradients.negative, apart, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.gradients.output_norm, torch.ones(3, 2))
    # The mean over both classes of the bare gradients cancels, that of the descents does not.
    positive, negative = found.gradients.descents
    torch.testing.assert_close(positive, negative, atol=1e-5, rtol=1e-4)


def test_the_norm_at_the_logits_in_closed_form(tiny):
    loss = Margin(beta=0.5, gamma=0.1)
    site = Site("resid_post", 0)
    found = add_gradients(tiny, PAIRS, extract(tiny, PAIRS, [site]), loss=loss)[site]
    for i, pair in enumerate(PAIRS.pairs):
        likelihoods, norms = [], []
        for text in (pair.positive, pair.negative):
            tokens = torch.tensor([tiny.tokens(text)])
            with torch.no_grad():
                log_p = tiny.forward(tokens)[0, :-1].log_softmax(-1)
            right = torch.nn.functional.one_hot(tokens[0, 1:], log_p.shape[1])
            likelihoods.append((log_p * right).sum() / len(right))
            norms.append((right - log_p.exp()).norm() / len(right))
        weight = 0.5 * torch.sigmoid(-0.5 * (likelihoods[0] - likelihoods[1] - 0.1))
        expected = weight * torch.stack(norms)
        torch.testing.assert_close(found.gradients.output_norm[i], expected, atol=1e-6, rtol=1e-3)


def mean_loss(model, contrasts, loss, direction, dose):
    texts = [t for p in contrasts.pairs for t in (p.positive, p.negative)]
    cell = Cell((Steering(direction, Dose(dose, "absolute")),))
    scores = [s.mean() for s in log_likelihoods(model, texts, cell)]
    likelihood = torch.stack(scores).reshape(-1, 2)
    return float(loss(likelihood, torch.zeros(len(contrasts), 2, 1)).mean())


@pytest.mark.parametrize("method", ["gradient_mean", "gradient_svd", "fisher_ief"])
def test_steering_lowers_the_loss_by_what_the_gradients_say(tiny, method):
    loss, site = Margin(beta=0.3), Site("resid_post", 1)
    contrast = add_gradients(tiny, PAIRS, extract(tiny, PAIRS, [site]), loss=loss)[site]
    direction = find_direction(method, contrast)
    positive, negative = contrast.gradients.descents
    promised = float(((positive + negative) @ direction.unit).mean())
    fall = mean_loss(tiny, PAIRS, loss, direction, -1e-3) - mean_loss(
        tiny, PAIRS, loss, direction, 1e-3
    )
    assert fall > 0
    assert fall / 2e-3 == pytest.approx(promised, rel=2e-2)


@pytest.mark.parametrize("loss", [Separation(), Margin(beta=1e-4, gamma=0.0)], ids=str)
@pytest.mark.parametrize("method", ["gradient_mean", "gradient_svd", "fisher_difference"])
def test_swapping_the_texts_negates_the_direction(load, loss, method):
    # With so small a beta the margin loss is linear, and its weights are those of swapped pairs.
    model, site = load("llama"), Site("resid_post", 1)
    units = []
    for pairs in (PAIRS, swapped(PAIRS)):
        contrast = add_gradients(model, pairs, extract(model, pairs, [site]), loss=loss)[site]
        units.append(find_direction(method, contrast).unit)
    torch.testing.assert_close(units[0], -units[1], atol=2e-3, rtol=0)


def test_the_last_token_cannot_change_the_likelihood_of_its_text(tiny):
    bare = extract(tiny, PAIRS, [Site("resid_post", 1)])
    with pytest.raises(BadValueError, match=r"margin does not depend on resid_post.1 at token -1"):
        add_gradients(tiny, PAIRS, bare, read=ReadToken.last())


def test_what_cannot_be_judged_is_named(load):
    model = load("llama")
    bare = extract(model, PAIRS, [Site("resid_post", 1)])
    with pytest.raises(UnknownNameError, match="loss 'margn'. Did you mean 'margin'"):
        add_gradients(model, PAIRS, bare, loss="margn")
    with pytest.raises(BadValueError, match=r"is of 'words', not of 'swapped'"):
        add_gradients(model, swapped(PAIRS), bare)
    with pytest.raises(BadValueError, match="extract some first"):
        add_gradients(model, PAIRS, {})
    with pytest.raises(BadValueError, match="under another name; use 'separation'"):
        add_gradients(model, PAIRS, bare, loss=BoundedSeparation(weight=1.0, margin=0.1))


def test_a_loss_without_a_number_is_named(load):
    class Broken:
        moves = "together"

        def __call__(self, likelihood, state):
            return likelihood[:, 0] * torch.nan

    assert isinstance(Broken(), PreferenceLoss)
    model = load("llama")
    with pytest.raises(NotFiniteError, match="are not finite"):
        add_gradients(model, PAIRS, extract(model, PAIRS, [Site("resid_post", 1)]), loss=Broken())


def test_gradients_are_of_the_texts_as_they_began_when_they_were_read(tiny, monkeypatch):
    site = Site("resid_post", 1)
    bare = extract(tiny, PAIRS, [site], bos="never")
    usual = extract(tiny, PAIRS, [site])
    assert (bare[site].provenance.bos, usual[site].provenance.bos) == ("never", "auto")
    monkeypatch.setattr(tiny, "bos", "never")
    whole = dataclasses.replace(
        bare[site], provenance=dataclasses.replace(bare[site].provenance, bos="")
    )
    expected = add_gradients(tiny, PAIRS, {site: whole})[site].gradients
    theirs = add_gradients(tiny, PAIRS, usual)[site].gradients
    monkeypatch.setattr(tiny, "bos", "auto")
    found = add_gradients(tiny, PAIRS, bare)[site].gradients
    assert torch.equal(found.positive, expected.positive)
    assert torch.equal(found.negative, expected.negative)
    assert torch.equal(theirs.positive, add_gradients(tiny, PAIRS, usual)[site].gradients.positive)
    assert not torch.allclose(found.positive, theirs.positive)
    other = extract(tiny, PAIRS, [Site("resid_post", 0)])
    with pytest.raises(BadValueError, match="began in several ways .*'never' at resid_post.1"):
        add_gradients(tiny, PAIRS, {**bare, **other})


def test_the_model_is_left_as_it_was(tiny):
    before = count_hooks(tiny)
    tokens = torch.tensor([[1, 5, 9, 12]])
    with torch.no_grad():
        plain = tiny.forward(tokens)
        add_gradients(tiny, PAIRS, extract(tiny, PAIRS, [Site("resid_post", 1)]))
        assert torch.equal(tiny.forward(tokens), plain)
    assert count_hooks(tiny) == before
    assert all(p.grad is None and not p.requires_grad for p in tiny.transformer.parameters())


def test_on_the_microworld_one_natural_unit_raises_the_margin_of_pairs_not_seen(microworld):
    site = Site("resid_post", 4)
    parts = load_contrasts("mood").split(0)
    fit, test = (
        ContrastSet("short", tuple(sorted(part.pairs, key=lambda p: len(p.positive))[:24]))
        for part in (parts.fit, parts.test)
    )
    contrast = add_gradients(microworld, fit, extract(microworld, fit, [site]))[site]
    direction = find_direction("gradient_mean", contrast)
    texts = [t for p in test.pairs for t in (p.positive, p.negative)]
    margins = {}
    for dose in (-1.0, 0.0, 1.0):
        cell = Cell((Steering(direction, Dose(dose)),))
        scores = torch.stack([s.mean() for s in log_likelihoods(microworld, texts, cell)])
        margins[dose] = scores[0::2] - scores[1::2]
    rise = margins[1.0] - margins[0.0]
    assert float(rise.mean()) > 4 * float(rise.std()) / len(test) ** 0.5
    assert margins[-1.0].mean() < margins[0.0].mean()

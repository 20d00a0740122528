"""Feature steering is an intervention like any other: exact, scoped, restored, alike in a grid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.engine.generation import generate
from steerscope.engine.score import kl_from_plain
from steerscope.errors import (
    AutoencoderMismatchError,
    BadValueError,
    DegenerateDirectionError,
    NotFiniteError,
    UnknownNameError,
)
from steerscope.extraction.activations import Contrast
from steerscope.sae.steering import FeatureEdit, FeatureSteering, delta_decoded, replaced
from steerscope.sae.vectors import random_features, single, uniform, weighted
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Intervention, Steering, steer
from steerscope.steering.scopes import Scope
from tests.helpers import assert_rounded, origin
from tests.sae.dictionaries import small_sae
from tests.same_text import assert_same_text

SITE = Site("resid_post", 1)
PROMPT = [1, 5, 9, 20, 7]


def sae_of(model, **changes):
    return small_sae(d=32, n_features=64, site=SITE, model=model, **changes)


def activations(n: int = 50, d: int = 16) -> torch.Tensor:
    return torch.randn(n, 3, d, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("normalisation", ["none", "layer_norm", "constant_norm"])
@pytest.mark.parametrize("architecture", ["standard", "topk"])
def test_unchanged_features_give_the_activation_back_bit_for_bit(architecture, normalisation):
    sae = small_sae(k=4 if architecture == "topk" else None)
    sae, x = replace(sae, normalisation=normalisation), activations()
    edits = (FeatureEdit(3, "scale", 1.0), FeatureEdit(5, "add", 0.0))
    assert torch.equal(delta_decoded(sae, x, edits), x)
    lost = (replaced(sae, x, edits) - x).norm() / x.norm()
    assert torch.allclose(replaced(sae, x, edits), sae.reconstruct(x), atol=1e-5)
    assert lost > 0.3  # what a hook that replaces the activation throws away


def test_only_activations_whose_code_changes_are_touched():
    sae, x = small_sae(bias=-0.5), activations()
    silent = sae.encode(x)[..., 7] == 0
    assert 0.1 < silent.float().mean() < 0.95
    off = delta_decoded(sae, x, (FeatureEdit(7, "clamp", 0.0),))
    assert torch.equal(off[silent], x[silent])
    assert (off[~silent] != x[~silent]).any(dim=-1).all()


@pytest.mark.parametrize(("change", "value"), [("clamp", 2.5), ("scale", 3.0), ("add", 0.7)])
def test_an_edit_moves_along_the_decoder_row_by_the_change_of_the_code(change, value):
    sae, x = small_sae(bias=-0.2), activations()
    code = sae.encode(x)[..., 4]
    wanted = {"clamp": torch.full_like(code, 2.5), "scale": 3 * code, "add": code + 0.7}[change]
    moved = delta_decoded(sae, x, (FeatureEdit(4, change, value),))
    expected = x + (wanted - code)[..., None] * sae.decoder[4]
    assert torch.allclose(moved, expected, atol=1e-5)


def test_the_error_of_the_reconstruction_stays():
    sae, x = small_sae(k=3), activations()
    edits = (FeatureEdit(1, "clamp", 4.0), FeatureEdit(2, "scale", 0.0))
    after = sae.encode(x)
    after[..., 1], after[..., 2] = 4.0, 0.0
    error = x - sae.reconstruct(x)
    assert torch.allclose(delta_decoded(sae, x, edits) - sae.decode(after), error, atol=1e-5)
    assert torch.allclose(replaced(sae, x, edits), sae.decode(after), atol=1e-5)


def test_it_acts_at_the_site_the_rows_and_the_positions_in_scope(tiny):
    sae = sae_of(tiny)
    tokens = torch.tensor([PROMPT, PROMPT])
    plain = tiny.read(tokens, [SITE])[SITE].clone()
    edits = (FeatureEdit(2, "clamp", 3.0),)
    with steer(tiny, FeatureSteering(sae, edits, Scope.window(2, 4))):
        steered = tiny.read(tokens, [SITE])[SITE]
    for position in range(5):
        before, after = plain[:, position], steered[:, position]
        if position in {2, 3}:  # the code of three positions or of one: a sum over d in either
            size = float(before.norm(dim=-1).max() * sae.encoder.norm(dim=0).max())
            assert_rounded(after, delta_decoded(sae, before, edits), terms=32, size=size)
        else:
            assert torch.equal(after, before), position


def test_half_the_strength_goes_half_the_way_and_none_nowhere(tiny):
    sae, tokens = sae_of(tiny), torch.tensor([PROMPT])
    edits = (FeatureEdit(2, "clamp", 3.0),)
    plain = tiny.read(tokens, [SITE])[SITE].clone()
    found = {}
    for strength in (0.0, 0.5, 1.0):
        with steer(tiny, FeatureSteering(sae, edits, strength=strength)):
            found[strength] = tiny.read(tokens, [SITE])[SITE].clone()
    assert torch.equal(found[0.0], plain)
    assert_rounded(found[0.5], (plain + found[1.0]) / 2, terms=4)
    assert torch.equal(found[1.0][:, 0], plain[:, 0])  # position 0 is left alone


def test_unchanged_features_leave_the_logits_bit_for_bit_and_replacing_does_not(tiny):
    sae, tokens = sae_of(tiny), torch.tensor([PROMPT])
    edits = (FeatureEdit(2, "scale", 1.0),)
    plain = tiny.forward(tokens)
    with steer(tiny, FeatureSteering(sae, edits)):
        assert torch.equal(tiny.forward(tokens), plain)
    with steer(tiny, FeatureSteering(sae, edits, keep_error=False)):
        assert (tiny.forward(tokens) - plain).abs().max() > 0.1


def test_the_model_is_as_it_was_afterwards_also_after_an_exception(tiny):
    sae, tokens = sae_of(tiny), torch.tensor([PROMPT])
    plain = tiny.forward(tokens)
    steering = FeatureSteering(sae, (FeatureEdit(2, "clamp", 30.0),))
    inside = {}

    def stopped() -> None:
        with steer(tiny, steering):
            inside["logits"] = tiny.forward(tokens)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert not torch.equal(inside["logits"], plain)
    assert torch.equal(tiny.forward(tokens), plain)


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_cell_of_a_grid_is_that_cell_alone(tiny, use_cache):
    sae = sae_of(tiny)
    prompts = [PROMPT, [1, 4, 4], [1, 30, 31, 32, 33]]
    cells = [
        Cell(),
        Cell((FeatureSteering(sae, (FeatureEdit(2, "clamp", 9.0),)),)),
        Cell((FeatureSteering(sae, (FeatureEdit(8, "scale", 6.0),), Scope.generated()),)),
        Cell((FeatureSteering(sae, (FeatureEdit(5, "add", 8.0),), strength=0.6),)),
        Cell((FeatureSteering(sae, (FeatureEdit(5, "add", 8.0),), keep_error=False),)),
    ]
    together = generate(tiny, prompts, cells, n_new=6, use_cache=use_cache)
    for cell, row in zip(cells, together, strict=True):
        for prompt, found in zip(prompts, row, strict=True):
            (alone,) = generate(tiny, [prompt], [cell], n_new=6)
            assert_same_text(tiny, (prompt, cell), found, alone[0])
    assert len({tuple(c.tokens for c in row) for row in together}) == len(cells)
    assert len({cell.key for cell in cells}) == len(cells)


def test_it_is_an_intervention_and_says_what_it_does(load):
    model = load()
    steering = FeatureSteering(sae_of(model), (FeatureEdit(2, "clamp", 3.0),), Scope.generated())
    assert isinstance(steering, Intervention)
    assert steering.first_block(5) is None
    assert replace(steering, scope=Scope.all()).first_block(5) == 2
    labels = steering.labels()
    assert labels["method"] == "sae_features[2=3]"
    assert (labels["stream"], labels["layer"], labels["scope"]) == ("resid_post", 1, "generated")


def contrast_at(model, d: int = 32) -> Contrast:
    generator = torch.Generator().manual_seed(4)
    negative = torch.randn(20, d, generator=generator)
    return Contrast(SITE, negative + 1.0, negative, 6.0, origin(model))


def test_vectors_of_decoder_rows_are_directions_with_the_doses_of_the_contrast(load):
    model = load()
    sae, contrast = sae_of(model), contrast_at(model)
    weights = torch.zeros(64)
    weights[[3, 9, 30]] = torch.tensor([2.0, -1.0, 0.5])
    by_hand = 2 * sae.decoder[3] - sae.decoder[9]
    found = weighted(sae, weights, contrast, k=2)
    assert_rounded(found.unit, by_hand / by_hand.norm(), terms=2 + 32)
    same = sae.decoder[3] - sae.decoder[9] + sae.decoder[30]
    assert_rounded(uniform(sae, weights, contrast, k=3).unit, same / same.norm(), terms=3 + 32)
    assert_rounded(single(sae, 9, contrast, sign=-1).unit, -sae.decoder[9], terms=32)
    assert found.scale == mean_diff(contrast).scale
    assert (found.method, single(sae, 9, contrast).method) == ("sae_weighted_2", "sae_feature_9")
    cells = [Cell((Steering(d, Dose(1.0)),)) for d in (found, mean_diff(contrast))]
    assert (kl_from_plain(model, [PROMPT], cells) > 0).all()


def test_random_features_carry_the_same_weights_on_others_that_live(load):
    model = load()
    sae, contrast = sae_of(model), contrast_at(model)
    weights, alive = torch.linspace(0, 1, 64), torch.zeros(64)
    alive[:5] = 0.1
    drawn = random_features(sae, weights, contrast, k=4, alive=alive, seed=0)
    outside = torch.linalg.lstsq(sae.decoder[:5].T, drawn.unit[:, None])
    assert (sae.decoder[:5].T @ outside.solution - drawn.unit[:, None]).norm() < 1e-5
    other = random_features(sae, weights, contrast, k=4, alive=alive, seed=1)
    assert not torch.allclose(drawn.unit, other.unit)
    with pytest.raises(BadValueError, match="6 features of a dictionary of 5"):
        random_features(sae, weights, contrast, k=6, alive=alive, seed=0)


def test_what_cannot_be_steered_is_refused_by_name(load):
    model = load()
    sae, contrast = sae_of(model), contrast_at(model)
    edit = FeatureEdit(2, "clamp", 3.0)
    with pytest.raises(UnknownNameError, match="add, clamp, scale"):
        FeatureEdit(2, "multiply", 3.0)
    with pytest.raises(NotFiniteError):
        FeatureEdit(2, "clamp", float("nan"))
    with pytest.raises(BadValueError, match="never"):
        FeatureEdit(2, "clamp", -1.0)
    with pytest.raises(BadValueError, match="at least one edit"):
        FeatureSteering(sae, ())
    with pytest.raises(BadValueError, match="features 0 to 63"):
        FeatureSteering(sae, (FeatureEdit(64),))
    with pytest.raises(BadValueError, match="strength"):
        FeatureSteering(sae, (edit,), strength=1.5)
    with pytest.raises(BadValueError, match="features 0 to 63"):
        single(sae, -1, contrast)
    with pytest.raises(BadValueError, match="65 features of a dictionary of 64"):
        weighted(sae, torch.ones(64), contrast, k=65)
    with pytest.raises(AutoencoderMismatchError, match="weights"):
        weighted(sae, torch.ones(63), contrast, k=2)
    with pytest.raises(DegenerateDirectionError):
        weighted(sae, torch.zeros(64), contrast, k=2)
    with pytest.raises(AutoencoderMismatchError, match="read at"):
        single(replace(sae, site=Site("resid_post", 2)), 0, contrast)
    with pytest.raises(AutoencoderMismatchError, match="another model"):
        single(replace(sae, model_fingerprint="f" * 64), 0, contrast)
    for wrong in (
        replace(sae, model_fingerprint="f" * 64),
        small_sae(d=16, site=SITE, model=model),
    ):
        with pytest.raises(AutoencoderMismatchError), steer(model, FeatureSteering(wrong, (edit,))):
            pass

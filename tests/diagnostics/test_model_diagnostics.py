from __future__ import annotations

import numpy as np
import pytest
import torch

from steerscope.diagnostics import (
    explained_variance,
    gradient_screening,
    kl_sensitivity,
    layer_diagnostics,
    lens_agreement,
    preference_gradients,
    probe_accuracy,
    residual_norms,
    sink_alignment,
    visible_share,
    visible_subspace,
)
from steerscope.directions import mean_diff
from steerscope.doses import Dose
from steerscope.eigengaps import eigengap
from steerscope.engine.score import kl_from_plain, preference
from steerscope.errors import BadValueError, VectorMismatchError
from steerscope.extraction.activations import extract
from steerscope.metrics import kl_divergence
from steerscope.sites import Site
from steerscope.steering.interventions import Cell, Steering
from steerscope.steering.scopes import Scope
from steerscope.studies.predictors.findings import EXPECTED_SIGNS
from steerscope.texts.contrasts import ContrastPair, ContrastSet
from tests.helpers import count_hooks, planted_contrast, random_direction

PAIRS = [
    ("w5 w6 w7 w8", "w5 w6 w9 w10 w11"),
    ("w20 w21 w22", "w20 w23 w24"),
    ("w30 w31", "w30 w32"),
]
PROMPTS = ["w5 w6 w7 w8 w9", "w20 w21 w22", "w40 w41 w42 w43"]


@pytest.mark.parametrize("stream", ["resid_pre", "resid_mid", "resid_post", "attn_out", "k", "z"])
@pytest.mark.parametrize(
    "scope", [Scope.all(), Scope.window(1, 3), Scope.last(1) | Scope.window(1, 2)]
)
def test_one_backward_pass_gives_the_finite_difference_of_every_layer(tiny, stream, scope):
    """Checks as well that keys written in place stay right for autograd."""
    sites = [Site(stream, layer) for layer in range(3)]
    directions = [random_direction(tiny, s, seed=s.layer) for s in sites]
    preference(tiny, PAIRS, Cell())  # a bridge hooks its own modules at its first pass
    before = count_hooks(tiny)
    gradients = preference_gradients(tiny, PAIRS, sites, scope=scope, batch_size=2)
    assert count_hooks(tiny) == before
    for direction in directions:
        first_order = gradients[direction.site] @ direction.unit
        step = 0.01
        up, down = (
            preference(tiny, PAIRS, Cell((Steering(direction, Dose(s, "absolute"), scope=scope),)))
            for s in (step, -step)
        )
        measured = (up - down) / (2 * step)
        assert float(measured.abs().max()) > 1e-3
        error = float((first_order - measured).norm() / measured.norm())
        assert error < 0.01, (direction.site, error)


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "neox"])
def test_gradients_are_right_on_other_architectures(load, family):
    model = load(family)
    sites = [Site("resid_post", layer) for layer in range(3)]
    gradients = preference_gradients(model, PAIRS, sites)
    for site in sites:
        direction = random_direction(model, site)
        up, down = (
            preference(model, PAIRS, Cell((Steering(direction, Dose(s, "absolute")),)))
            for s in (0.02, -0.02)
        )
        found = gradients[site] @ direction.unit
        assert float((found - (up - down) / 0.04).norm() / found.norm()) < 0.01


def test_screening_counts_in_relative_units_and_knows_the_size_of_chance(tiny):
    site = Site("resid_post", 1)
    direction = random_direction(tiny, site, relative=5.0)
    found = gradient_screening(tiny, PAIRS, [direction])[0]
    gradient = preference_gradients(tiny, PAIRS, [site])[site]
    assert found.value == pytest.approx(5.0 * float((gradient @ direction.unit).mean()), rel=1e-4)
    drawn = torch.randn(4000, 32, generator=torch.Generator().manual_seed(1))
    drawn = drawn / drawn.norm(dim=1, keepdim=True)
    chance = float((drawn @ gradient.mean(dim=0)).pow(2).mean().sqrt()) * 5
    assert found.null == pytest.approx(chance, rel=0.05)
    assert (found.n, found.layer) == (3, 1)


def test_screening_refuses_a_direction_of_another_model(load):
    other = random_direction(load("qwen3"), Site("resid_post", 0))
    with pytest.raises(VectorMismatchError, match="not on"):
        gradient_screening(load("llama"), PAIRS, [other])


def test_norms_leave_position_0_out_or_count_it(tiny):
    found = residual_norms(tiny, PROMPTS)
    rows = {(v.diagnostic, v.layer): v for v in found}
    assert len(found) == 6
    site = Site("resid_post", 2)
    means = {"residual_norm": [], "residual_norm_with_first": []}
    for prompt in PROMPTS:
        x = tiny.read(torch.tensor([tiny.tokens(prompt)]), [site])[site][0].detach().norm(dim=-1)
        means["residual_norm"].append(float(x[1:].mean()))
        means["residual_norm_with_first"].append(float(x.mean()))
    for name, values in means.items():
        assert rows[name, 2].value == pytest.approx(np.mean(values), rel=1e-4)
    with pytest.raises(BadValueError, match="no token but position 0"):
        residual_norms(tiny, [[1]])


def test_the_last_layer_agrees_with_the_output_and_others_by_hand(tiny):
    found = {(v.diagnostic, v.layer): v for v in lens_agreement(tiny, PROMPTS)}
    assert found["lens_agreement", 2].value == 1.0
    assert found["lens_kl", 2].value == pytest.approx(0.0, abs=1e-5)
    site = Site("resid_post", 0)
    same, kl = [], []
    for prompt in PROMPTS:
        tokens = torch.tensor([tiny.tokens(prompt)])
        with torch.no_grad():
            lens = tiny.unembed(tiny.read(tokens, [site])[site])[0, 1:]
            final = tiny.forward(tokens)[0, 1:]
        same.append(float((lens.argmax(-1) == final.argmax(-1)).float().mean()))
        kl.append(float(kl_divergence(lens, final).mean()))
    assert found["lens_agreement", 0].value == pytest.approx(np.mean(same))
    assert found["lens_kl", 0].value == pytest.approx(np.mean(kl), rel=1e-3)


def test_kl_sensitivity_is_the_kl_of_both_signs_over_the_dose(tiny):
    direction = random_direction(tiny, Site("resid_post", 1))
    control = random_direction(tiny, Site("resid_post", 1), seed=5)
    found = kl_sensitivity(tiny, PROMPTS, [direction], [control], dose=0.2)[0]
    for one, value in ((direction, found.value), (control, found.null)):
        cells = [Cell((Steering(one, Dose(s, "relative")),)) for s in (0.2, -0.2)]
        assert value == pytest.approx(
            float(kl_from_plain(tiny, PROMPTS, cells).mean()) / 0.2, rel=1e-4
        )
    assert found.low <= found.value <= found.high


def test_the_null_of_a_layer_is_the_mean_of_the_controls_at_it(tiny):
    at = [Site("resid_post", layer) for layer in (0, 1)]
    directions = [random_direction(tiny, site) for site in at]
    controls = [random_direction(tiny, site, seed=seed) for seed in (5, 6) for site in at]
    found = kl_sensitivity(tiny, PROMPTS, directions, controls, dose=0.2)
    alone = [v.value for v in kl_sensitivity(tiny, PROMPTS, controls, [], dose=0.2)]
    means = [np.mean(alone[0::2]), np.mean(alone[1::2])]
    assert [v.null for v in found] == pytest.approx(means, rel=1e-4)
    assert means[0] != pytest.approx(means[1], rel=0.01)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_visible_subspace_is_that_of_the_unembedding(load, family):
    model = load(family)
    basis = visible_subspace(model, energy=0.5)
    assert torch.allclose(basis @ basis.T, torch.eye(len(basis)), atol=1e-5)
    norm, unembedding = model.transformer.ln_final, model.transformer.W_U.detach()
    seen = norm.w.detach()[:, None] * unembedding
    if family == "gpt2":  # its norm takes the mean out
        seen = seen - seen.mean(dim=0)
    seen = seen - seen.mean(dim=1, keepdim=True)
    vectors, values, _ = np.linalg.svd(seen.double().numpy())
    shares = (values**2).cumsum() / (values**2).sum()
    assert shares[len(basis) - 1] >= 0.5 > shares[len(basis) - 2]
    overlap = basis.double().numpy() @ vectors[:, : len(basis)]
    assert (overlap**2).sum() == pytest.approx(len(basis), rel=1e-3)


def test_the_visible_share_of_a_direction_inside_and_outside():
    planted, truth = planted_contrast(d=20, noise=0.01)
    inside = visible_share(planted, truth[None])
    assert inside.value > 0.99
    assert inside.null == 0.05
    outside = torch.eye(20)[0] - truth * truth[0]
    assert visible_share(planted, (outside / outside.norm())[None]).value < 0.01


def test_the_whole_table_has_every_diagnostic_at_every_layer(load):
    model = load("llama")
    fit, held_out = (
        ContrastSet("made up", tuple(
            ContrastPair(f"w{a} w{a + 1} w90", f"w{a} w{a + 1} w91", "c")
            for a in range(start, start + 10, 2)
        ))
        for start in (10, 40)
    )  # fmt: skip
    table = layer_diagnostics(model, fit, held_out, PROMPTS)
    counts = table.groupby("diagnostic").layer.nunique()
    assert set(counts) == {3}
    assert set(counts.index) == set(EXPECTED_SIGNS)
    finite = table[["value", "low", "high"]].to_numpy()
    assert np.isfinite(finite).all()
    assert (table.low <= table.high).all()


def test_what_is_found_on_one_set_of_pairs_is_judged_on_the_other(load):
    model, here = load("llama"), Site("resid_post", 1)
    fit, held_out = (
        ContrastSet("made up", tuple(
            ContrastPair(f"w{a} w{a * a % 83 + 3}", f"w{a} w{a * a * a % 89 + 3}", "c")
            for a in range(start, start + 10)
        ))
        for start in (10, 40)
    )  # fmt: skip
    table = layer_diagnostics(model, fit, held_out, PROMPTS)
    found = table[table.layer == 1].set_index("diagnostic").value
    seen, unseen = (extract(model, pairs, here)[here] for pairs in (fit, held_out))

    def judged(on, pairs):
        texts = [(p.positive, p.negative) for p in pairs.pairs]
        return {
            "probe_accuracy": probe_accuracy(seen, on).value,
            "logistic_probe_accuracy": probe_accuracy(seen, on, method="logistic_probe").value,
            "explained_variance": explained_variance(seen, on).value,
            "gradient": gradient_screening(model, texts, [mean_diff(seen)])[0].value,
        }

    expected, in_sample = judged(unseen, held_out), judged(seen, fit)
    assert found[list(expected)].to_dict() == pytest.approx(expected, rel=1e-4)
    assert all(abs(value - in_sample[name]) > 0.02 for name, value in expected.items())


def test_the_spectra_of_a_layer_are_its_weakest_head_with_the_weakest_of_chance_and_means(load):
    model = load("qwen3")
    pairs = ContrastSet("made up", tuple(ContrastPair(a, b, "c") for a, b in PAIRS))
    table = layer_diagnostics(model, pairs, pairs, PROMPTS).set_index(["diagnostic", "layer"])
    spectra = eigengap(model, PROMPTS)
    assert spectra.weakest is not None
    weakest = [int(gap.argmin()) for gap in spectra.gap]
    assert len(set(weakest)) > 1  # or the null of the first head would do
    for row, (layer, head) in enumerate(zip(spectra.layers, weakest, strict=True)):
        one = table.loc["weakest_gap", layer]
        assert one.value == pytest.approx(float(spectra.gap[row, head]))
        assert one.null == pytest.approx(float(spectra.weakest.nulls["random"][row]))
        assert one.null < float(spectra.null_gap[row].min())
        assert one.low == pytest.approx(float(spectra.weakest.low[row]))
        assert one.high == pytest.approx(float(spectra.weakest.high[row]))
        gap, rank = (table.loc[name, layer] for name in ("mean_gap", "participation_ratio"))
        assert gap.value == pytest.approx(float(spectra.gap[row].mean()))
        assert gap.null == pytest.approx(float(spectra.null_gap[row].mean()))
        assert rank.value == pytest.approx(float(spectra.participation_ratio[row].mean()))
        assert np.isnan(rank.null)


def test_the_sink_is_seen_from_each_direction_at_its_own_site(tiny):
    directions = [random_direction(tiny, Site("resid_post", i), seed=i) for i in (0, 2)]
    found = {(v.diagnostic, v.layer): v for v in sink_alignment(tiny, PROMPTS, directions)}
    for direction in directions:
        layer = direction.site.layer
        first = tiny.read(torch.tensor([tiny.tokens(PROMPTS[0])]), [direction.site])
        x = first[direction.site][0, 0]
        # Position 0 sees only itself, so that it is the same in every prompt.
        cosine = float(x @ direction.unit / x.norm())
        assert found["sink_cosine", layer].value == pytest.approx(cosine, abs=1e-5)
        length = float(x.norm()) / direction.scale.relative
        assert found["sink_length", layer].value == pytest.approx(length, rel=1e-4)

"""What each family of directions finds where the truth is planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from steerscope.directions import (
    ALIASES,
    METHODS,
    NEEDS,
    cross_validated_regularisation,
    find_direction,
    leave_one_out_shrinkage,
    logistic_probe,
    mean_diff,
    other_concept,
    pair_weights,
    repe,
    sspace_aggregate_then_project,
    sspace_basis,
    sspace_mean,
    sspace_project_then_aggregate,
    whitened,
)
from steerscope.errors import (
    BadValueError,
    DegenerateDirectionError,
    MissingEvidenceError,
    NotFiniteError,
    VectorMismatchError,
)
from steerscope.extraction.activations import Contrast
from steerscope.sites import Site
from tests.helpers import origin, planted_contrast, rounding, with_evidence

SITE = Site("resid_post", 1)
D, N_LOUD = 50, 5


def in_noise(n_pairs=200, *, shared=0.0, own=0.0, length=4.0, oblique=0.0, seed=0):
    """A planted contrast, its truth, and the loud axes of its noise.

    Every text has noise 1 along all axes; `shared` is noise along the loud axes that a pair has in
    common, `own` is that of each text. The truth is orthogonal to the loud axes unless oblique.
    """
    generator = torch.Generator().manual_seed(seed)
    axes = torch.linalg.qr(torch.randn(D, N_LOUD + 1, generator=generator)).Q.T
    loud, truth = axes[:N_LOUD], axes[N_LOUD]
    truth = truth + oblique * loud[0]
    truth = truth / truth.norm()
    common = shared * torch.randn(n_pairs, N_LOUD, generator=generator) @ loud

    def texts():
        noise = own * torch.randn(n_pairs, N_LOUD, generator=generator) @ loud
        return common + noise + torch.randn(n_pairs, D, generator=generator)

    negative = texts()
    contrast = Contrast(SITE, texts() + length * truth, negative, 10.0, origin())
    return with_evidence(contrast, truth, seed=seed), truth, loud


def cosine(method, contrast, truth):
    return float(find_direction(method, contrast).unit @ truth)


@pytest.mark.parametrize("shared", [0.0, 10.0], ids=["isotropic", "shared by the pairs"])
@pytest.mark.parametrize("method", [m for m in METHODS if m != "pca_centred"])
def test_noise_that_pairs_share_or_that_is_isotropic_hides_no_planted_direction(method, shared):
    contrast, truth, _ = in_noise(shared=shared)
    # Those that estimate more than a mean from the same 200 pairs are a little less sure.
    least = 0.9 if method in {"whitened", "logistic_probe"} else 0.95
    assert cosine(method, contrast, truth) > least


def test_dividing_the_covariance_out_beats_the_mean_difference_in_anisotropic_noise():
    found = {m: [] for m in ("mean_diff", "whitened", "logistic_probe")}
    for seed in range(3):
        contrast, truth, _ = in_noise(60, own=8.0, seed=seed)
        for method, cosines in found.items():
            cosines.append(cosine(method, contrast, truth))
    means = {method: np.mean(cosines) for method, cosines in found.items()}
    assert means["mean_diff"] < 0.8
    assert means["whitened"] > means["mean_diff"] + 0.15
    assert means["whitened"] > 0.85
    assert means["logistic_probe"] > means["mean_diff"] + 0.15


@pytest.mark.parametrize("method", ["pca_uncentred", "pca_centred", "pca_weighted", "repe"])
def test_principal_axes_find_the_loudest_noise_where_it_differs_within_pairs(method):
    contrast, truth, loud = in_noise(own=8.0)
    unit = find_direction(method, contrast).unit
    assert float((loud @ unit).norm()) > 0.95
    assert abs(float(unit @ truth)) < 0.3


def test_an_oblique_concept_is_told_apart_best_by_whitening_though_it_lies_elsewhere():
    contrast, truth, loud = in_noise(200, own=8.0, oblique=1.0)
    covariance = torch.eye(D) + 64 * loud.T @ loud
    separation = {}
    for method in ("mean_diff", "whitened", "logistic_probe"):
        unit = find_direction(method, contrast).unit
        separation[method] = float(4.0 * truth @ unit / (unit @ covariance @ unit).sqrt())
    assert separation["whitened"] > 1.5 * separation["mean_diff"]
    assert separation["logistic_probe"] > 1.5 * separation["mean_diff"]
    assert cosine("whitened", contrast, truth) < cosine("mean_diff", contrast, truth)


# -- principal axes ------------------------------------------------------------------------------


def test_taking_the_mean_of_each_pair_off_and_stacking_gives_the_uncentred_axis():
    contrast, _, _ = in_noise(seed=4)
    middle = (contrast.positive + contrast.negative) / 2
    stacked = torch.cat([contrast.positive - middle, contrast.negative - middle]).double().numpy()
    axis = np.linalg.svd(stacked - stacked.mean(axis=0))[2][0]  # centring changes nothing here
    found = find_direction("pca_pair_centred", contrast)
    assert abs(found.unit.double().numpy() @ axis) > 1 - rounding(D, 1.0)
    assert found.method == ALIASES["pca_pair_centred"] == "pca_uncentred"


def test_weighted_pca_is_that_of_the_weighted_second_moment():
    contrast, _, _ = in_noise(20, length=1.0)
    contrast = replace(contrast, log_likelihood=torch.linspace(-6, -1, 20))
    weights = np.exp(np.linspace(-6, -1, 20))
    weights = weights / weights.sum()
    np.testing.assert_allclose(pair_weights(contrast).numpy(), weights, rtol=1e-5)
    differences = contrast.differences.double().numpy()
    axis = np.linalg.eigh(differences.T @ (weights[:, None] * differences))[1][:, -1]
    assert abs(find_direction("pca_weighted", contrast).unit.numpy() @ axis) > 1 - rounding(D, 1.0)
    assert abs(find_direction("pca_uncentred", contrast).unit.numpy() @ axis) < 0.99
    even = replace(contrast, log_likelihood=torch.full((20,), -3.0))
    torch.testing.assert_close(
        find_direction("pca_weighted", even).unit, find_direction("pca_uncentred", even).unit
    )


# -- whitening -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_pairs", [8, 60], ids=["n < d", "n > d"])
@pytest.mark.parametrize("shrinkage", [1e-3, 0.3])
def test_the_solve_in_the_span_is_the_direct_one(n_pairs, shrinkage):
    contrast, _, _ = in_noise(n_pairs, own=8.0)
    sides = (contrast.positive.double().numpy(), contrast.negative.double().numpy())
    scatter = sum((len(s) - 1) * np.cov(s.T) for s in sides) / (2 * n_pairs - 2)
    shrunk = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / D * np.eye(D)
    direct = np.linalg.solve(shrunk, sides[0].mean(axis=0) - sides[1].mean(axis=0))
    found = whitened(contrast, shrinkage=shrinkage).unit.numpy()
    np.testing.assert_allclose(found, direct / np.linalg.norm(direct), atol=1e-5)


def test_full_shrinkage_is_the_mean_difference():
    contrast, _, _ = in_noise(own=8.0)
    torch.testing.assert_close(whitened(contrast, shrinkage=1.0).unit, mean_diff(contrast).unit)


@pytest.mark.parametrize("n_pairs", [3, 6, 30], ids=["fewest", "n < d", "n > d"])
def test_the_shrinkage_makes_left_out_pairs_likeliest(n_pairs):
    contrast, _, _ = in_noise(n_pairs, own=3.0, seed=2)
    grid = np.logspace(-4, 0, 41)
    scores = np.zeros(41)
    sides = (contrast.positive.double().numpy(), contrast.negative.double().numpy())
    for left in range(n_pairs):
        kept = [np.delete(side, left, axis=0) for side in sides]
        pooled = sum(np.cov(side.T) for side in kept) / 2
        for number, shrinkage in enumerate(grid):
            shrunk = (1 - shrinkage) * pooled + shrinkage * np.trace(pooled) / D * np.eye(D)
            for side, rows in zip(sides, kept, strict=True):
                scores[number] += multivariate_normal(rows.mean(axis=0), shrunk).logpdf(side[left])
    best = int(scores.argmax())
    assert 0 < best < 40
    assert leave_one_out_shrinkage(contrast) == pytest.approx(grid[best])


def test_isotropic_noise_asks_for_more_shrinkage_than_anisotropic():
    assert leave_one_out_shrinkage(in_noise(40)[0]) > 0.9
    assert leave_one_out_shrinkage(in_noise(40, own=8.0)[0]) < 0.3


# -- the probe -----------------------------------------------------------------------------------


def test_the_probe_minimises_the_regularised_loss():
    contrast, _, _ = in_noise(12, length=1.0)
    rows = torch.cat([contrast.positive, contrast.negative]).double()
    rows = rows - rows.mean(dim=0)
    rows = rows / rows.square().sum(dim=1).mean().sqrt()
    labels = torch.tensor([1.0, -1.0]).double().repeat_interleave(12)
    weights = torch.zeros(D + 1, dtype=torch.float64)
    for _ in range(30):  # Newton's method in the whole space
        full = torch.cat([rows, torch.ones(24, 1).double()], dim=1)
        pulls = torch.sigmoid(-labels * (full @ weights))
        ridge = 0.01 * torch.cat([torch.ones(D), torch.zeros(1)]).double()
        gradient = -(full * (labels * pulls)[:, None]).mean(dim=0) + ridge * weights
        hessian = full.T @ (full * (pulls * (1 - pulls))[:, None]) / 24 + ridge.diag()
        weights = weights - torch.linalg.solve(hessian, gradient)
    expected = (weights[:-1] / weights[:-1].norm()).float()
    found = logistic_probe(contrast, regularisation=0.01).unit
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_an_overwhelmed_probe_is_the_mean_difference():
    contrast, _, _ = in_noise(own=8.0)
    found = logistic_probe(contrast, regularisation=1e6).unit
    torch.testing.assert_close(found, mean_diff(contrast).unit, atol=1e-5, rtol=1e-4)
    assert float(logistic_probe(contrast, regularisation=1e-2).unit @ found) < 0.95


def test_both_texts_of_a_pair_are_left_out_together():
    # Partners of the other class lie in the same place but for a hair: whoever trains on one of a
    # pair and is tested on the other sees only its mistakes.
    # Folds of texts would be those of pairs if these were a multiple of their number.
    generator = torch.Generator().manual_seed(0)
    content = 10 * torch.randn(41, 200, generator=generator)
    truth = torch.zeros(200)
    truth[0] = 1.0
    contrast = Contrast(SITE, content + truth, content, 100.0, origin())
    split = torch.randperm(41, generator=generator)
    scattered = replace(contrast, negative=contrast.negative[split])
    assert cross_validated_regularisation(contrast) < cross_validated_regularisation(scattered)


# -- representation engineering ------------------------------------------------------------------


def test_repe_is_the_centred_pca_of_tossed_pairs_signed_by_a_vote():
    contrast, _, _ = in_noise(31, length=2.0, seed=1)
    differences = contrast.differences.double().numpy()
    units = []
    for seed in range(4):
        coins = torch.randint(2, (31, 1), generator=torch.Generator().manual_seed(seed)).numpy()
        rows = np.where(coins == 1, differences, -differences)
        axis = np.linalg.svd(rows - rows.mean(axis=0))[2][0]
        axis = axis * (1 if (differences @ axis > 0).mean() > 0.5 else -1)
        found = repe(contrast, seed=seed)
        np.testing.assert_allclose(found.unit.numpy(), axis, atol=1e-5)
        assert found.provenance.seed == seed
        units.append(found.unit)
    assert not torch.allclose(units[0], units[1], atol=1e-3)


def test_the_vote_of_repe_counts_pairs_and_not_lengths():
    # Three pairs ahead by 1, one behind by 10: the vote says +, the mean projection -.
    differences = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-10.0, 0.0]])
    contrast = Contrast(SITE, differences, torch.zeros(4, 2), 1.0, origin())
    assert float(repe(contrast, seed=0).unit[0]) > 0.9
    assert float(find_direction("pca_uncentred", contrast).unit[0]) < -0.9


def test_a_tied_vote_of_repe_goes_to_the_longer_differences():
    differences = torch.tensor([[1.0, 0.0], [1.0, 0.1], [-3.0, -0.1], [-3.0, 0.0]])
    for sign in (1, -1):
        contrast = Contrast(SITE, sign * differences, torch.zeros(4, 2), 1.0, origin())
        for seed in range(6):
            assert sign * float(repe(contrast, seed=seed).unit[0]) < -0.9


# -- S-space -------------------------------------------------------------------------------------


def test_a_mean_and_a_projection_change_places_and_a_principal_axis_does_not():
    contrast, truth, loud = in_noise(own=8.0, seed=3)
    quiet = torch.linalg.qr(torch.stack([truth, *loud, torch.ones(D)]).T).Q[:, -1]
    contrast = replace(contrast, weight=torch.stack([2 * truth, quiet + 0.1 * loud.sum(dim=0)]))
    basis = sspace_basis(contrast, rank=2)
    torch.testing.assert_close(basis.T @ basis, torch.eye(2), atol=1e-5, rtol=0.0)
    first = (contrast.differences @ basis).mean(dim=0)
    torch.testing.assert_close(
        sspace_mean(contrast, rank=2).unit, basis @ (first / first.norm()), atol=1e-5, rtol=1e-4
    )
    # The loud noise decides the axis of the whole space, and has little part in the S-space.
    assert float(sspace_project_then_aggregate(contrast, rank=2).unit @ truth) > 0.95
    assert abs(float(sspace_aggregate_then_project(contrast, rank=2).unit @ truth)) < 0.8


def test_at_full_rank_the_s_space_is_the_whole_space():
    contrast, _, _ = in_noise(own=8.0)
    weight = torch.randn(60, D, generator=torch.Generator().manual_seed(0))
    whole = replace(contrast, weight=weight)
    plain = find_direction("pca_uncentred", whole).unit
    for method in (sspace_aggregate_then_project, sspace_project_then_aggregate):
        torch.testing.assert_close(method(whole, rank=D).unit, plain, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(
        sspace_mean(whole, rank=D).unit, mean_diff(whole).unit, atol=1e-5, rtol=1e-4
    )


def test_s_space_directions_lie_in_the_strongest_directions_of_the_weight():
    contrast, _, _ = in_noise()
    basis = sspace_basis(contrast, rank=3)
    _, _, axes = np.linalg.svd(contrast.weight.double().numpy())
    np.testing.assert_allclose((basis @ basis.T).numpy(), axes[:3].T @ axes[:3], atol=1e-5)
    for name in ("sspace_mean", "sspace_aggregate_then_project", "sspace_project_then_aggregate"):
        unit = METHODS[name](contrast, rank=3).unit
        torch.testing.assert_close(basis @ (basis.T @ unit), unit, atol=1e-5, rtol=1e-4)
    with pytest.raises(BadValueError, match="rank 49 must lie between 1 and 48"):
        sspace_basis(contrast, rank=49)


# -- controls ------------------------------------------------------------------------------------


def test_the_covariance_matched_control_has_the_covariance_of_the_classes():
    contrast, _, loud = in_noise(100, own=8.0)
    drawn = torch.stack(
        [find_direction("covariance_matched_random", contrast, seed=s).unit for s in range(200)]
    )
    shares = (drawn @ loud.T).square().sum(dim=1).mean()
    assert float(shares) == pytest.approx(5 * 65 / (5 * 65 + 45), abs=0.05)
    plain = torch.stack([find_direction("random", contrast, seed=s).unit for s in range(200)])
    assert float((plain @ loud.T).square().sum(dim=1).mean()) == pytest.approx(0.1, abs=0.03)


def test_another_concept_keeps_its_axis_and_its_origin_and_takes_these_lengths():
    contrast, truth, _ = in_noise()
    found = other_concept(contrast)
    torch.testing.assert_close(found.unit, mean_diff(contrast.other).unit)
    assert found.scale == mean_diff(contrast).scale
    assert found.scale != mean_diff(contrast.other).scale
    assert found.provenance == contrast.other.provenance
    with pytest.raises(
        VectorMismatchError, match=r"read at resid_post\.0, this one at resid_post\.1"
    ):
        replace(contrast, other=replace(contrast.other, site=Site("resid_post", 0)))


# -- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", list(NEEDS))
def test_missing_evidence_says_how_to_get_it(method):
    contrast, _, _ = in_noise(10)
    bare = replace(contrast, log_likelihood=None, weight=None, other=None, gradients=None)
    with pytest.raises(MissingEvidenceError, match=f"{method}.*needs '{NEEDS[method][0]}'.*gather"):
        find_direction(method, bare)


@pytest.mark.parametrize("n_pairs", [1, 2, 3])
@pytest.mark.parametrize("method", list(METHODS))
def test_few_pairs_give_a_direction_or_a_named_error(method, n_pairs):
    least = {"pca_centred": 2, "whitened": 3, "logistic_probe": 2, "repe": 2}.get(method, 1)
    contrast, _, _ = in_noise(n_pairs)
    if n_pairs < least:
        with pytest.raises(DegenerateDirectionError):
            find_direction(method, contrast)
    else:
        assert torch.isfinite(find_direction(method, contrast, seed=2).unit).all()


def test_a_singular_covariance_is_no_obstacle():
    # Five pairs within a plane of a space of 50, all of one class on a line.
    generator = torch.Generator().manual_seed(0)
    plane = torch.randn(2, D, generator=generator)
    negative = torch.randn(5, 1, generator=generator) @ plane[:1]
    positive = torch.randn(5, 1, generator=generator) @ plane[:1] + plane[1]
    contrast = Contrast(SITE, positive, negative, 10.0, origin())
    for method in ("whitened", "logistic_probe"):
        unit = find_direction(method, contrast).unit
        assert torch.isfinite(unit).all()
        line = plane[0] / plane[0].norm()
        assert abs(float(unit @ line)) < 0.1  # away from the line along which the classes spread


def test_texts_that_do_not_vary_and_values_out_of_range_are_named():
    contrast, _, _ = in_noise(6)
    still = replace(
        contrast, positive=torch.ones(6, D), negative=torch.zeros(6, D), log_likelihood=None
    )
    with pytest.raises(DegenerateDirectionError, match="texts of a class do not vary"):
        whitened(still)
    one = replace(still, positive=still.positive.index_fill(0, torch.tensor([0]), 3.0))
    with pytest.raises(DegenerateDirectionError, match="without one of the pairs"):
        whitened(one)
    with pytest.raises(DegenerateDirectionError, match="covariance_matched_random"):
        find_direction("covariance_matched_random", still)
    for shrinkage in (0.0, 1.5, float("nan")):
        with pytest.raises(BadValueError, match="must lie above 0"):
            whitened(contrast, shrinkage=shrinkage)
    for regularisation in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadValueError, match="must be a positive number"):
            logistic_probe(contrast, regularisation=regularisation)
    with pytest.raises(NotFiniteError, match="log_likelihood"):
        replace(contrast, log_likelihood=torch.full((6,), torch.nan))


def test_some_of_the_pairs_keep_their_evidence_and_the_lengths():
    contrast, _ = planted_contrast(n_pairs=10)
    some = contrast.take(torch.tensor([7, 2]))
    for name in ("positive", "negative", "log_likelihood"):
        assert torch.equal(getattr(some, name), getattr(contrast, name)[[7, 2]])
    assert (some.relative, some.provenance.n_pairs) == (contrast.relative, 2)
    assert some.weight is contrast.weight
    assert some.other is contrast.other

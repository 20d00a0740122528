from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from steerscope.directions import METHODS, NEEDS, find_direction
from steerscope.directions.gradient import natural_gradient
from steerscope.errors import (
    BadValueError,
    DegenerateDirectionError,
    MissingEvidenceError,
    NotFiniteError,
)
from steerscope.extraction.activations import Contrast, Gradients
from steerscope.sites import Site
from tests.helpers import origin, rounding, swapped

GRADIENT = [m for m, needs in NEEDS.items() if needs == ("gradients",)]
FISHER = [m for m in GRADIENT if m.startswith("fisher")]


def contrast_of(positive, negative, moves="apart", norms=None):
    """A contrast with these gradients and activations that say nothing."""
    n, d = positive.shape
    gradients = Gradients(
        positive,
        negative,
        torch.ones(n, 2) if norms is None else norms,
        "made up",
        moves,
        "mean",
    )
    activations = torch.randn(2, n, d, generator=torch.Generator().manual_seed(99))
    return Contrast(Site("resid_post", 1), *activations, 5.0, origin(), gradients)


def random_contrast(n=12, d=40, moves="apart", seed=0, scale=1e-3):
    """Gradients about a common descent, as small as real ones."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(d, generator=generator)
    rows = (torch.randn(2, n, d, generator=generator) + 0.3 * common) * scale
    norms = torch.rand(n, 2, generator=generator) + 0.1
    return contrast_of(-rows[0], rows[1] if moves == "apart" else -rows[1], moves, norms)


def descents(contrast):
    """Rows written once more: minus the gradient, turned round at negatives that move apart."""
    g = contrast.gradients
    turn = 1 if g.moves == "apart" else -1
    return torch.cat([-g.positive, turn * g.negative]).double()


def full_solve(rows, ridge, mean, fisher):
    return torch.linalg.solve(fisher + ridge * torch.eye(rows.shape[1]).double(), mean)


def cosine(a, b):
    return float(torch.cosine_similarity(a.double(), b.double(), dim=0))


@pytest.mark.parametrize("ridge", [1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(12, 40), (60, 15)])
def test_the_solve_among_rows_is_the_one_in_full(ridge, weighted, shape):
    rows = descents(random_contrast(*shape))
    squares = torch.linspace(0.2, 3.0, len(rows)).double() if weighted else None
    fisher = rows.T @ (rows / (squares[:, None] if weighted else 1.0)) / len(rows)
    expected = full_solve(rows, ridge, rows.mean(dim=0), fisher)
    found = natural_gradient(rows, ridge=ridge, squares=squares)
    # the solve loses what its condition number, the trace over the ridge, says
    off = rounding(max(shape), 1 + float(fisher.trace()) / ridge, torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=off * float(expected.norm()))


def test_without_damping_every_text_is_promised_the_same_fall_or_its_square_norm():
    rows = descents(random_contrast(scale=1.0))
    torch.testing.assert_close(
        rows @ natural_gradient(rows, ridge=1e-12), torch.ones(24).double(), rtol=1e-8, atol=1e-8
    )
    squares = torch.linspace(0.2, 3.0, 24).double()
    promised = rows @ natural_gradient(rows, ridge=1e-12, squares=squares)
    torch.testing.assert_close(promised, squares, rtol=1e-8, atol=1e-8)


def test_the_covariance_gives_the_direction_of_the_empirical_fisher():
    rows = descents(random_contrast(scale=1.0))
    mean, n, ridge = rows.mean(dim=0), len(rows), 0.05
    empirical = full_solve(rows, ridge, mean, rows.T @ rows / n)
    centred = rows - mean
    assert cosine(empirical, full_solve(rows, ridge, mean, centred.T @ centred / n)) == (
        pytest.approx(1.0, abs=1e-12)
    )
    unbiased = cosine(empirical, full_solve(rows, ridge, mean, centred.T @ centred / (n - 1)))
    assert 1e-12 < 1 - unbiased < 1e-4


@pytest.mark.parametrize("moves", ["apart", "together"])
@pytest.mark.parametrize("damping", [1e-3, 0.1, 10.0])
def test_each_fisher_direction_is_its_formula_in_full(moves, damping):
    contrast = random_contrast(moves=moves)
    rows, d = descents(contrast), 40
    squares = contrast.gradients.output_norm.T.flatten().double().square()

    def solved(rows, fisher):
        return full_solve(rows, damping * float(fisher.trace()) / d, rows.mean(dim=0), fisher)

    def empirical(rows):
        return solved(rows, rows.T @ rows / len(rows))

    expected = {
        "fisher_empirical": empirical(rows),
        "fisher_ief": solved(rows, rows.T @ (rows / squares[:, None]) / len(rows)),
        "fisher_covariance": solved(rows, torch.cov(rows.T)),
        "fisher_positive": empirical(rows[:12]),
        "fisher_negative": empirical(rows[12:]),
        "fisher_difference": empirical(rows[:12]) + empirical(rows[12:]),
    }
    assert set(expected) == set(FISHER)
    for method, vector in expected.items():
        found = METHODS[method](contrast, damping=damping)
        assert cosine(found.unit, vector) == pytest.approx(1.0, abs=rounding(40, 1.0)), method
        assert found.method == method


def test_with_much_damping_the_natural_gradient_is_the_gradient():
    contrast = random_contrast()
    plain = find_direction("gradient_mean", contrast).unit
    assert cosine(METHODS["fisher_empirical"](contrast, damping=1e6).unit, plain) > 1 - rounding(
        40, 1.0
    )
    assert cosine(METHODS["fisher_empirical"](contrast, damping=1e-2).unit, plain) < 0.9


def test_equal_norms_at_the_output_make_the_improved_fisher_the_empirical():
    contrast = random_contrast()
    even = replace(contrast.gradients, output_norm=torch.full((12, 2), 0.37))
    same = replace(contrast, gradients=even)
    empirical = find_direction("fisher_empirical", same).unit
    torch.testing.assert_close(find_direction("fisher_ief", same).unit, empirical)
    assert cosine(find_direction("fisher_ief", contrast).unit, empirical) < 0.999


@pytest.mark.parametrize("moves", ["apart", "together"])
@pytest.mark.parametrize("method", GRADIENT)
def test_the_loss_falls_along_the_direction_and_swapping_the_classes_negates_it(method, moves):
    contrast = random_contrast(moves=moves, seed=1)
    unit = find_direction(method, contrast).unit
    sides = {"fisher_positive": slice(0, 12), "fisher_negative": slice(12, 24)}
    assert float((descents(contrast)[sides.get(method, slice(None))].float() @ unit).mean()) > 0
    # What the positives say of one order, the negatives say of the other.
    mirrored = {
        "fisher_positive": "fisher_negative",
        "fisher_negative": "fisher_positive",
    }.get(method, method)
    torch.testing.assert_close(
        find_direction(mirrored, swapped(contrast)).unit, -unit, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("method", GRADIENT)
def test_the_scale_of_the_loss_does_not_matter(method):
    small, large = random_contrast(scale=1e-9), random_contrast(scale=1e3)
    one, other = find_direction(method, small), find_direction(method, large)
    torch.testing.assert_close(one.unit, other.unit, atol=1e-4, rtol=1e-4)
    assert one.scale == other.scale


def planted(seed, *, n=40, d=120, moves="apart", loud=0.0):
    """Descents of length 1 along a known unit vector, with noise that is loud in ten directions."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
    axes = torch.linalg.qr(torch.randn(d, 10, generator=generator)).Q
    rows = truth + 0.05 * torch.randn(2, n, d, generator=generator)
    rows = rows + loud * torch.randn(2, n, 10, generator=generator) @ axes.T
    return contrast_of(-rows[0], rows[1] if moves == "apart" else -rows[1], moves), truth


@pytest.mark.parametrize("moves", ["apart", "together"])
@pytest.mark.parametrize("method", [m for m in GRADIENT if m != "gradient_svd"])
def test_a_planted_descent_is_found(method, moves):
    contrast, truth = planted(0, n=200, d=40, moves=moves)
    assert float(find_direction(method, contrast).unit @ truth) > 0.98


def test_the_axis_of_opposite_gradients_is_found():
    contrast, truth = planted(0, moves="apart")
    assert float(find_direction("gradient_svd", contrast).unit @ truth) > 0.98
    # Where the classes agree, centring takes the common gradient out.
    agreed, truth = planted(0, moves="together")
    assert abs(float(find_direction("gradient_svd", agreed).unit @ truth)) < 0.5


def test_loud_noise_misleads_the_mean_and_not_the_natural_gradient():
    cosines = {
        method: [
            float(find_direction(method, contrast).unit @ truth)
            for contrast, truth in (planted(seed, loud=5.0) for seed in range(10))
        ]
        for method in ("gradient_mean", "fisher_empirical", "fisher_covariance")
    }
    assert max(cosines["gradient_mean"]) < 0.75
    for method in ("fisher_empirical", "fisher_covariance"):
        assert min(cosines[method]) > 0.9


@pytest.mark.parametrize("method", GRADIENT)
def test_a_contrast_without_gradients_is_refused(method):
    bare = replace(random_contrast(), gradients=None)
    with pytest.raises(MissingEvidenceError, match=rf"{method} at resid_post.1 needs 'gradients'"):
        find_direction(method, bare)


@pytest.mark.parametrize("damping", [0.0, -0.1, math.nan, math.inf])
@pytest.mark.parametrize("method", FISHER)
def test_a_damping_that_is_no_positive_number_is_refused(method, damping):
    with pytest.raises(BadValueError, match="is not a positive number"):
        METHODS[method](random_contrast(), damping=damping)


def test_a_singular_system_is_refused():
    wide = random_contrast(n=40, d=20)  # 80 rows in 20 dimensions
    assert find_direction("fisher_empirical", wide)
    with pytest.raises(DegenerateDirectionError, match="80 rows in 20 dimensions is singular"):
        METHODS["fisher_empirical"](wide, damping=1e-18)


@pytest.mark.parametrize("method", GRADIENT)
def test_gradients_that_cancel_or_vanish_define_no_direction(method):
    row = torch.randn(1, 8, generator=torch.Generator().manual_seed(0))
    opposite = torch.cat([row, -row])
    for rows in (opposite, torch.zeros(2, 8)):
        with pytest.raises(DegenerateDirectionError, match=f"{method} at resid_post.1"):
            find_direction(method, contrast_of(rows, rows))


def test_a_text_without_gradient_at_the_output_is_named():
    contrast = random_contrast()
    norms = contrast.gradients.output_norm.clone()
    norms[3, 1] = 0.0
    broken = replace(contrast, gradients=replace(contrast.gradients, output_norm=norms))
    with pytest.raises(DegenerateDirectionError, match="made up has no gradient at the output"):
        find_direction("fisher_ief", broken)


def test_an_axis_along_which_the_mean_loss_is_level_has_no_sign():
    slope, across = torch.eye(8)[0], torch.eye(8)[1]
    # Both classes vary along `across` alike and descend along `slope`.
    positive = torch.stack([-slope + 9 * across, -slope - 9 * across])
    contrast = contrast_of(positive, positive, "together")
    with pytest.raises(DegenerateDirectionError, match="has no sign"):
        find_direction("gradient_svd", contrast)
    constant = contrast_of(-slope.repeat(2, 1), -slope.repeat(2, 1), "together")
    with pytest.raises(DegenerateDirectionError, match="do not vary"):
        find_direction("gradient_svd", constant)


def test_a_nan_is_refused():
    rows = torch.ones(2, 3)
    with pytest.raises(NotFiniteError, match="gradients of the loss made up are not finite"):
        contrast_of(rows * torch.nan, rows)

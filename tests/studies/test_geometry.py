"""Geometries that are the same up to a rotation are found; those that are not are not."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from steerscope import figures
from steerscope.errors import BadValueError, DegenerateDirectionError, UnknownNameError
from steerscope.figures.looks import Look, dressed
from steerscope.studies.geometry import (
    compare_geometries,
    cosine_matrix,
    geometries_in_words,
    mantel,
)


def vectors(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d))


def rotation(d, seed):
    return np.linalg.qr(vectors(d, d, seed))[0]


def symmetric(above):
    """A matrix of four concepts from its entries 12, 13, 14, 23, 24, 34."""
    matrix = np.eye(4)
    matrix[np.triu_indices(4, 1)] = above
    return np.maximum(matrix, matrix.T)


def test_cosines_of_three_concepts_by_hand():
    given = np.array([[3.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    found = cosine_matrix(given, centred=False)
    half = 1 / math.sqrt(2)
    assert found == pytest.approx(np.array([[1, 0, half], [0, 1, half], [half, half, 1]]))
    centred = cosine_matrix(np.array([[2.0, 0.0], [0.0, 2.0], [1.0, 4.0]]))  # mean (1, 2)
    assert centred[0, 1] == pytest.approx((1 * -1 + -2 * 0) / math.sqrt(5))
    assert centred[0, 2] == pytest.approx((1 * 0 + -2 * 2) / (math.sqrt(5) * 2))


def test_a_shared_mean_makes_all_concepts_alike_until_it_is_taken_away():
    own = vectors(8, 40, 0)
    shared = own + 30 * np.ones(40) / math.sqrt(40)
    above = np.triu_indices(8, 1)
    assert cosine_matrix(shared, centred=False)[above].min() > 0.9
    assert cosine_matrix(shared) == pytest.approx(cosine_matrix(own))
    assert abs(cosine_matrix(shared)[above].mean()) < 0.2


def test_four_concepts_with_distinct_cosines_have_one_order_in_24_that_agrees():
    matrix = symmetric([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    found = mantel(matrix, matrix)
    assert found.rho == pytest.approx(1.0)
    assert (found.p, found.n, found.n_orders, found.exact) == (1 / 24, 4, 24, True)


def test_one_edge_that_agrees_is_kept_by_4_of_24_orders():
    one = symmetric([1.0, 0, 0, 0, 0, 0])
    same = mantel(one, one, method="pearson")
    assert (same.rho, same.p) == (pytest.approx(1.0), pytest.approx(4 / 24))
    other = mantel(one, symmetric([0, 0, 0, 0, 0, 1.0]), method="pearson")
    assert (other.rho, other.p) == (pytest.approx(-0.2), 1.0)  # no order is nearer to zero


def test_the_exact_p_is_that_of_a_loop_over_all_orders():
    a, b = (cosine_matrix(vectors(5, 3, seed)) for seed in (0, 1))
    above = np.triu_indices(5, 1)

    def r(order):
        return np.corrcoef(a[above], b[np.ix_(order, order)][above])[0, 1]

    every = [abs(r(list(order))) for order in permutations(range(5))]
    found = mantel(a, b, method="pearson")
    assert found.rho == pytest.approx(r(range(5)))
    assert found.p == pytest.approx(np.mean(np.array(every) >= abs(found.rho) - 1e-12))


def test_the_same_geometry_in_other_axes_is_found_and_an_independent_one_is_not():
    own = vectors(12, 10, 0)
    turned = np.pad(own, ((0, 0), (0, 6))) @ rotation(16, 1) * 7 + 5
    found = mantel(cosine_matrix(own), cosine_matrix(turned), n_orders=999)
    assert found.rho == pytest.approx(1.0)
    assert found.p == pytest.approx(1 / 1000)
    assert not found.exact
    alien = mantel(cosine_matrix(own), cosine_matrix(vectors(12, 10, 2)), n_orders=999)
    assert alien.p > 0.05


@pytest.mark.parametrize("n", [5, 10])  # every order, and orders at random
def test_p_is_uniform_when_nothing_is_shared(n):
    p = np.array(
        [
            mantel(
                *(cosine_matrix(vectors(n, 4, 2 * s + side)) for side in (0, 1)),
                n_orders=199,
                seed=s,
            ).p
            for s in range(400)
        ]
    )
    for level in (0.05, 0.25, 0.5, 0.75):
        spread = 3 * math.sqrt(level * (1 - level) / len(p))
        assert (p <= level).mean() == pytest.approx(level, abs=spread)


def test_labels_that_stay_in_their_group_ask_for_more_than_which_belong_together():
    groups = ["a"] * 6 + ["b"] * 6
    place = np.repeat([[1.0], [-1.0]], 6, axis=0) * 3
    a, b = (np.hstack([place, vectors(12, 12, seed)]) for seed in (0, 1))
    free = mantel(cosine_matrix(a), cosine_matrix(b), n_orders=999)
    within = mantel(cosine_matrix(a), cosine_matrix(b), groups=groups, n_orders=999)
    assert free.p < 0.01
    assert within.p > 0.05
    assert free.rho == within.rho
    same = mantel(cosine_matrix(a), cosine_matrix(a), groups=groups, n_orders=999)
    assert same.p < 0.01


def test_groups_of_few_concepts_are_enumerated():
    matrix = symmetric([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    found = mantel(matrix, matrix, groups=["a", "a", "b", "b"])
    assert (found.n_orders, found.p) == (4, 1 / 4)


def test_models_are_compared_in_pairs_and_the_verdict_counts_those_that_learned():
    own = vectors(9, 8, 0)
    found = {
        "one": cosine_matrix(own),
        "two": cosine_matrix(own @ rotation(8, 1)),
        "three": cosine_matrix(own @ rotation(8, 2)),
        "untrained": cosine_matrix(vectors(9, 8, 3)),
    }
    concepts, groups = [f"c{i}" for i in range(9)], ["a"] * 4 + ["b"] * 5
    table = compare_geometries(found, concepts=concepts, groups=groups, nulls=["untrained"])
    assert list(zip(table["first"], table.second, strict=True))[0] == ("one", "two")
    assert table.null.tolist() == [False, False, True, False, True, True]
    trained = table[~table.null]
    assert trained.p_holm.tolist() == pytest.approx([3 * p for p in trained.p])  # all smallest
    assert table[table.null].p_holm.isna().all()
    said = geometries_in_words(table)
    assert said.startswith(
        "3 of 3 pairs of trained models share the geometry of 9 concepts beyond chance"
    )
    assert "still tell 3 of 3" in said
    assert said.endswith("below every trained pair.")
    assert "may explain that" in geometries_in_words(table.assign(null=~table.null, p_holm=table.p))


def test_a_geometry_turned_round_is_not_called_shared():
    own = cosine_matrix(vectors(9, 8, 0))
    found = {"one": own, "two": -own, "three": own}
    table = compare_geometries(found, concepts=list("abcdefghi"), groups=list("aaaabbbbb"))
    assert sorted(table.rho.round(3)) == [-1.0, -1.0, 1.0]
    said = geometries_in_words(table)
    assert said.startswith("1 of 3 pairs of trained models share the geometry of 9 concepts beyond")
    assert "; 2 have it turned round: what is alike in the one is unlike in the other" in said
    assert "still tell 1 of 3" in said


def test_the_figure_holds_every_matrix_with_its_concepts():
    found = {name: cosine_matrix(vectors(5, 4, seed)) for seed, name in enumerate("ab")}
    figure = figures.concept_geometry(found, concepts=list("vwxyz"), title="cosines")
    for trace, (name, matrix) in zip(figure.data, found.items(), strict=True):
        assert trace.name == name
        assert np.array(trace.z) == pytest.approx(matrix)
        assert list(trace.x) == list(trace.y) == list("vwxyz")
    assert [a.text for a in figure.layout.annotations] == ["a", "b"]
    assert figure.layout.xaxis2.title.text == "concept"
    assert figure.data[0].colorbar.title.text == "cosine"


def test_concepts_of_one_variable_stand_under_its_name_in_a_row_that_is_not_ragged():
    found = {name: cosine_matrix(vectors(5, 4, seed)) for seed, name in enumerate("abcde")}
    named = ["mood=v", "mood=w", "topic=x", "topic=y", "topic=z"]
    figure = figures.concept_geometry(found, concepts=named, title="cosines")
    for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
        assert list(axis.ticktext) == ["mood", "topic"]
        assert list(axis.tickvals) == [0.5, 3.0]
    assert {tuple(axis.domain) for axis in figure.select_yaxes()} == {(0, 1)}
    assert {shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1} == {1.5}
    for columns in (1, 2):
        shown = dressed(figure, Look(columns=columns))
        assert list(shown.layout.yaxis.ticktext) == ["mood", "topic"]


def test_what_has_no_geometry_is_refused_by_name():
    matrix = cosine_matrix(vectors(5, 4, 0))
    with pytest.raises(BadValueError, match="3 concepts are too few"):
        mantel(matrix[:3, :3], matrix[:3, :3])
    with pytest.raises(BadValueError, match="alone in its group"):
        mantel(matrix, matrix, groups=list("abcde"))
    with pytest.raises(BadValueError, match="do not vary"):
        mantel(matrix, np.eye(5))
    with pytest.raises(UnknownNameError, match="pearson, spearman"):
        mantel(matrix, matrix, method="kendall")
    with pytest.raises(DegenerateDirectionError, match="row 0 is zero after taking the mean"):
        cosine_matrix(np.ones((4, 3)))
    with pytest.raises(DegenerateDirectionError, match="row 1 is zero; give"):
        cosine_matrix(np.array([[1.0, 0.0], [0.0, 0.0]]), centred=False)
    with pytest.raises(BadValueError, match="at least 2"):
        compare_geometries({"one": matrix}, concepts=list("abcde"), groups=["a"] * 5)
    with pytest.raises(BadValueError, match="b has 4 concepts, not 5"):
        compare_geometries(
            {"a": matrix, "b": matrix[:4, :4]}, concepts=list("abcde"), groups=["a"] * 5
        )

"""Overlap of feature sets against chance: the seed study's numbers, and arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerscope.errors import AutoencoderMismatchError, BadValueError
from steerscope.studies.features.feature_sets import (
    FeatureSet,
    best_match,
    domain_sets,
    largest,
    translated,
)
from steerscope.studies.features.overlap import (
    overlap,
    overlap_by_depth,
    overlap_table,
    rank_biased_overlap,
)
from tests.sae.dictionaries import small_sae


def sets(shared: int, k: int, n: int) -> tuple[FeatureSet, FeatureSet]:
    """Two sets of k features of which the last `shared` of one are the first of the other."""
    return (
        FeatureSet("a", tuple(range(k)), n, "made up"),
        FeatureSet("b", tuple(range(k - shared, 2 * k - shared)), n, "made up"),
    )


@pytest.mark.parametrize(
    ("shared", "n", "p"), [(2, 8192, 0.0010), (4, 8192, 1.2e-7), (5, 20480, 7.9e-12)]
)
def test_the_published_overlaps_are_far_above_chance(shared, n, p):
    found = overlap(*sets(shared, 20, n))
    assert found.shared == shared
    assert found.p_hypergeometric == pytest.approx(p, rel=0.1)
    assert (found.chance_low, found.chance_high) == (0, 1 if n == 8192 else 0)
    assert found.expected == pytest.approx(400 / n)
    assert found.drawn_high < shared
    assert found.p_permutation < 0.01


def test_what_two_short_lists_share_is_counted_by_hand():
    a = FeatureSet("a", (0, 1, 2), 10, "made up")
    b = FeatureSet("b", (1, 5, 0), 10, "made up")
    found = overlap(a, b, persistence=0.5)
    assert (found.shared, found.jaccard) == (2, 2 / 4)
    # P(at least 2 of 3) = (C(3,2) C(7,1) + C(3,3)) / C(10,3), P(at most 2) = 1 - 1 / 120
    assert found.p_hypergeometric == pytest.approx(22 / 120)
    assert found.p_fewer == pytest.approx(119 / 120)
    # shared by depth 0, 1, 2: A = 0, 1/2, 2/3; 2/3 * 1/8 + (1/4 * 1/2 + 1/8 * 2/3)
    assert found.rbo == pytest.approx(2 / 3 / 8 + 1 / 8 + 2 / 3 / 8)
    assert [o.shared for o in overlap_by_depth(a, b, [1, 2, 3])] == [0, 1, 2]


@pytest.mark.parametrize("persistence", [0.2, 0.9, 0.98])
def test_equal_lists_have_a_rank_biased_overlap_of_one_and_disjoint_ones_of_zero(persistence):
    equal, disjoint = np.arange(1, 21)[None], np.zeros((1, 20), dtype=int)
    assert rank_biased_overlap(equal, persistence) == pytest.approx(1)
    assert rank_biased_overlap(disjoint, persistence) == pytest.approx(0)
    early = overlap(*sets(20, 20, 100), persistence=persistence)
    assert early.rbo == pytest.approx(1)


def test_an_early_agreement_counts_more_than_a_late_one():
    a = FeatureSet("a", tuple(range(10)), 100, "made up")
    early = FeatureSet("b", (0, 1, *range(20, 28)), 100, "made up")
    late = FeatureSet("b", (*range(20, 28), 8, 9), 100, "made up")
    assert overlap(a, early).shared == overlap(a, late).shared == 2
    assert overlap(a, early).rbo > 2 * overlap(a, late).rbo


def test_the_null_draws_agree_with_the_hypergeometric_distribution():
    found = overlap(*sets(6, 30, 120), n_draws=4000)
    assert found.p_permutation == pytest.approx(found.p_hypergeometric, abs=0.03)
    assert (found.drawn_low, found.drawn_high) == (found.chance_low, found.chance_high)


def test_a_null_of_equal_frequency_explains_lists_of_frequent_features():
    # both lists hold 12 of the 20 features that fire at all: what chance would give among those
    frequency = torch.zeros(1000)
    frequency[:20] = 0.5
    a = FeatureSet("a", tuple(range(12)), 1000, "made up")
    b = FeatureSet("b", tuple(range(5, 17)), 1000, "made up")
    assert overlap(a, b).p_permutation < 0.002
    among_frequent = overlap(a, b, frequency=frequency)
    assert among_frequent.p_permutation > 0.2
    assert among_frequent.drawn_high > 5


def test_sets_of_different_dictionaries_or_impossible_depths_are_refused_by_name():
    a = FeatureSet("a", (0, 1), 10, "one")
    with pytest.raises(AutoencoderMismatchError, match="different dictionaries"):
        overlap(a, FeatureSet("b", (0, 1), 10, "two"))
    with pytest.raises(BadValueError, match="ranks 2 features"):
        overlap(a, a, k=3)
    with pytest.raises(BadValueError, match="11 features of a dictionary of 10"):
        FeatureSet("c", tuple(range(11)), 10, "one")
    with pytest.raises(BadValueError, match="twice"):
        FeatureSet("c", (1, 1), 10, "one")
    with pytest.raises(BadValueError, match="outside"):
        FeatureSet("c", (10,), 10, "one")
    with pytest.raises(BadValueError, match="41 features of a dictionary of 40"):
        largest("all", torch.ones(40), small_sae(), 41)
    with pytest.raises(BadValueError, match="persistence"):
        overlap(a, a, persistence=1.0)
    with pytest.raises(AutoencoderMismatchError, match="frequencies"):
        overlap(a, a, frequency=torch.ones(9))


def test_a_table_has_a_row_per_setting_and_depth_and_corrects_over_the_settings():
    settings = [({"seed": i, "l0": 8}, *sets(i, 10, 500)) for i in (0, 2, 4)]
    table = overlap_table(settings, depths=[5, 10])
    assert list(table.columns[:2]) == ["seed", "l0"]
    assert len(table) == 6
    whole = table[table.k == 10].set_index("seed")
    assert whole.shared.tolist() == [0, 2, 4]
    larger = max(whole.p_hypergeometric[4], whole.p_permutation[4])
    assert whole.p_permutation[4] > whole.p_hypergeometric[4]  # so few draws tell no less
    assert whole.p_holm[4] == pytest.approx(3 * larger)
    with pytest.raises(BadValueError, match="at least one setting"):
        overlap_table([], depths=[5])


def test_a_domain_is_told_by_the_features_that_only_it_uses():
    sae = small_sae()
    codes = {name: torch.ones(5 + i, 40) for i, name in enumerate(("a", "b", "c"))}
    for i, name in enumerate(codes):
        codes[name][:, 3 * i : 3 * i + 3] += torch.tensor([3.0, 2.0, 1.0])
    found = domain_sets(codes, sae, 3)
    assert [found[name].ranked for name in codes] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert overlap(found["a"], found["b"]).shared == 0
    with pytest.raises(BadValueError, match="at least 2"):
        domain_sets({"a": codes["a"]}, sae, 3)


def test_features_of_no_value_are_in_no_set():
    """Two disjoint sets of 11 and 9: what they share is not filled up with dead features."""
    sae, values = small_sae(), torch.zeros(2, 40)
    values[0, 20:31], values[1, 31:40] = torch.arange(11.0) + 1, torch.arange(9.0) + 1
    one, other = (largest(str(i), row, sae, 20) for i, row in enumerate(values))
    assert (len(one.ranked), len(other.ranked)) == (11, 9)
    [found] = overlap_by_depth(one, other, [20])
    assert (found.k, found.n_a, found.n_b, found.shared) == (20, 11, 9, 0)
    assert found.p_hypergeometric == 1.0
    assert found.expected == pytest.approx(11 * 9 / 40)
    assert (found.jaccard, found.rbo) == (0.0, 0.0)
    with pytest.raises(BadValueError, match="above zero for no feature"):
        largest("dead", torch.zeros(40), sae, 20)
    alike = largest("away", -values[0], sae, 20, absolute=True)
    assert set(alike.ranked) == set(one.ranked)


def test_chance_is_of_the_sizes_that_sets_have():
    a = FeatureSet("a", (0, 1, 2, 3), 10, "made up")
    b = FeatureSet("b", (9, 2), 10, "made up")
    shallow, deep = overlap_by_depth(a, b, [2, 4], persistence=0.5, n_draws=4000)
    assert (shallow.shared, deep.shared) == (0, 1)
    # at least 1 of 2 among 4 of 10
    assert deep.p_hypergeometric == pytest.approx(1 - (6 * 5) / (10 * 9))
    assert deep.p_permutation == pytest.approx(deep.p_hypergeometric, abs=0.03)
    assert deep.jaccard == pytest.approx(1 / 5)
    assert deep.rbo == shallow.rbo == 0.0  # to the end of the shorter: 0 of 1, 0 of 2


def test_features_are_found_again_in_a_dictionary_of_another_order():
    sae = small_sae()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    other = small_sae(rows=sae.decoder[order], seed=7)
    partner, cosine = best_match(sae, other)
    assert order[partner].tolist() == list(range(40))
    assert cosine == pytest.approx(1.0, abs=1e-5)
    mine = FeatureSet("some", (5, 3, 1), 40, sae.name)
    assert order[list(translated(mine, sae, other).ranked)].tolist() == [5, 3, 1]
    with pytest.raises(AutoencoderMismatchError, match="no one-to-one partner"):
        best_match(sae, small_sae(n_features=20))
    with pytest.raises(AutoencoderMismatchError, match="not of"):
        translated(FeatureSet("some", (5,), 40, "another"), sae, other)

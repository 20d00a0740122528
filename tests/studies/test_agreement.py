"""Whether the order of methods holds from one ranking to another: by hand, and only where one thing differs."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from steerscope.studies.methods.agreement import Asked, order_agreement


def ranking(effects, place="own layer", matching="kl"):
    names = ["a", "b", "c", "d", "e", "other_concept", "random"]
    rows = dict(zip(names, [*effects, 9.0, 9.0], strict=True))
    return pd.DataFrame(
        {
            "place": place,
            "matching": matching,
            "method": list(rows),
            "null": [name == "random" for name in rows],
            "effect": list(rows.values()),
        }
    )


ONE = Asked("m", "mood", 0)


def test_the_same_order_agrees_wholly_and_the_opposite_not_at_all_by_hand():
    rankings = [
        (ONE, ranking([0.1, 0.2, 0.3, 0.4, 0.5])),
        (Asked("m", "mood", 1), ranking([1, 2, 3, 4, 5])),
        (Asked("m", "tone", 0), ranking([5, 4, 3, 2, 1])),
        (Asked("n", "mood", 0), ranking([2, 1, 3, 4, math.nan])),
        (Asked("n", "tone", 1), ranking([1, 2, 3, 4, 5])),
    ]
    found = order_agreement(rankings).set_index(["one", "other"])
    assert [*found.index] == [(0, 1), (0, 2), (0, 3)]  # (1, 2) and all with 4 differ in two things
    assert list(found.differs) == ["draw", "concept", "model"]
    assert found.rho.tolist() == pytest.approx([1.0, -1.0, 0.8])  # 1 - 6 * 2 / (4 * 15)
    assert found.n.tolist() == [5, 5, 4]
    assert found.p[0, 1] == pytest.approx(2 / 120)  # of all orders, this one and its reverse
    assert list(found.best) == ["e", "e", "e"]
    assert found.its_rank.tolist()[:2] == [1.0, 5.0]
    assert math.isnan(found.its_rank.tolist()[2])  # the other does not know it


def test_no_method_is_the_best_where_several_are_and_few_have_no_order():
    tied = ranking([0.0] * 5)
    few = ranking([1, 2, 3, math.nan, math.nan])
    rankings = [(ONE, tied), (Asked("m", "mood", 1), few)]
    [row] = order_agreement(rankings).itertuples()
    assert (row.best, row.n) == ("", 3)
    assert all(map(math.isnan, (row.its_rank, row.rho, row.p)))
    [row] = order_agreement(rankings[::-1]).itertuples()
    assert (row.best, row.its_rank) == ("c", 3.0)  # among five that are alike


def test_each_place_and_matching_stands_for_itself_and_one_ranking_agrees_with_none():
    both = pd.concat([ranking([1, 2, 3, 4, 5]), ranking([5, 4, 3, 2, 1], matching="norm")])
    found = order_agreement([(ONE, both), (Asked("m", "mood", 1), both)])
    assert list(found.matching) == ["kl", "norm"]
    assert found.rho.tolist() == pytest.approx([1.0, 1.0])
    assert order_agreement([(ONE, both)]).empty

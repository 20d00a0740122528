"""Whether two techniques were stated at one KL."""

from __future__ import annotations

import math

from steerscope.studies.methods.one_kl import is_one_kl


def test_a_difference_counts_as_a_share_of_the_larger_kl_whichever_way_round():
    for one, other, expected in ((0.1, 0.1, True), (0.1, 0.0851, True), (0.1, 0.0849, False)):
        assert is_one_kl(one, other) is expected
        assert is_one_kl(other, one) is expected
    assert not is_one_kl(math.nan, 0.1)

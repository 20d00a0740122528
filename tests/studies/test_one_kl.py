"""Whether two techniques were stated at one KL."""

from __future__ import annotations

import math

import pandas as pd

from steerscope import figures
from steerscope.studies.methods.one_kl import is_one_kl
from steerscope.studies.transfer.findings import against
from steerscope.studies.transfer.wording import verdict, verdicts
from tests.studies.test_techniques import made_rows


def test_a_difference_counts_as_a_share_of_the_larger_kl_whichever_way_round():
    for one, other, expected in ((0.1, 0.1, True), (0.1, 0.0851, True), (0.1, 0.0849, False)):
        assert is_one_kl(one, other) is expected
        assert is_one_kl(other, one) is expected
    assert not is_one_kl(math.nan, 0.1)


def test_a_kl_that_is_not_known_is_not_said_to_be_another():
    rows = made_rows()
    rows.loc[(rows.metric == "kl") & (rows.technique == "bad"), "value"] = math.nan
    table = against(rows, "target", "good")
    assert verdict(table, "good", "bad", words="x", kl=0.1).endswith(
        "at 0.090 [0.090, 0.090] nats against a KL that is not known on the measured prompts; whether this is a "
        "comparison at one KL is not known."
    )
    [drawn] = figures.transfer_at_one_kl(table, words="x", kl=0.1).data
    labels = {y.partition("<br>")[0]: y.partition("<br>")[2] for y in drawn.y}
    assert labels["good"] == "<sup>0.090 [0.090, 0.090]</sup>"
    assert labels["bad"] == "<sup>KL not known</sup>"


def test_what_is_stated_at_its_own_kl_says_where_that_is_not_known():
    rows = made_rows()
    told = rows[(rows.technique == "good") & ~rows.matched].assign(technique="told")
    told.loc[told.metric == "kl", "value"] = math.nan
    *_, line = verdicts(pd.concat([rows, told]), "good", kl=0.1)
    assert "At c = ±1 told has +0.400 [" in line
    assert line.endswith(" at a KL that is not known.")
